// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// republishEvery is how often the kubelet publishes each volume again: it looks at
// each pod once in 60 to 90 s.
const republishEvery = 75 * time.Second

// node is one node: its driver and its kubelet.
type node struct {
	simulation *simulation
	name       string
	config     *config.Holder
	driver     *driver.Driver
	kubelet    *testkit.Kubelet
	cancel     context.CancelFunc
	running    sync.WaitGroup
	failure    error

	mu       sync.Mutex
	requests []*csi.NodePublishVolumeRequest
}

// newNode makes a node that has not started.
func (m *simulation) newNode(number int) (*node, error) {
	n := &node{simulation: m, name: fmt.Sprintf("%s-node-%d", m.name, number)}
	n.config = config.NewHolder(n.own(m.config))
	access := rest.CopyConfig(m.access.Driver)
	// Clients that trust the same share their connections, as those of one process
	// should. These are of different nodes.
	access.CAData = append(slices.Clone(access.CAData), "\n# "+n.name+"\n"...)
	access.Wrap(m.meter.wrap)
	socket := filepath.Join(m.dir, fmt.Sprintf("%d.sock", number))
	var err error
	n.driver, err = driver.New(driver.Options{
		Node: n.name, Socket: socket, Config: n.config, REST: access, Log: slog.New(m.events),
		Volume: []volume.Setting{volume.WithoutMounts()},
	})
	if err != nil {
		return nil, err
	}
	n.kubelet, err = testkit.NewKubelet(m.cluster, n.own(m.config).Driver.KubeletRootDir, socket)
	return n, err
}

// own is the configuration with the folders of this node.
func (n *node) own(c *config.Config) *config.Config {
	own := *c
	own.Volume.TmpfsPath = filepath.Join(c.Volume.TmpfsPath, n.name)
	own.Driver.KubeletRootDir = filepath.Join(c.Driver.KubeletRootDir, n.name)
	return &own
}

// start runs the driver, publishes so many volumes at once, and goes on publishing
// them again until stop.
func (n *node) start(ctx context.Context, volumes int) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	n.running.Go(func() { n.failure = n.driver.Run(running) })
	if err := n.kubelet.WaitForDriver(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for range volumes {
		group.Go(func() error { _, err := n.publish(ctx); return err })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	n.running.Go(func() { n.republish(running) })
	return nil
}

// publish makes a pod and publishes its volume, which it returns the duration of.
// As the kubelet does, it tries again after an error.
func (n *node) publish(ctx context.Context) (time.Duration, error) {
	workload, name, err := n.simulation.workload(ctx)
	if err != nil {
		return 0, err
	}
	pod, err := n.simulation.cluster.CreatePod(ctx, workload, name, n.name)
	if err != nil {
		return 0, err
	}
	request, err := n.kubelet.PublishRequest(ctx, pod, testkit.VolumeName)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 2*time.Minute) {
		if _, err = n.kubelet.Node.NodePublishVolume(ctx, request); err == nil {
			break
		}
		if testkit.Sleep(ctx, wait) != nil {
			return 0, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.requests = append(n.requests, request)
	return time.Since(began), nil
}

// republish publishes each volume again every now and then, until ctx ends.
func (n *node) republish(ctx context.Context) {
	for i := 0; ; i++ {
		n.mu.Lock()
		request, every := n.requests[i%len(n.requests)], republishEvery/time.Duration(len(n.requests))
		n.mu.Unlock()
		if testkit.Sleep(ctx, every) != nil {
			return
		}
		_, _ = n.kubelet.Node.NodePublishVolume(ctx, request)
	}
}

func (n *node) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.requests)
}

// stop ends the node; its volumes are left to whoever removes their folder.
func (n *node) stop() error {
	if n.cancel == nil {
		return n.kubelet.Close()
	}
	n.cancel()
	n.running.Wait()
	return errors.Join(n.failure, n.kubelet.Close())
}
