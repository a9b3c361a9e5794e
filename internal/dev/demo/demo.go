// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

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

// showLogs prints what the daemons said, for whoever has to find out why a step
// failed.
func (d *demo) showLogs() {
	for _, daemon := range d.daemons {
		if data, err := os.ReadFile(daemon.Log); err == nil {
			fmt.Fprintf(os.Stderr, "\n--- log of %s\n%s", daemon.Name, data)
		}
	}
}
