// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// largeRoot returns a certificate in PEM of about this many bytes.
func largeRoot(t *testing.T, size int) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473}, Value: make([]byte, size*3/4)}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// The clock may be set back between the issuance and the delivery of an SVID. Its lifetime
// begins with the delivery then, or its renewal would come when it has expired.
func TestAnSVIDIsNotWrittenAsObtainedInTheFuture(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	d := newTestDriver(t, nil)
	check(t, d.openStore())
	document, live := newDocument(t), &volume.Metadata{}
	document.Obtained = time.Now().Add(time.Hour).Round(0)
	check(t, d.write(testVolume, document, live))
	if ahead := time.Until(live.Obtained); ahead > time.Second {
		t.Errorf("it is obtained in %s", ahead)
	}
}

// newDocument is one that an issuer might have signed.
func newDocument(t *testing.T) *issuance.SVID {
	t.Helper()
	files := svidFiles(t, time.Now(), time.Now().Add(time.Hour))
	svid, err := x509svid.Parse(files["tls.crt"], files["tls.key"])
	check(t, err)
	return &issuance.SVID{X509: svid}
}

// Where a larger bundle finds no room, volumes keep the one that they have, their
// renewals go on beside it, and they catch up when there is room.
func TestRenewalBesideABundleThatHasNoRoom(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	d := newTestDriver(t, nil)
	d.store = volume.New(filepath.Join(t.TempDir(), "store"), volume.WithSize(1<<20))
	t.Cleanup(func() { check(t, volume.Unmount(d.store.Root())) })
	path, small := filepath.Join(t.TempDir(), "ca.pem"), newRoot(t, time.Now().Add(time.Hour))
	check(t, os.WriteFile(path, small, 0o600))
	d.config.Set(testConfig(t, "trustBundle: {path: "+path+"}", "volume: {files: {credentialBundle: both.pem}}"))
	d.bundleSeen(d.bundles.Open(path))
	state := d.volumes.acquire(testVolume)
	live := &volume.Metadata{PodNamespace: "sandbox", PodName: "web-0"}
	check(t, d.write(testVolume, newDocument(t), live))
	d.setLive(state, live)
	mustRead := func(name string, want []byte) {
		t.Helper()
		if got, err := d.store.ReadFile(testVolume, name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes, %v, want %d", name, len(got), err, len(want))
		}
	}
	mustRead("ca.crt", small)

	filler, large := filepath.Join(d.store.Root(), "filler"), largeRoot(t, 200<<10)
	check(t, os.WriteFile(filler, make([]byte, 400<<10), 0o600))
	check(t, os.WriteFile(path, large, 0o600))
	d.bundleSeen(d.bundles.Take(path, filewatch.Read(path, trustbundle.MaxSize)))
	d.rewrite(t.Context(), testVolume, nil)
	mustRead("ca.crt", small)
	if got := observetest.Samples(t, d.Metrics()...); got["volumes_behind{}"] != 1 || got["fan_out_failures_total{}"] != 1 {
		t.Errorf("%g are behind, %g failures", got["volumes_behind{}"], got["fan_out_failures_total{}"])
	}

	check(t, os.WriteFile(filler, make([]byte, 900<<10), 0o600)) // into the reserve
	renewed := newDocument(t)
	check(t, d.replace(d.config.Current(), state, landed(d, renewed)))
	chain, key, err := renewed.Marshal()
	check(t, err)
	mustRead("tls.key", key)
	mustRead("both.pem", append(bytes.Clone(key), chain...))
	mustRead("ca.crt", small)
	if now := state.metadata(); d.VolumesBehind() != 1 || now.TrustBundle != trustbundle.HashOf(small) || !now.NotAfter.Equal(renewed.NotAfter()) {
		t.Errorf("%d are behind, the volume is known as %+v", d.VolumesBehind(), now)
	}

	check(t, os.Remove(filler))
	d.rewrite(t.Context(), testVolume, nil)
	mustRead("ca.crt", large)
	mustRead("tls.key", key)
	if d.VolumesBehind() != 0 {
		t.Error("it is behind still")
	}
}

// Where there is no room even for the pair, a renewal fails and says so.
func TestRenewalWithoutAnyRoom(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	d := newTestDriver(t, nil)
	d.store = volume.New(filepath.Join(t.TempDir(), "store"), volume.WithSize(1<<20))
	t.Cleanup(func() { check(t, volume.Unmount(d.store.Root())) })
	state, live, before := d.volumes.acquire(testVolume), &volume.Metadata{}, newDocument(t)
	check(t, d.write(testVolume, before, live))
	d.setLive(state, live)
	_ = os.WriteFile(filepath.Join(d.store.Root(), "filler"), make([]byte, 1<<20), 0o600) // until it is full
	if err := d.replace(d.config.Current(), state, landed(d, newDocument(t))); !errors.Is(err, volume.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	_, key, err := before.Marshal()
	check(t, err)
	if got, err := d.store.ReadFile(testVolume, "tls.key"); err != nil || !bytes.Equal(got, key) {
		t.Errorf("the volume has another key, %v", err)
	}
}
