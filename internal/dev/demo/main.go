// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows, step by step and in plain words, what csi-driver-spiffe
// does: on a real cluster it starts the real driver and approver, lets a
// stand-in for the kubelet publish a volume for a pod, looks at what is in it,
// waits for a renewal, tries to get a document for somebody else, and takes the
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
	"strconv"
	"syscall"
	"time"
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
		{"What the document says", d.showDocument},
		{"The kubelet publishes the volume again, as it does every minute or so", d.publishAgain},
		{"A pod that is not root gets files of its group", d.publishForGroup},
		{"What an administrator sees of the node", d.listVolumes},
		{"The document is renewed before it expires", d.waitForRenewal},
		{"example-app asks for the identity of somebody else", d.askForAnother},
		{"One line of the configuration file is changed while everything runs", d.changeTrustDomain},
	}
	if keep {
		steps = append(steps, step{"Everything stays up", d.keep})
	}
	return append(steps, step{"The kubelet unpublishes the volumes, as it does when pods are deleted", d.unpublish})
}
