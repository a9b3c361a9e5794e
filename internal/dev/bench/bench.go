// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

// bench is the cluster with the product, and a floor, installed.
type bench struct {
	options
	dir     string
	name    string // of the node, the namespace and the issuer
	cluster *testkit.Cluster
	// settings are in the configuration file, and config is that file.
	settings settings
	config   *config.Config
	access   testkit.Installation
	// driver and approver run, or are nil.
	driver, approver *testkit.Program
	kubelet          *testkit.Kubelet
	floor            *floor
	workload         testkit.Workload
	// pods counts those that were ever made; live are the volumes that there are.
	pods int
	live []volumeRequest
}

func newBench(ctx context.Context, o options) (*bench, error) {
	cluster, err := testkit.Connect(os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "csi-driver-spiffe-bench-")
	if err != nil {
		return nil, err
	}
	name := testkit.UniqueName("bench")
	b := &bench{
		options: o, dir: dir, name: name, cluster: cluster,
		workload: testkit.Workload{Namespace: name, ServiceAccount: "example-app", Driver: driver.Name},
	}
	if err := b.install(ctx); err != nil {
		return nil, errors.Join(err, b.cleanUp())
	}
	return b, nil
}

// install makes two issuers alike, one for the product and one for the floor,
// which the product's approver must not touch.
func (b *bench) install(ctx context.Context) error {
	ca, err := testkit.NewCA(b.name)
	if err != nil {
		return err
	}
	issuers := []string{b.name, b.floorIssuer()}
	signers := make([]string, len(issuers))
	for i, issuer := range issuers {
		signers[i] = "clusterissuers.cert-manager.io/" + issuer
		if err := b.cluster.CreateClusterIssuer(ctx, issuer, ca); err != nil {
			return err
		}
	}
	if err := b.cluster.CreateNamespace(ctx, b.workload); err != nil {
		return err
	}
	settings, err := ordinary()
	if err != nil {
		return err
	}
	if err := b.configure(settings); err != nil {
		return err
	}
	if b.access, err = b.cluster.Install(ctx, ".", "-"+b.name, signers...); err != nil {
		return err
	}
	if err := errors.Join(b.startApprover(), b.startDriver()); err != nil {
		return err
	}
	if b.kubelet, err = testkit.NewKubelet(b.cluster, b.path("kubelet"), b.path("csi.sock")); err != nil {
		return err
	}
	if err := b.waitForDriver(ctx); err != nil {
		return err
	}
	b.floor, err = newFloor(ctx, b)
	return err
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) floorIssuer() string { return b.name + "-floor" }

func (b *bench) cleanUp() error {
	var errs []error
	if b.kubelet != nil {
		errs = append(errs, b.kubelet.Close())
	}
	errs = append(errs, b.stopDriver(), b.stopApprover(), testkit.UnmountAll(b.path("kubelet"), b.path("tmpfs")), b.uninstall(), b.keepLogs())
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// podName is that of a pod that has not been yet.
func (b *bench) podName() string {
	b.pods++
	return "pod-" + strconv.Itoa(b.pods)
}
