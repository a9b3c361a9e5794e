// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

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

// expired is how many volumes have an SVID that has expired.
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

// install makes an issuer, unless there is one, installs the product for it and starts
// the approver.
func (m *simulation) install(ctx context.Context, s sizes) (err error) {
	if m.approverAddress, err = testkit.FreeAddress(); err != nil {
		return err
	}
	if m.signer == "" {
		m.issuerKind, m.issuerGroup, m.signer = "ClusterIssuer", "cert-manager.io", "clusterissuers.cert-manager.io/"
		ca, err := testkit.NewCA(m.name)
		if err == nil {
			err = m.cluster.CreateClusterIssuer(ctx, m.name, ca)
		}
		if err != nil {
			return err
		}
	}
	if err := m.writeConfig(); err != nil {
		return err
	}
	if m.access, err = m.cluster.Install(ctx, s.repository, "-"+m.name, m.signer+m.name); err != nil {
		return err
	}
	// What a driver's clients share is told from that by what they trust; see newNode.
	if err := rest.LoadTLSFiles(m.access.Driver); err != nil {
		return err
	}
	if s.flowSchema {
		if err := m.applyFlowSchema(ctx, s); err != nil {
			return err
		}
	}
	m.approver, err = startSupervised(func() (*testkit.Program, error) {
		return testkit.StartProgram(s.bin, m.dir, "csi-driver-spiffe-approver", m.access.Approver, "--identity", "scale", "--namespace", testkit.InstallNamespace)
	})
	return err
}

// applyFlowSchema is what README.md advises large clusters to do.
func (m *simulation) applyFlowSchema(ctx context.Context, s sizes) error {
	objects, err := testkit.ReadManifests(filepath.Join(s.repository, "manifests", "examples", "flowschema.yaml"))
	if err != nil {
		return err
	}
	for _, object := range objects {
		object.SetName(object.GetName() + "-" + m.name)
		data, err := json.Marshal(object)
		if err != nil {
			return err
		}
		data = bytes.ReplaceAll(data, []byte(`"csi-driver-spiffe-approver"`), fmt.Appendf(nil, "%q", "csi-driver-spiffe-approver-"+m.name))
		if err := json.Unmarshal(data, object); err != nil {
			return err
		}
	}
	return m.cluster.Apply(ctx, "", objects)
}

func (m *simulation) writeConfig() (err error) {
	path := filepath.Join(m.dir, "config.yaml")
	err = os.WriteFile(path, fmt.Appendf(nil, `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: scale.example.org
issuerRef: {name: %s, kind: %s, group: %s}
certificate: {duration: %s, privateKey: {algorithm: ECDSA, size: 256}}
certificateRequests: {historyLimit: %d, watch: %s}
volume: {tmpfsPath: %s}
driver: {httpAddress: "", kubeletRootDir: %s, publishTimeout: 2m}
approver: {httpAddress: "%s", leaderElection: {leaseName: csi-driver-spiffe-approver-%s}}
observability: {logging: {level: warn}}
`, m.name, m.issuerKind, m.issuerGroup, m.duration, m.historyLimit, m.watchScope,
		filepath.Join(m.dir, "tmpfs"), filepath.Join(m.dir, "kubelet"), m.approverAddress, m.name), 0o600)
	if err != nil {
		return err
	}
	m.config, err = config.Load(path)
	return err
}

// setHistoryLimit changes the configuration of all drivers.
func (m *simulation) setHistoryLimit(limit int) error {
	m.historyLimit = limit
	if err := m.writeConfig(); err != nil {
		return err
	}
	for _, n := range m.nodes {
		n.config.Set(n.own(m.config))
	}
	return nil
}

// supervised is a program that is started again when it ends, as Kubernetes does
// with a container. The approver ends when it cannot renew its Lease.
type supervised struct {
	start    func() (*testkit.Program, error)
	ending   chan struct{}
	watching sync.WaitGroup

	mu       sync.Mutex
	program  *testkit.Program
	restarts int
}

// startSupervised starts a program.
func startSupervised(start func() (*testkit.Program, error)) (*supervised, error) {
	program, err := start()
	if err != nil {
		return nil, err
	}
	s := &supervised{start: start, ending: make(chan struct{}), program: program}
	s.watching.Go(s.watch)
	return s, nil
}

func (s *supervised) watch() {
	for {
		select {
		case <-s.ending:
			return
		default:
		}
		if !s.program.WaitForEnd(time.Second) {
			continue
		}
		progress("%s has ended, and is started again", s.program.Name)
		if program, err := s.start(); err == nil {
			s.mu.Lock()
			s.program = program
			s.restarts++
			s.mu.Unlock()
		}
	}
}

// pid is that of the present process.
func (s *supervised) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program.PID()
}

// restarted is how often the program ended.
func (s *supervised) restarted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

func (s *supervised) stop() error {
	close(s.ending)
	s.watching.Wait()
	return s.program.Stop()
}
