// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

// podsInNamespace is how many pods share a namespace and a ServiceAccount.
const podsInNamespace = 500

// settings are what differs between simulations in the configuration.
type settings struct {
	duration     time.Duration
	historyLimit int
	// watch is certificateRequests.watch.
	watchScope string
	// issuer is the issuerRef but for the name; empty: a ClusterIssuer.
	issuerKind, issuerGroup string
	// signer is what the approver may approve for, but for the name.
	signer string
}

// simulation is a cluster with nodes on it.
type simulation struct {
	settings
	dir, name string
	cluster   *testkit.Cluster
	access    testkit.Installation
	config    *config.Config
	approver  *supervised
	// approverAddress is where the approver serves its metrics.
	approverAddress string
	nodes           []*node
	meter           *meter
	events          *events
	began           time.Time

	mu         sync.Mutex
	namespaces map[string]bool
	pods       int
}

// newSimulation installs the product on a cluster and starts the approver. Call
// close when done.
func newSimulation(ctx context.Context, cluster *testkit.Cluster, s sizes, set settings) (*simulation, error) {
	// In memory, where there is such a folder.
	dir, err := os.MkdirTemp("/dev/shm", "csi-driver-spiffe-scale-")
	if err != nil {
		if dir, err = os.MkdirTemp("", "csi-driver-spiffe-scale-"); err != nil {
			return nil, err
		}
	}
	m := &simulation{
		settings: set, dir: dir, name: testkit.UniqueName("scale"), cluster: cluster,
		meter: newMeter(), events: newEvents(), namespaces: map[string]bool{}, began: time.Now(),
	}
	if err := m.install(ctx, s); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// publish starts so many nodes, evenly within a time, each of which publishes its
// volumes at once, and returns when all are published.
func (m *simulation) publish(ctx context.Context, nodes, volumes int, within time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	first := len(m.nodes)
	for i := range nodes {
		n, err := m.newNode(first + i)
		if err != nil {
			return err
		}
		m.nodes = append(m.nodes, n)
		group.Go(func() error {
			if err := testkit.Sleep(ctx, within*time.Duration(i)/time.Duration(nodes)); err != nil {
				return err
			}
			return n.start(ctx, volumes)
		})
	}
	done := make(chan struct{})
	defer close(done)
	go m.tell(done, nodes*volumes)
	return group.Wait()
}

// tell says how far it is, until done.
func (m *simulation) tell(done <-chan struct{}, volumes int) {
	before := m.events.count(published)
	for {
		select {
		case <-done:
			return
		case <-time.After(15 * time.Second):
			progress("%d of %d volumes published, %d renewed", m.events.count(published)-before, volumes, m.events.count(renewed))
		}
	}
}

// workload returns a namespace for the next pod, and its number.
func (m *simulation) workload(ctx context.Context) (testkit.Workload, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pod := m.pods
	m.pods++
	w := testkit.Workload{Namespace: m.name + "-" + strconv.Itoa(pod/podsInNamespace), ServiceAccount: "example-app", Driver: driver.Name}
	if m.namespaces[w.Namespace] {
		return w, "pod-" + strconv.Itoa(pod), nil
	}
	m.namespaces[w.Namespace] = true
	return w, "pod-" + strconv.Itoa(pod), m.cluster.CreateNamespace(ctx, w)
}

// volumes is how many there are.
func (m *simulation) volumes() (count int) {
	for _, n := range m.nodes {
		count += n.count()
	}
	return count
}

// expired is how many volumes have a document that has expired.
func (m *simulation) expired() (count int) {
	now := time.Now()
	for _, n := range m.nodes {
		for _, volume := range n.driver.List().Volumes {
			if !volume.Expires.IsZero() && volume.Expires.Before(now) {
				count++
			}
		}
	}
	return count
}

// cycle is how long it takes on average from one renewal of a volume to the next,
// in the long run.
func (m *simulation) cycle() time.Duration {
	const percent = 67 * 95 // two thirds, less half of the jitter
	return m.duration * percent / 10000
}

func (m *simulation) close() error {
	for _, warning := range m.events.warned() {
		progress("for instance: %s", warning)
	}
	var errs []error
	for _, n := range m.nodes {
		errs = append(errs, n.stop())
	}
	if m.approver != nil {
		errs = append(errs, m.approver.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(m.dir))...)
}
