// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit"
)

// bench is the cluster with the product, and a floor, installed.
type bench struct {
	dir  string
	node string
	// key is the kind of key, as the configuration has it.
	key         string
	trustDomain string
	cluster     *testkit.Cluster
	config      *config.Config
	access      testkit.Installation
	// driver and approver run, or are nil.
	driver, approver *testkit.Program
	startApprover    func() error
	kubelet          *testkit.Kubelet
	floor            *floor
	workload         testkit.Workload
	pods             int
	// atStart is what the driver used before anything was published.
	atStart usage
}

func newBench(ctx context.Context, key string) (*bench, error) {
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
		dir: dir, node: name, cluster: cluster, trustDomain: "bench.example.org", key: key,
		workload: testkit.Workload{Namespace: name, ServiceAccount: "example-app", Driver: driver.Name},
	}
	if err := b.install(ctx, name); err != nil {
		return nil, errors.Join(err, b.cleanUp())
	}
	return b, nil
}

// install makes two issuers alike, one for the product and one for the floor,
// which the product's approver must not touch.
func (b *bench) install(ctx context.Context, name string) error {
	ca, err := testkit.NewCA(name)
	if err != nil {
		return err
	}
	floorIssuer := name + floorSuffix
	for _, issuer := range []string{name, floorIssuer} {
		if err := b.cluster.CreateClusterIssuer(ctx, issuer, ca); err != nil {
			return err
		}
	}
	if err := b.cluster.CreateNamespace(ctx, b.workload); err != nil {
		return err
	}
	if err := b.writeConfig(name); err != nil {
		return err
	}
	if err := b.start(ctx, name); err != nil {
		return err
	}
	b.floor, err = newFloor(ctx, b, floorIssuer)
	return err
}

// floorSuffix ends the name of the floor's issuer.
const floorSuffix = "-floor"

func (b *bench) writeConfig(issuer string) error {
	path := filepath.Join(b.dir, "config.yaml")
	err := os.WriteFile(path, fmt.Appendf(nil, `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: %s
issuerRef: {name: %s}
certificate: {privateKey: {%s}}
rollout: {reissueWindow: %s}
volume: {tmpfsPath: %s}
driver: {httpAddress: "", kubeletRootDir: %s}
approver: {httpAddress: "", leaderElection: {leaseName: csi-driver-spiffe-approver-%s}}
`, b.trustDomain, issuer, b.key, spreadWindow, filepath.Join(b.dir, "tmpfs"), filepath.Join(b.dir, "kubelet"), issuer), 0o600)
	if err != nil {
		return err
	}
	b.config, err = config.Load(path)
	return err
}

func (b *bench) start(ctx context.Context, name string) error {
	made, err := b.cluster.Install(ctx, ".", "-"+name, "clusterissuers.cert-manager.io/"+name, "clusterissuers.cert-manager.io/"+name+floorSuffix)
	if err != nil {
		return err
	}
	b.access = made
	b.startApprover = func() (err error) {
		b.approver, err = testkit.StartProgram("bin", b.dir, "csi-driver-spiffe-approver", made.Approver, "--identity", "bench", "--namespace", testkit.InstallNamespace)
		return err
	}
	if err := b.startApprover(); err != nil {
		return err
	}
	socket := filepath.Join(b.dir, "csi.sock")
	program, err := testkit.StartProgram("bin", b.dir, "csi-driver-spiffe", made.Driver, "--node-name", b.node, "--csi-socket", socket)
	if err != nil {
		return err
	}
	b.driver = program
	if b.kubelet, err = testkit.NewKubelet(b.cluster, filepath.Join(b.dir, "kubelet"), socket); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := b.kubelet.WaitForDriver(ctx); err != nil {
		return err
	}
	b.atStart, err = readUsage(b.driver.PID())
	return err
}

// requests prepares what the kubelet has ready before it calls the driver: the
// pods, their tokens and their directories.
func (b *bench) requests(ctx context.Context, count int) ([]*csi.NodePublishVolumeRequest, error) {
	requests := make([]*csi.NodePublishVolumeRequest, count)
	for i := range requests {
		b.pods++
		pod, err := b.cluster.CreatePod(ctx, b.workload, "pod-"+strconv.Itoa(b.pods), b.node)
		if err != nil {
			return nil, err
		}
		if requests[i], err = b.kubelet.PublishRequest(ctx, pod, testkit.VolumeName); err != nil {
			return nil, err
		}
	}
	return requests, nil
}

// stopApprover stops the approver if it runs.
func (b *bench) stopApprover() error {
	if b.approver == nil {
		return nil
	}
	stopping := b.approver
	b.approver = nil
	return stopping.Stop()
}

func (b *bench) cleanUp() error {
	var errs []error
	if b.driver != nil {
		errs = append(errs, b.driver.Stop())
	}
	errs = append(errs, b.stopApprover(), testkit.UnmountAll(filepath.Join(b.dir, "kubelet"), filepath.Join(b.dir, "tmpfs")))
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}
