// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

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
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/nodelock"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

const testIdentity = "spiffe://my.trust.domain/ns/sandbox/sa/example-app"

// svidFiles are those of a self-signed SVID, which is one all the same.
func svidFiles(t *testing.T, notBefore, notAfter time.Time) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	uri, err := url.Parse(testIdentity)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: []*url.URL{uri},
		NotBefore: notBefore, NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// node is what an earlier process has left on a node.
type node struct {
	dir, target string
	store       *volume.Store
}

func newNode(t *testing.T) node {
	t.Helper()
	requireRoot(t)
	dir := t.TempDir()
	store, err := volume.Open(filepath.Join(dir, "store"))
	check(t, err)
	n := node{dir, targetIn(dir), store}
	t.Cleanup(func() {
		check(t, volume.Unmount(n.target))
		check(t, volume.Unmount(store.Root()))
	})
	return n
}

// publish leaves a volume of pod web-0 as it is while the pod runs.
func (n node) publish(t *testing.T, notBefore, notAfter time.Time) {
	t.Helper()
	check(t, n.store.Write(testVolume, svidFiles(t, notBefore, notAfter), n.metadata()))
	check(t, n.store.Mount(testVolume, n.target))
}

func (n node) metadata() volume.Metadata {
	return volume.Metadata{
		TargetPath: n.target, PodNamespace: "sandbox", PodName: "web-0", PodUID: testPodUID, SPIFFEID: testIdentity,
		Files: testFiles(),
	}
}

func testFiles() volume.Files {
	return volume.Files{Certificate: "tls.crt", PrivateKey: "tls.key", TrustBundle: "ca.crt"}
}

// start makes a driver that takes over, without an API server.
func (n node) start(t *testing.T, lines ...string) (*Driver, *bytes.Buffer, error) {
	t.Helper()
	out := &bytes.Buffer{}
	lines = append(lines, "volume: {tmpfsPath: "+n.store.Root()+"}", "driver: {kubeletRootDir: "+n.dir+"}")
	d, err := New(Options{
		Node: "worker-1", Socket: socketPath(t), REST: nowhere(),
		Config: config.NewHolder(testConfig(t, lines...)), Log: slog.New(slog.NewTextHandler(out, nil)),
	})
	if d != nil {
		t.Cleanup(func() { d.stop(nil); d.background.Wait() })
	}
	return d, out, err
}

func TestAVolumeOfAnEarlierProcessStaysPublished(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	notAfter := time.Now().Add(time.Hour).Truncate(time.Second)
	n.publish(t, time.Now(), notAfter)
	before, err := os.Stat(filepath.Join(n.target, "tls.key"))
	check(t, err)
	d, _, err := n.start(t)
	check(t, err)
	live := d.volumes.acquire(testVolume).metadata()
	if live == nil || live.SPIFFEID != testIdentity || !live.NotAfter.Equal(notAfter) {
		t.Fatalf("knows %+v of it, want what its files say", live)
	}

	// The kubelet calls again and again. The API server is away: nobody asks it.
	req := goodRequest()
	req.TargetPath = n.target
	for range 3 {
		_, err = d.server.NodePublishVolume(t.Context(), req)
		check(t, err)
	}
	after, err := os.Stat(filepath.Join(n.target, "tls.key"))
	check(t, err)
	if !os.SameFile(before, after) {
		t.Error("the files have changed")
	}
	if d.hasFlight(testVolume) {
		t.Error("a request was made")
	}
}

// Of an SVID of which nobody noted when it was obtained, because the process was killed
// before, the files tell. That it was dated back makes no difference.
func TestObtainedIsWhenTheFilesWereWritten(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now().Add(-24*time.Hour), time.Now().Add(time.Hour))
	written := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	generation, err := filepath.EvalSymlinks(filepath.Join(n.target, "..data"))
	check(t, err)
	check(t, os.Chtimes(filepath.Join(n.store.DataPath(testVolume), filepath.Base(generation)), written, written))
	d, _, err := n.start(t)
	check(t, err)
	if live := d.volumes.acquire(testVolume).metadata(); !live.Obtained.Equal(written) {
		t.Errorf("obtained at %s, want %s", live.Obtained, written)
	}
}

func TestUnpublishDestroysEverythingWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	d, _, err := n.start(t)
	check(t, err)
	req := &csi.NodeUnpublishVolumeRequest{VolumeId: testVolume, TargetPath: n.target}
	for range 2 { // it must be idempotent
		_, err := d.server.NodeUnpublishVolume(t.Context(), req)
		check(t, err)
		if _, err := os.Lstat(n.target); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the target is still there: %v", err)
		}
		if ids, err := n.store.List(); err != nil || len(ids) != 0 {
			t.Errorf("left in the store: %q, %v", ids, err)
		}
		d.volumes.mu.Lock()
		if len(d.volumes.all) != 0 {
			t.Errorf("left in memory: %v", d.volumes.all)
		}
		d.volumes.mu.Unlock()
	}
	req.VolumeId = "../x"
	if _, err := d.server.NodeUnpublishVolume(t.Context(), req); err == nil {
		t.Error("takes a hostile volume ID")
	}
}

