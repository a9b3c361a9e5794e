// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/configtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/csitest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/registration"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// requireRoot skips a test that mounts where that is not allowed.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, or root of a user namespace, to mount: run `make test`")
	}
}

// log is what a driver logs.
type log struct {
	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements [io.Writer].
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// String returns what has been logged.
func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// node is a node on which no API server answers: what is tested here works without one.
type node struct {
	// dir is the kubelet's folder, and has what is the driver's.
	dir, socket, tmpfs string
	log                *log
}

func newNode(t *testing.T) node {
	t.Helper()
	n := node{dir: t.TempDir(), socket: socketPath(t), log: &log{}}
	n.tmpfs = filepath.Join(n.dir, "tmpfs")
	check(t, os.Mkdir(filepath.Join(n.dir, "pods"), 0o700))
	t.Cleanup(func() {
		for _, path := range []string{n.target(), n.tmpfs} {
			_ = unix.Unmount(path, unix.MNT_DETACH) // most often nothing is mounted
		}
	})
	return n
}

// socketPath is short: that of a UNIX socket may have 107 bytes.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "csi")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "csi.sock")
}

// target is where the kubelet wants the volume.
func (n node) target() string { return n.dir + strings.TrimPrefix(csitest.Target, csitest.KubeletRoot) }

// start makes a driver, which does not run.
func (n node) start(t *testing.T, change func(*driver.Options), lines ...string) (*driver.Driver, error) {
	t.Helper()
	lines = append(lines, "volume: {tmpfsPath: "+n.tmpfs+"}", "driver: {kubeletRootDir: "+n.dir+"}")
	options := driver.Options{
		Node: "worker-1", Socket: n.socket, REST: &rest.Config{Host: "http://127.0.0.1:1"},
		Config: config.NewHolder(configtest.Parse(t, lines...)), Log: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	if change != nil {
		change(&options)
	}
	return driver.New(options)
}

func withoutMounts(o *driver.Options) { o.Volume = []volume.Setting{volume.WithoutMounts()} }

// run runs a driver until stop is called, or the test ends. It returns the kubelet's
// connection to it.
func (n node) run(t *testing.T, d *driver.Driver) (kubelet *grpc.ClientConn, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		check(t, <-ended)
	})
	t.Cleanup(stop)
	kubelet, err := grpc.NewClient("unix://"+n.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	t.Cleanup(func() { check(t, kubelet.Close()) })
	_, err = csi.NewIdentityClient(kubelet).Probe(t.Context(), &csi.ProbeRequest{}, grpc.WaitForReady(true))
	check(t, err)
	return kubelet, stop
}

// publishRequest is what the kubelet sends for the pod of [csitest.Token].
func (n node) publishRequest() *csi.NodePublishVolumeRequest {
	request := csitest.PublishRequest()
	request.TargetPath = n.target()
	return request
}

func TestNewNeedsANodeName(t *testing.T) {
	t.Parallel()
	_, err := newNode(t).start(t, func(o *driver.Options) { o.Node = "" })
	if err == nil || !strings.Contains(err.Error(), "--node-name") {
		t.Errorf("got %v", err)
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	c := configtest.Parse(t, "driver: {name: spiffe.example.org}")
	for name, row := range map[string]struct {
		object string
		good   bool
	}{
		"the same":       {"spiffe.example.org", true},
		"another":        {driver.Name, false},
		"nobody says it": {"", true},
	} {
		if err := driver.CheckName(c, row.object); (err == nil) != row.good || err != nil && !strings.Contains(err.Error(), "--csidriver-object") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The driver serves the kubelet while the API server is away, and says that it is not
// ready. A publish that waits ends when the driver does, and so does the command volumes.
func TestRunServesUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	d, err := n.start(t, withoutMounts)
	check(t, err)
	kubelet, stop := n.run(t, d)
	check(t, d.Probe(t.Context()))
	if d.Ready() == nil {
		t.Error("ready, without an API server")
	}
	publishing := make(chan error, 1)
	go func() {
		_, err := csi.NewNodeClient(kubelet).NodePublishVolume(t.Context(), n.publishRequest())
		publishing <- err
	}()
	var list listing.List
	for deadline := time.Now().Add(30 * time.Second); len(list.Volumes) == 0; runtime.Gosched() {
		if list = d.List(); time.Now().After(deadline) {
			t.Fatal("no request is under way")
		}
	}
	if v := list.Volumes[0]; list.Node != "worker-1" || v.State != listing.Pending || v.PodName != "web-0" {
		t.Errorf("the list says %+v", list)
	}
	stop()
	if err := <-publishing; status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), manager.ErrStopping.Error()) {
		t.Errorf("the publish ended with %v", err)
	}
	if d.Ready() == nil || d.Probe(t.Context()) == nil {
		t.Error("ready, or even healthy, though it has stopped")
	}
	csitest.MustNotTell(t, n.log.String(), "the log")
}

// A publish that fails is one line, with all that is known of it, and so is what the kubelet
// is told.
func TestPublishWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	d, err := n.start(t, withoutMounts)
	check(t, err)
	kubelet, _ := n.run(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // a second less is waited for
	defer cancel()
	_, err = csi.NewNodeClient(kubelet).NodePublishVolume(ctx, n.publishRequest())
	if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "the API server has not answered") {
		t.Errorf("the kubelet is told %v", err)
	}
	lines := 0
	for line := range strings.Lines(n.log.String()) {
		if !strings.Contains(line, `msg="publish failed"`) {
			continue
		}
		lines++
		for _, part := range []string{"level=ERROR", "volume=" + csitest.VolumeID, "pod=sandbox/web-0", "spiffeID=spiffe://my.trust.domain/ns/sandbox/sa/example-app", "stage=prepare", "duration=", "error="} {
			if !strings.Contains(line, part) {
				t.Errorf("%q is not in %s", part, line)
			}
		}
	}
	if lines != 1 {
		t.Errorf("%d lines say so: %s", lines, n.log)
	}
	got := observetest.Samples(t, d.Metrics()...)
	if got["issuances_in_progress{operation=publish,stage=prepare}"] != 1 || got["volumes{}"] != 0 {
		t.Errorf("the metrics are %v", got)
	}
}

