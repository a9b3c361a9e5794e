// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// leavePending leaves what a process leaves that is killed while a request is
// under way.
func (n node) leavePending(t *testing.T, d *Driver) *issuance.Pending {
	t.Helper()
	request := goodPublish(t)
	pending, err := d.order(testConfig(t), testVolume, request.Token).Prepare()
	check(t, err)
	data, err := pending.Marshal()
	check(t, err)
	check(t, n.store.WritePending(testVolume, data))
	return pending
}

// noticeUnasked has the driver look after a volume that nobody has asked for since
// long.
func noticeUnasked(t *testing.T, d *Driver) {
	t.Helper()
	state := d.volumes.acquire(testVolume)
	defer d.volumes.release(state)
	state.mu.Lock()
	state.askedAt = time.Now().Add(-unaskedAge)
	state.mu.Unlock()
	d.renew(t.Context(), testVolume, func() {})
}

func TestPendingRequestOfAnEarlierProcessIsClaimed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	pending := n.leavePending(t, newTestDriver(t, nil))
	d, out, err := n.start(t)
	check(t, err)
	if !d.isWanted(discarded{issuance.Ref{Name: pending.Request, Pod: pending.Pod}, issuance.VolumeLabel(testVolume)}) {
		t.Error("the request would be deleted as nobody's")
	}
	if !strings.Contains(out.String(), "volumes=0 waiting=1 damaged=0") {
		t.Errorf("the log says %s", out)
	}
	// Nobody asks for the volume any more.
	noticeUnasked(t, d)
	if ids, err := n.store.List(); err != nil || len(ids) != 0 {
		t.Errorf("left in the store: %q, %v", ids, err)
	}
	if d.isWanted(discarded{issuance.Ref{Name: pending.Request, Pod: pending.Pod}, issuance.VolumeLabel(testVolume)}) || len(d.volumes.all) != 0 {
		t.Error("the request is kept, or its volume is")
	}
}

// That nobody asks for a volume is noticed even if what was kept of its request
// cannot be read any more.
func TestPendingRequestThatIsDamagedIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(n node) error{
		"damaged": func(n node) error { return n.store.WritePending(testVolume, []byte("{")) },
		"gone":    func(n node) error { return n.store.RemovePending(testVolume) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			pending := n.leavePending(t, newTestDriver(t, nil))
			d, _, err := n.start(t)
			check(t, err)
			check(t, damage(n))
			noticeUnasked(t, d)
			if ids, err := n.store.List(); err != nil || len(ids) != 0 || len(d.volumes.all) != 0 {
				t.Errorf("left in the store: %q, %v; %d volumes are known", ids, err, len(d.volumes.all))
			}
			if d.discards.queue.Len() == 0 {
				t.Fatal("no request is deleted")
			}
			if item, _ := d.discards.queue.Get(); item.Ref != (issuance.Ref{Name: pending.Request, Pod: pending.Pod}) {
				t.Errorf("%+v is deleted, want %s", item.Ref, pending.Request)
			}
		})
	}
}

// A process that was killed between putting the document into the files and
// noting where it came from has asked for it under the policy of the request.
func TestMetadataIsCompletedFromThePendingRequest(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	pending := n.leavePending(t, newTestDriver(t, nil))
	data, err := pending.Marshal()
	check(t, err)
	files := svidFiles(t, time.Now(), time.Now().Add(time.Hour))
	// The request is that of the key in the files.
	block, _ := pem.Decode(files["tls.key"])
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	check(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	escaped := strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "\n", `\n`)
	before, _, _ := strings.Cut(string(data), `-----BEGIN PRIVATE`)
	_, after, _ := strings.Cut(string(data), `PRIVATE KEY-----\n","csr`)
	check(t, n.store.WritePending(testVolume, []byte(before+escaped+`","csr`+after)))
	check(t, n.store.Write(testVolume, files, volume.Metadata{
		TargetPath: n.target, PodNamespace: "sandbox", PodName: "web-0", PodUID: testPodUID, Files: testFiles(),
		SPIFFEID: "spiffe://the.trust.domain.before/ns/sandbox/sa/example-app", Request: "before", IdentityHash: "before",
	}))
	d, out, err := n.start(t)
	check(t, err)
	live := d.volumes.acquire(testVolume).metadata()
	if live == nil || live.Request != pending.Request.Name || live.IdentityHash != pending.IdentityHash {
		t.Errorf("knows %+v of it\n%s", live, out)
	}
	if meta, err := n.store.ReadMetadata(testVolume); err != nil || meta.Request != pending.Request.Name {
		t.Errorf("the metadata says %+v, %v", meta, err)
	}
	if _, err := n.store.ReadPending(testVolume); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("the pending request: %v, want it gone", err)
	}
}

// A driver without the right to mount fails; one that finds something else in its
// way goes on, and is not ready.
func TestDriverStartsWithoutItsTmpfs(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	check(t, volume.Unmount(n.store.Root()))
	check(t, os.WriteFile(n.store.Root(), nil, 0o600))
	d, out, err := n.start(t)
	check(t, err)
	if err := d.Ready(); !errors.Is(err, volume.ErrNotMounted) || !strings.Contains(out.String(), "no volume can be published until this is mended") {
		t.Errorf("ready: %v\n%s", err, out)
	}
	check(t, os.Remove(n.store.Root()))
	check(t, os.MkdirAll(filepath.Dir(n.store.Root()), 0o700))
}