// One volume that cannot be understood stops neither the start nor the others.
func TestDamagedVolumesAreLeftAlone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	check(t, os.Mkdir(filepath.Join(n.store.Root(), "empty"), 0o700))
	for id, damage := range map[string]func(dir string) error{
		"metadata-cut-short": func(dir string) error { return os.Truncate(filepath.Join(dir, "metadata.json"), 20) },
		"metadata-gone":      func(dir string) error { return os.Remove(filepath.Join(dir, "metadata.json")) },
		"key-gone":           func(dir string) error { return os.Remove(filepath.Join(dir, "data", "tls.key")) },
		"files-gone":         func(dir string) error { return os.Remove(filepath.Join(dir, "data", "..data")) },
		"chain-cut-short":    func(dir string) error { return appendCutShort(filepath.Join(dir, "data", "tls.crt")) },
		"certificate-empty":  func(dir string) error { return os.Truncate(filepath.Join(dir, "data", "tls.crt"), 0) },
		"metadata-of-nobody": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "metadata.json"), []byte(`{"version":1,"files":{"certificate":"tls.crt","privateKey":"tls.key"}}`), 0o600)
		},
		"another-identity": func(dir string) error {
			other := n.metadata()
			other.SPIFFEID = "spiffe://my.trust.domain/ns/sandbox/sa/other"
			return n.store.WriteMetadata(filepath.Base(dir), other)
		},
	} {
		check(t, n.store.Write(id, svidFiles(t, time.Now(), time.Now().Add(time.Hour)), n.metadata()))
		check(t, damage(filepath.Join(n.store.Root(), id)))
	}
	d, out, err := n.start(t)
	check(t, err)
	if len(d.volumes.all) != 1 || d.volumes.all[testVolume] == nil {
		t.Errorf("took over %v, want the good one", d.volumes.all)
	}
	if log := out.String(); strings.Count(log, "cannot be taken over") != 9 || !strings.Contains(log, "volumes=1 waiting=0 damaged=9") {
		t.Errorf("the log says %s", log)
	}
	if ids, err := n.store.List(); err != nil || len(ids) != 10 {
		t.Errorf("left are %q, %v, want all 10", ids, err)
	}
}

// appendCutShort appends a certificate that is cut short to a file.
func appendCutShort(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, data[:len(data)-30]...), 0o600)
}

// A volume whose chain was damaged since it was written keeps its files: they are not
// given on, as whole ones, with the next trust bundle.
func TestADamagedChainIsNotWrittenAnew(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	d, _, err := n.start(t)
	check(t, err)
	check(t, appendCutShort(filepath.Join(n.store.DataPath(testVolume), "tls.crt")))
	meta := n.metadata()
	if err := d.rewriteFiles(testVolume, &meta); !errors.Is(err, pemcerts.ErrDamaged) {
		t.Errorf("got %v, want %v", err, pemcerts.ErrDamaged)
	}
}

// An expired document is due at once. Without a token from the kubelet nothing
// can be done about it, and the volume stays as it is.
func TestRenewalWaitsForAToken(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	d, out, err := n.start(t)
	check(t, err)
	d.renew(t.Context(), testVolume, func() {})
	if !strings.Contains(out.String(), "renewal waits for the kubelet to publish again") {
		t.Errorf("the log says %s", out)
	}
	request := goodPublish(t)
	if state := d.volumes.acquire(testVolume); !state.takeToken(request.Token) {
		t.Error("the token does not make the renewal due")
	}
}

func TestNewWithoutAGoodTrustBundleFails(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	path := filepath.Join(n.dir, "ca.pem")
	_, _, err := n.start(t, "trustBundle: {path: "+path+"}")
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "trustBundle.path "+path) {
		t.Errorf("got %v", err)
	}
	check(t, os.WriteFile(path, nil, 0o600))
	if _, _, err := n.start(t, "trustBundle: {path: "+path+"}"); !errors.Is(err, trustbundle.ErrNoCertificate) {
		t.Errorf("got %v", err)
	}
}