// A driver that the kubelet does not know of cannot do its work.
func TestReadyWhenTheKubeletHasRegisteredIt(t *testing.T) {
	t.Parallel()
	d, err := newNode(t).start(t, func(o *driver.Options) {
		withoutMounts(o)
		o.Registration = &driver.Registration{Folder: t.TempDir(), Endpoint: "/csi.sock"}
	})
	check(t, err)
	if err := d.Ready(); !errors.Is(err, registration.ErrPending) {
		t.Errorf("got %v", err)
	}
}

func TestNewWithoutAGoodTrustBundleFails(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	path := filepath.Join(n.dir, "ca.pem")
	_, err := n.start(t, withoutMounts, "trustBundle: {path: "+path+"}")
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "trustBundle.path "+path) {
		t.Errorf("got %v", err)
	}
	check(t, os.WriteFile(path, nil, 0o600))
	if _, err := n.start(t, withoutMounts, "trustBundle: {path: "+path+"}"); !errors.Is(err, trustbundle.ErrNoCertificate) {
		t.Errorf("got %v", err)
	}
}

// publish leaves a volume as an earlier process has it while its pod runs.
func (n node) publish(t *testing.T) *volume.Store {
	t.Helper()
	store, err := volume.Open(n.tmpfs)
	check(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	const identity = "spiffe://my.trust.domain/ns/sandbox/sa/example-app"
	uri, err := url.Parse(identity)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: []*url.URL{uri}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	check(t, store.Write(csitest.VolumeID, map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, volume.Metadata{
		TargetPath: n.target(), PodNamespace: "sandbox", PodName: "web-0", PodUID: csitest.PodUID, SPIFFEID: identity,
		Files: volume.Files{Certificate: "tls.crt", PrivateKey: "tls.key", TrustBundle: "ca.crt"},
	}))
	check(t, store.Mount(csitest.VolumeID, n.target()))
	return store
}

// A bad bundle does not keep a driver from the volumes of pods that run.
func TestNewWithoutAGoodTrustBundleServesLiveVolumes(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	n := newNode(t)
	n.publish(t)
	path := filepath.Join(n.dir, "ca.pem")
	d, err := n.start(t, nil, "trustBundle: {path: "+path+"}")
	check(t, err)
	if log := n.log.String(); !strings.Contains(log, "new pods are refused until there is") || !strings.Contains(log, path) {
		t.Errorf("the log says %s", log)
	}
	if err := d.Ready(); !errors.Is(err, delivery.ErrNoBundle) {
		t.Errorf("ready: %v", err)
	}
	if !strings.Contains(d.BundleDetail(), "trust bundle refused, there is none yet: ") {
		t.Errorf("the detail is %q", d.BundleDetail())
	}
	kubelet, _ := n.run(t, d)
	_, err = csi.NewNodeClient(kubelet).NodePublishVolume(t.Context(), n.publishRequest())
	check(t, err)
	late := n.publishRequest()
	late.VolumeId, late.TargetPath = "csi-late", strings.ReplaceAll(late.TargetPath, "/spiffe/", "/late/")
	if _, err := csi.NewNodeClient(kubelet).NodePublishVolume(t.Context(), late); status.Code(err) != codes.FailedPrecondition ||
		!strings.Contains(err.Error(), delivery.ErrNoBundle.Error()) {
		t.Errorf("a new volume: %v", err)
	}
}

// The kubelet's calls for a volume of an earlier process are served without an API server.
func TestAVolumeOfAnEarlierProcessWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	n := newNode(t)
	store := n.publish(t)
	d, err := n.start(t, nil)
	check(t, err)
	if list := d.List().Volumes; len(list) != 1 || list[0].State != listing.Published {
		t.Errorf("the list says %+v", list)
	}
	if outdated, reissue, shadowed := d.VolumesOutdated(), d.VolumesToReissue(), d.VolumesShadowed(); outdated != 0 || reissue != 1 || shadowed != 0 {
		t.Errorf("%d outdated, %d to re-issue, %d shadowed", outdated, reissue, shadowed)
	}
	if got := observetest.Samples(t, d.Metrics()...); got["volumes{}"] != 1 {
		t.Errorf("the metrics are %v", got)
	}
	kubelet, _ := n.run(t, d)
	for range 2 {
		_, err = csi.NewNodeClient(kubelet).NodePublishVolume(t.Context(), n.publishRequest())
		check(t, err)
	}
	for range 2 { // it must be idempotent
		_, err = csi.NewNodeClient(kubelet).NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: csitest.VolumeID, TargetPath: n.target()})
		check(t, err)
		if _, err := os.Lstat(n.target()); !os.IsNotExist(err) {
			t.Errorf("the target is still there: %v", err)
		}
		if ids, err := store.List(); err != nil || len(ids) != 0 || len(d.List().Volumes) != 0 {
			t.Errorf("left in the store: %q, %v; the list says %+v", ids, err, d.List())
		}
	}
}
