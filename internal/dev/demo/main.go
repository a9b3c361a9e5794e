// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows, step by step and in plain words, what csi-driver-spiffe
// does: on a real cluster it starts the real driver and approver, lets a
// stand-in for the kubelet publish a volume for a pod, looks at what is in it,
// waits for a renewal, tries to get an SVID for somebody else, and takes the
// volume away again. It exits with 0 only if all of it was as it should be.
//
// Run it with `make demo`, or `make demo KEEP=1` to have everything left
// running and be told how to go on by hand. It wants to be run from the root of
// the repository, as root or root of a user namespace, with the programs in
// ./bin and KUBECONFIG naming a cluster with cert-manager.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

func main() {
	if err := run(keepWanted(os.Getenv("KEEP"))); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demonstration failed: %v\n", err)
		os.Exit(1)
	}
}

func run(keep bool) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	d, err := newDemo()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	for number, step := range d.steps(keep) {
		fmt.Printf("\n%d. %s\n", number+1, step.title)
		if err := step.do(ctx); err != nil {
			d.showLogs()
			return fmt.Errorf("step %d (%s): %w", number+1, step.title, err)
		}
	}
	fmt.Printf("\nAll of this was true. It took %s.\n", time.Since(began).Round(time.Second))
	return nil
}

// keepWanted is false for what people write to mean no.
func keepWanted(value string) bool {
	keep, err := strconv.ParseBool(value)
	return keep || (err != nil && value != "")
}

// demo is the state of the demonstration, as the steps build it up.
type demo struct {
	dir          string
	cluster      *testkit.Cluster
	installation testkit.Installation
	ca           testkit.CA
	config       *config.Config
	daemons      []*testkit.Program
	kubelet      *testkit.Kubelet
	pod          *corev1.Pod
	target       string
	groupPod     *corev1.Pod
}

func newDemo() (*demo, error) {
	kubeconfig := os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		return nil, errors.New("KUBECONFIG names no cluster: run `make demo`, which starts one")
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("mounting needs root, or root of a user namespace: run `make demo`, which makes one")
	}
	cluster, err := testkit.Connect(kubeconfig)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "csi-driver-spiffe-demo-")
	return &demo{dir: dir, cluster: cluster}, err
}

type step struct {
	title string
	do    func(context.Context) error
}

func (d *demo) steps(keep bool) []step {
	steps := []step{
		{"A cluster with cert-manager, and a ClusterIssuer with a CA", d.prepareCluster},
		{"One configuration file for both daemons", d.writeConfig},
		{"The approver and the driver start", d.startDaemons},
		{"The kubelet publishes the volume of pod sandbox/example-app", d.publish},
		{"What the pod finds in its volume", d.showFiles},
		{"What the SVID says", d.showSVID},
		{"The kubelet publishes the volume again, as it does every minute or so", d.publishAgain},
		{"A pod that is not root gets files of its group", d.publishForGroup},
		{"What an administrator sees of the node", d.listVolumes},
		{"The SVID is renewed before it expires", d.waitForRenewal},
		{"example-app asks for the identity of somebody else", d.askForAnother},
		{"One line of the configuration file is changed while everything runs", d.changeTrustDomain},
	}
	if keep {
		steps = append(steps, step{"Everything stays up", d.keep})
	}
	return append(steps, step{"The kubelet unpublishes the volumes, as it does when pods are deleted", d.unpublish})
}

// path is of a file of the demonstration's own.
func (d *demo) path(elements ...string) string {
	return filepath.Join(append([]string{d.dir}, elements...)...)
}

// say prints a line of a step.
func say(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

// cleanUp stops the daemons and removes all mounts and files, whatever has
// happened before.
func (d *demo) cleanUp() error {
	var errs []error
	for _, daemon := range d.daemons {
		errs = append(errs, daemon.Stop())
	}
	errs = append(errs, testkit.UnmountAll(d.path("kubelet"), d.path("tmpfs")), d.deletePods(context.Background()))
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}

// showLogs prints the logs of the daemons after a step has failed.
func (d *demo) showLogs() {
	for _, daemon := range d.daemons {
		if data, err := os.ReadFile(daemon.Log); err == nil {
			fmt.Fprintf(os.Stderr, "\n--- log of %s\n%s", daemon.Name, data)
		}
	}
}