// A bad bundle keeps new pods from starting, and nothing from the volumes of those
// that run: they keep the bundle that they have, and are renewed.
func TestNewWithoutAGoodTrustBundleServesLiveVolumes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	root, path := newRoot(t, time.Now().Add(time.Hour)), filepath.Join(n.dir, "ca.pem")
	files := svidFiles(t, time.Now(), time.Now().Add(time.Hour))
	files["ca.crt"] = root
	check(t, n.store.Write(testVolume, files, n.metadata()))
	check(t, n.store.Mount(testVolume, n.target))
	d, out, err := n.start(t, "trustBundle: {path: "+path+"}")
	check(t, err)
	if log := out.String(); !strings.Contains(log, "new pods are refused until there is") || !strings.Contains(log, path) {
		t.Errorf("the log says %s", log)
	}
	if err := d.Ready(); !errors.Is(err, errNoBundle) {
		t.Errorf("ready: %v", err)
	}
	if d.VolumesBehind() != 0 {
		t.Error("the volume is behind a bundle that there is not")
	}
	req := goodRequest()
	req.TargetPath = n.target
	_, err = d.server.NodePublishVolume(t.Context(), req)
	check(t, err)
	late := goodRequest()
	late.VolumeId, late.TargetPath = "csi-late", strings.ReplaceAll(n.target, "/spiffe/", "/late/")
	if _, err := d.server.NodePublishVolume(t.Context(), late); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), errNoBundle.Error()) {
		t.Errorf("a new pod: %v", err)
	}

	document := newDocument(t)
	check(t, d.replace(d.config.Current(), d.volumes.acquire(testVolume), landed(d, document)))
	_, key, err := document.Marshal()
	check(t, err)
	for name, want := range map[string][]byte{"tls.key": key, "ca.crt": root} {
		if got, err := os.ReadFile(filepath.Join(n.target, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("after a renewal %s reads %q, %v", name, got, err)
		}
	}
	next := newRoot(t, time.Now().Add(time.Hour))
	check(t, os.WriteFile(path, next, 0o600))
	d.bundleSeen(d.bundles.Take(path, filewatch.Read(path, trustbundle.MaxSize)))
	d.rewrite(t.Context(), testVolume, nil)
	if got, err := os.ReadFile(filepath.Join(n.target, "ca.crt")); err != nil || !bytes.Equal(got, next) || errors.Is(d.Ready(), errNoBundle) {
		t.Errorf("with the good bundle ca.crt reads %q, %v; ready: %v", got, err, d.Ready())
	}
}

// A driver that finds its tmpfs in use by another installation leaves it as it is.
func TestATmpfsOfAnotherInstallationIsNotChanged(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	size := func() uint64 {
		var stat unix.Statfs_t
		check(t, unix.Statfs(n.store.Root(), &stat))
		return stat.Blocks
	}
	before := size()
	lock, err := nodelock.Acquire(n.store.LockPath(), nodelock.Owner{Namespace: "spiffe-b", Driver: "b.spiffe.example.org", Pod: "csi-driver-spiffe-x7k2p"})
	check(t, err)
	_, err = New(Options{
		Node: "worker-1", Socket: socketPath(t), REST: nowhere(), Pod: types.NamespacedName{Namespace: "cert-manager", Name: "csi-driver-spiffe-8d4mz"},
		Config: config.NewHolder(testConfig(t, "volume: {tmpfsPath: "+n.store.Root()+", tmpfsSize: 1Mi}")), Log: slog.New(slog.DiscardHandler),
	})
	if !errors.Is(err, nodelock.ErrHeld) {
		t.Errorf("got %v, want that another installation has it", err)
	}
	if after := size(); after != before {
		t.Errorf("the tmpfs had %d blocks and has %d", before, after)
	}
	check(t, lock.Release())
}

// Nor does one whose tmpfs was not there when it started put volumes into it later.
func TestATmpfsOfAnotherInstallationThatComesLater(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	check(t, volume.Unmount(n.store.Root()))
	check(t, os.WriteFile(n.store.Root(), nil, 0o600))
	d, err := New(Options{
		Node: "worker-1", Socket: socketPath(t), REST: nowhere(), Pod: types.NamespacedName{Namespace: "cert-manager", Name: "csi-driver-spiffe-8d4mz"},
		Config: config.NewHolder(testConfig(t, "volume: {tmpfsPath: "+n.store.Root()+"}")), Log: slog.New(slog.DiscardHandler),
	})
	check(t, err)
	t.Cleanup(func() { d.stop(nil); d.background.Wait() })
	check(t, os.Remove(n.store.Root()))
	check(t, n.store.Ensure())
	lock, err := nodelock.Acquire(n.store.LockPath(), nodelock.Owner{Namespace: "spiffe-b", Driver: "b.spiffe.example.org", Pod: "csi-driver-spiffe-x7k2p"})
	check(t, err)
	request := goodPublish(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*replyMargin) // nobody answers a request
	defer cancel()
	if err := d.publish(ctx, d.config.Current(), request); !errors.Is(err, nodelock.ErrHeld) {
		t.Errorf("got %v, want that another installation has it", err)
	}
	if ids, err := n.store.List(); err != nil || len(ids) != 0 {
		t.Errorf("left in the store: %q, %v", ids, err)
	}
	check(t, lock.Release())
	if err := d.roomInStore(); err != nil {
		t.Errorf("it is free: %v", err)
	}
}
