// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/registration"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// nowhere is an API server that does not answer: what is tested here works
// without one.
func nowhere() *rest.Config { return &rest.Config{Host: "http://127.0.0.1:1"} }

// requireRoot skips a test that mounts where that is not allowed.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, or root of a user namespace, to mount: run `make test`")
	}
}

// newTestDriver returns a driver that has looked at nothing yet. Its store is
// mounted when it is needed.
func newTestDriver(t *testing.T, log *slog.Logger) *Driver {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := testConfig(t)
	d, err := newDriver(Options{Node: "worker-1", Config: config.NewHolder(c), REST: nowhere(), Log: log}, c)
	check(t, err)
	d.store = volume.New(filepath.Join(t.TempDir(), "store"))
	t.Cleanup(func() { check(t, volume.Unmount(d.store.Root())) })
	t.Cleanup(func() { d.stop(nil); d.background.Wait() })
	return d
}

// targetIn is the target path of the volume in a kubelet's folder.
func targetIn(kubeletRoot string) string {
	return kubeletRoot + strings.TrimPrefix(testTarget, "/var/lib/kubelet")
}

// kubeletOf gives a driver a kubelet's folder, in which there are no pods yet.
func kubeletOf(t *testing.T, d *Driver) string {
	t.Helper()
	c := *d.config.Current()
	c.Driver.KubeletRootDir = t.TempDir()
	d.config.Set(&c)
	check(t, os.Mkdir(mounts.PodsFolder(c.Driver.KubeletRootDir), 0o700))
	return c.Driver.KubeletRootDir
}

func TestNewNeedsANodeName(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Config: config.NewHolder(testConfig(t)), REST: nowhere(), Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "--node-name") {
		t.Errorf("got %v", err)
	}
}

// socketPath is short: that of a UNIX socket may have 107 bytes.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "csi")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "csi.sock")
}

func TestRunServesUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	d := newTestDriver(t, nil)
	d.socket = socketPath(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	conn, err := grpc.NewClient("unix://"+d.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	defer conn.Close()
	probe, err := csi.NewIdentityClient(conn).Probe(t.Context(), &csi.ProbeRequest{}, grpc.WaitForReady(true))
	if err != nil || !probe.GetReady().GetValue() {
		t.Errorf("got %v, %v", probe, err)
	}
	check(t, d.Probe(t.Context()))
	if d.Ready() == nil {
		t.Error("ready, without an API server")
	}
	// A publish that waits for the API server, which is away, ends as well.
	request := goodRequest()
	request.TargetPath = targetIn(kubeletOf(t, d))
	publishing := make(chan error, 1)
	go func() {
		_, err := csi.NewNodeClient(conn).NodePublishVolume(t.Context(), request)
		publishing <- err
	}()
	for deadline := time.Now().Add(30 * time.Second); !d.hasFlight(testVolume); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("no request is under way")
		}
	}
	stop()
	check(t, <-ended)
	if err := <-publishing; err == nil || !strings.Contains(err.Error(), errStopping.Error()) {
		t.Errorf("the publish ended with %v", err)
	}
	if d.Ready() == nil || d.Probe(t.Context()) == nil {
		t.Error("ready, or even healthy, though it has stopped")
	}
}

// hasFlight reports whether a request is under way for a volume.
func (d *Driver) hasFlight(id string) bool {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	state.mu.Lock()
	defer state.mu.Unlock()
	return state.flight != nil
}

// landed is a renewal whose request has brought a document.
func landed(d *Driver, document *issuance.SVID) *flight {
	f := &flight{landed: make(chan struct{}), document: document, attempt: d.issuances.Begin(observe.Renewing, time.Now())}
	close(f.landed)
	f.attempt.RequestEnded(nil)
	return f
}

// A driver that the kubelet does not know of cannot do its work.
func TestReadyWhenTheKubeletHasRegisteredIt(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	d, err := newDriver(Options{
		Node: "worker-1", Socket: socketPath(t), Registration: &Registration{Folder: t.TempDir(), Endpoint: "/csi.sock"},
		Config: config.NewHolder(c), REST: nowhere(), Log: slog.New(slog.DiscardHandler),
	}, c)
	check(t, err)
	if err := d.Ready(); !errors.Is(err, registration.ErrPending) {
		t.Errorf("got %v", err)
	}
}
