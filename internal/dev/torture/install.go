// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

// The programs that are killed.
const (
	driverProgram   = "csi-driver-spiffe"
	killableProgram = "killable"
)

// torture is one run.
type torture struct {
	Options
	random *rand.Rand

	name         string
	installation testkit.Installation
	workload     testkit.Workload
	approver     *testkit.Program
	driver       *testkit.Program
	kubelet      atomic.Pointer[testkit.Kubelet]
	requests     *requests
	volumes      []*slot
	// checking is held while all is looked at, and shared by whoever calls the
	// driver.
	checking sync.RWMutex
	pods     atomic.Int64

	mu     sync.Mutex
	report Report
}

func (t *torture) install(ctx context.Context) error {
	t.name = testkit.UniqueName("torture")
	t.workload = testkit.Workload{Namespace: t.name, ServiceAccount: "example-app", Driver: driver.Name}
	ca, err := testkit.NewCA(t.name)
	if err != nil {
		return err
	}
	if err := t.Cluster.CreateClusterIssuer(ctx, t.name, ca); err != nil {
		return err
	}
	if err := t.Cluster.CreateNamespace(ctx, t.workload); err != nil {
		return err
	}
	signer := "clusterissuers.cert-manager.io/" + t.name
	if t.installation, err = t.Cluster.Install(ctx, t.Repository, "-"+t.name, signer); err != nil {
		return err
	}
	if err := t.Cluster.InstallAdmission(ctx, t.Repository, "-"+t.name, t.workload.Namespace, signer); err != nil {
		return err
	}
	if err := t.configure(t.Lifetime); err != nil {
		return err
	}
	t.approver, err = testkit.StartProgram(t.Bin, t.Dir, "csi-driver-spiffe-approver", t.installation.Approver,
		"--identity", "torture", "--namespace", testkit.InstallNamespace)
	if err != nil {
		return err
	}
	t.requests = newRequests(t)
	return t.requests.follow(ctx)
}

// configure writes the file. Keys are small ones, for the reader has to check
// them all the time.
func (t *torture) configure(duration time.Duration) error {
	return os.WriteFile(filepath.Join(t.Dir, "config.yaml"), fmt.Appendf(nil, `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: torture.example.org
issuerRef: {name: %s}
certificate: {duration: %s, privateKey: {algorithm: ECDSA, size: 256}}
volume: {tmpfsPath: %s, tmpfsSize: 64Mi}
driver: {httpAddress: "", kubeletRootDir: %s}
approver: {httpAddress: "", leaderElection: {enabled: false}}
`, t.name, duration, t.tmpfs(), t.kubeletRoot()), 0o600)
}

func (t *torture) tmpfs() string       { return filepath.Join(t.Dir, "tmpfs") }
func (t *torture) kubeletRoot() string { return filepath.Join(t.Dir, "kubelet") }
func (t *torture) socket() string      { return filepath.Join(t.Dir, "csi.sock") }

// launch starts a driver and does not wait for it.
func (t *torture) launch(program string, environment ...string) error {
	var err error
	t.driver, err = testkit.StartProgramWith(environment, t.Bin, t.Dir, program, t.installation.Driver,
		"--node-name", t.name, "--csi-socket", t.socket())
	return err
}

// start starts a driver and waits until it answers.
func (t *torture) start(ctx context.Context, program string, environment ...string) error {
	if err := t.launch(program, environment...); err != nil {
		return err
	}
	return t.connect(ctx)
}

// connect gives the kubelet a new connection, as soon as somebody listens: gRPC
// waits for a second before it tries again, and for longer each time.
func (t *torture) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if conn, err := new(net.Dialer).DialContext(ctx, "unix", t.socket()); err == nil {
			_ = conn.Close()
			break
		}
		t.sleep(ctx, 5*time.Millisecond)
	}
	kubelet, err := testkit.NewKubelet(t.Cluster, t.kubeletRoot(), t.socket())
	if err != nil {
		return err
	}
	if err := kubelet.WaitForDriver(ctx); err != nil {
		return errors.Join(fmt.Errorf("the driver does not answer: %w (see %s)", err, t.driver.Log), kubelet.Close())
	}
	if before := t.kubelet.Swap(kubelet); before != nil {
		return before.Close()
	}
	return nil
}

func (t *torture) kill() error { return t.driver.Kill() }

func (t *torture) cleanUp() error {
	var errs []error
	if t.driver != nil {
		errs = append(errs, t.driver.Kill())
	}
	errs = append(errs, t.approver.Stop(), testkit.UnmountAll(t.kubeletRoot(), t.tmpfs()))
	return errors.Join(errs...)
}
