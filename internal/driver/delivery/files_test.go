// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery_test

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
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/configtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

const (
	testID       = "csi-1"
	testIdentity = "spiffe://my.trust.domain/ns/sandbox/sa/web"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sign returns a self-signed certificate in PEM, with its key.
func sign(t *testing.T, template *x509.Certificate) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// newRoot returns a certificate in PEM that is valid until a moment.
func newRoot(t *testing.T, until time.Time, extensions ...pkix.Extension) []byte {
	t.Helper()
	root, _ := sign(t, &x509.Certificate{NotAfter: until, IsCA: true, BasicConstraintsValid: true, ExtraExtensions: extensions})
	return root
}

// newSVID is one that an issuer might have signed.
func newSVID(t *testing.T) *issuance.SVID {
	t.Helper()
	uri, err := url.Parse(testIdentity)
	check(t, err)
	now := time.Now()
	svid, err := x509svid.Parse(sign(t, &x509.Certificate{
		URIs: []*url.URL{uri}, NotBefore: now, NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}))
	check(t, err)
	return &issuance.SVID{
		X509: svid, Request: types.NamespacedName{Namespace: "sandbox", Name: "web-0-x2b4"}, Policy: configtest.Parse(t).Policy(), Obtained: now.Round(0),
	}
}

// delivered is a store with a volume in it.
type delivered struct {
	*delivery.Files

	store  *volume.Store
	bundle told
	config *config.Config
	path   string // of the trust bundle's file
	root   []byte // what it has
	svid   *issuance.SVID
	meta   *volume.Metadata
}

// deliver writes an SVID beside a trust bundle into a store.
func deliver(t *testing.T, store *volume.Store, lines ...string) *delivered {
	t.Helper()
	d := &delivered{store: store, bundle: newBundle(), path: filepath.Join(t.TempDir(), "ca.pem"), root: newRoot(t, time.Now().Add(time.Hour)), svid: newSVID(t)}
	check(t, os.WriteFile(d.path, d.root, 0o600))
	d.config = configtest.Parse(t, append(lines, "trustBundle: {path: "+d.path+"}")...)
	check(t, d.bundle.Open(d.config, func() bool { return false }))
	d.Files = delivery.NewFiles(store, d.bundle.Bundle, slog.New(slog.DiscardHandler))
	d.meta = &volume.Metadata{TargetPath: "/target", PodNamespace: "sandbox", PodName: "web-0", PodUID: "uid"}
	check(t, d.Write(d.config, testID, d.svid, d.meta))
	return d
}

// withoutMounts is a store that needs no right to mount.
func withoutMounts(t *testing.T) *volume.Store {
	t.Helper()
	store := volume.New(filepath.Join(t.TempDir(), "store"), volume.WithoutMounts())
	t.Cleanup(func() { check(t, os.RemoveAll(store.Root())) })
	return store
}

// rotate has the trust bundle's file have another certificate.
func (d *delivered) rotate(t *testing.T, root []byte) {
	t.Helper()
	check(t, os.WriteFile(d.path, root, 0o600))
	d.bundle.take(d.path)
}

func (d *delivered) requireFile(t *testing.T, name string, want []byte) {
	t.Helper()
	if got, err := d.store.ReadFile(testID, name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, %v, want %d", name, len(got), err, len(want))
	}
}

func (d *delivered) file(t *testing.T, name string) []byte {
	t.Helper()
	data, err := d.store.ReadFile(testID, name)
	check(t, err)
	return data
}

// A volume is outdated if its bundle, its files or its password are others, and not if
// there is no bundle that it could be given.
func TestDesired(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ca.pem")
	root := newRoot(t, time.Now().Add(time.Hour))
	check(t, os.WriteFile(path, root, 0o600))
	hash := trustbundle.HashOf(root)
	three := volume.Files{Certificate: "tls.crt", PrivateKey: "tls.key", TrustBundle: "ca.crt"}
	renamed, store := three, three
	renamed.Certificate = "svid.pem"
	store.JKS.Keystore = "a.jks"
	withPath, withStore := "trustBundle: {path: "+path+", required: false}", "volume: {files: {jks: {keystore: b.jks}}}"
	for _, row := range []struct {
		name, config string
		live         volume.Metadata
		outdated     bool
	}{
		{"nothing is asked for", "", volume.Metadata{Files: three}, false},
		{"of other names", "", volume.Metadata{Files: renamed}, false},
		{"a bundle too many", "", volume.Metadata{Files: three, TrustBundle: hash}, true},
		{"no bundle", withPath, volume.Metadata{Files: three}, true},
		{"the bundle", withPath, volume.Metadata{Files: three, TrustBundle: hash}, false},
		{"another bundle", withPath, volume.Metadata{Files: three, TrustBundle: "another"}, true},
		{"the last one, the file gone", "trustBundle: {path: " + path + "x, required: false}", volume.Metadata{Files: three, TrustBundle: hash}, false},
		{"a form too many", "", volume.Metadata{Files: store}, true},
		{"a form is missing", withStore, volume.Metadata{Files: three}, true},
		{"a store of another password", withStore, volume.Metadata{Files: store, StorePassword: "another"}, true},
		{"a store that is as asked for", withStore, volume.Metadata{Files: store, StorePassword: trustbundle.HashOf([]byte("changeit"))}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b, c := newBundle(), configtest.Parse(t, row.config)
			check(t, b.Open(c, func() bool { return false }))
			files := delivery.NewFiles(volume.New(t.TempDir()), b.Bundle, slog.New(slog.DiscardHandler))
			if got := files.Desired(c, &row.live) != files.Present(&row.live); got != row.outdated {
				t.Errorf("outdated: %v, want %v", got, row.outdated)
			}
		})
	}
}

// What was written is there, noted in the metadata, and read again by the next process.
func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	d := deliver(t, withoutMounts(t))
	chain, key, err := d.svid.Marshal()
	check(t, err)
	d.requireFile(t, "tls.crt", chain)
	d.requireFile(t, "tls.key", key)
	d.requireFile(t, "ca.crt", d.root)
	if d.Desired(d.config, d.meta) != d.Present(d.meta) || d.meta.TrustBundle != trustbundle.HashOf(d.root) {
		t.Errorf("it is outdated: %+v", d.meta)
	}
	got, public, err := d.Read(testID)
	check(t, err)
	d.FindContent(testID, got)
	if !got.NotAfter.Equal(d.svid.NotAfter()) || !got.Obtained.Equal(d.svid.Obtained) || got.SPIFFEID != testIdentity ||
		got.Request != "web-0-x2b4" || got.IdentityHash != d.svid.Policy.IdentityHash() || d.Present(got) != d.Present(d.meta) {
		t.Errorf("read %+v", got)
	}
	if same, ok := public.(*ecdsa.PublicKey); !ok || !same.Equal(d.svid.X509.PrivateKey.Public()) {
		t.Error("the public key is another")
	}
}

// The clock may be set back between the issuance and the delivery of an SVID. Its lifetime
// begins with the delivery then, or its renewal would come when it has expired.
func TestAnSVIDIsNotWrittenAsObtainedInTheFuture(t *testing.T) {
	t.Parallel()
	d := deliver(t, withoutMounts(t))
	d.svid.Obtained = time.Now().Add(time.Hour).Round(0)
	check(t, d.Write(d.config, testID, d.svid, d.meta))
	if ahead := time.Until(d.meta.Obtained); ahead > time.Second {
		t.Errorf("it is obtained in %s", ahead)
	}
}

// A volume is given another bundle and other forms, and keeps its SVID and its stores to
// the byte.
func TestRewriteKeepsTheSVID(t *testing.T) {
	t.Parallel()
	d := deliver(t, withoutMounts(t), "volume: {files: {pkcs12: {keystore: a.p12, truststore: trust.p12}, storePassword: {value: '', file: password}}}")
	names := []string{"tls.crt", "tls.key", "a.p12", "password"}
	before := map[string][]byte{}
	for _, name := range names {
		before[name] = d.file(t, name)
	}
	truststore := d.file(t, "trust.p12")
	next := newRoot(t, time.Now().Add(time.Hour))
	d.rotate(t, next)
	if d.Desired(d.config, d.meta) == d.Present(d.meta) {
		t.Error("it is not outdated")
	}
	check(t, d.Rewrite(d.config, testID, d.meta))
	for _, name := range names {
		d.requireFile(t, name, before[name])
	}
	d.requireFile(t, "ca.crt", next)
	if bytes.Equal(d.file(t, "trust.p12"), truststore) {
		t.Error("the truststore has the bundle of before")
	}
	if d.Desired(d.config, d.meta) != d.Present(d.meta) {
		t.Errorf("it is outdated: %+v", d.meta)
	}
	// A new SVID comes with the volume's password, which the pod knows.
	d.svid = newSVID(t)
	check(t, d.Write(d.config, testID, d.svid, d.meta))
	d.requireFile(t, "password", before["password"])
	if bytes.Equal(d.file(t, "a.p12"), before["a.p12"]) {
		t.Error("the keystore has the SVID of before")
	}
}

// A volume whose files were damaged since they were written keeps them: they are not
// given on, as whole ones, with the next trust bundle.
func TestDamagedFilesAreNotRewritten(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, file string
		change     func(data []byte) []byte
		want       error
	}{
		{"a chain that is cut short", "tls.crt", func(data []byte) []byte { return append(data, data[:len(data)-30]...) }, pemcerts.ErrDamaged},
		{"no certificate", "tls.crt", func([]byte) []byte { return nil }, nil},
		{"no key", "tls.key", func([]byte) []byte { return nil }, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := deliver(t, withoutMounts(t))
			damaged := row.change(d.file(t, row.file))
			check(t, os.WriteFile(filepath.Join(d.store.DataPath(testID), row.file), damaged, 0o600))
			d.rotate(t, newRoot(t, time.Now().Add(time.Hour)))
			before := *d.meta
			err := d.Rewrite(d.config, testID, d.meta)
			if err == nil || row.want != nil && !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.file+" of volume "+testID) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if *d.meta != before {
				t.Errorf("metadata %+v, want %+v", d.meta, before)
			}
			d.requireFile(t, "ca.crt", d.root)
		})
	}
}

// The files say what a volume holds, as far as they can be read.
func TestReadOfWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(t *testing.T, d *delivered)
		want   error
		held   bool
	}{
		{"there is no volume", func(t *testing.T, d *delivered) { t.Helper(); check(t, d.store.Remove(testID)) }, volume.ErrNotFound, false},
		{"the metadata are incomplete", func(t *testing.T, d *delivered) {
			t.Helper()
			d.meta.PodUID = ""
			check(t, d.store.WriteMetadata(testID, *d.meta))
		}, volume.ErrDamaged, false},
		{"the key is gone", func(t *testing.T, d *delivered) {
			t.Helper()
			check(t, os.Remove(filepath.Join(d.store.DataPath(testID), "..data", "tls.key")))
		}, os.ErrNotExist, false},
		{"the chain is cut short", func(t *testing.T, d *delivered) {
			t.Helper()
			data := d.file(t, "tls.crt")
			check(t, os.WriteFile(filepath.Join(d.store.DataPath(testID), "tls.crt"), append(data, data[:len(data)-30]...), 0o600))
		}, volume.ErrDamaged, false},
		{"the metadata are of another identity", func(t *testing.T, d *delivered) {
			t.Helper()
			d.meta.SPIFFEID = "spiffe://my.trust.domain/ns/sandbox/sa/other"
			check(t, d.store.WriteMetadata(testID, *d.meta))
		}, delivery.ErrOtherIdentity, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := deliver(t, withoutMounts(t))
			row.change(t, d)
			meta, key, err := d.Read(testID)
			if !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if held := meta != nil && key != nil; held != row.held {
				t.Errorf("it says what the volume holds: %v, want %v", held, row.held)
			}
			if row.held && meta.SPIFFEID != testIdentity {
				t.Errorf("it holds %s", meta.SPIFFEID)
			}
		})
	}
}

// The metadata of a volume may be older than its trust bundle.
func TestFindContent(t *testing.T) {
	t.Parallel()
	d := deliver(t, withoutMounts(t))
	path := filepath.Join(d.store.DataPath(testID), "..data", "ca.crt")
	meta := *d.meta
	meta.TrustBundle = "another"
	d.FindContent(testID, &meta)
	if meta.TrustBundle != trustbundle.HashOf(d.root) {
		t.Errorf("found %q", meta.TrustBundle)
	}
	check(t, os.Remove(path))
	d.FindContent(testID, &meta)
	if meta.TrustBundle != "" {
		t.Errorf("found %q where there is none", meta.TrustBundle)
	}
	check(t, os.Mkdir(path, 0o700))
	d.FindContent(testID, &meta)
	if !strings.HasPrefix(meta.TrustBundle, "unknown: ") {
		t.Errorf("found %q where it cannot be read", meta.TrustBundle)
	}
}

// Where a larger bundle finds no room, the volume keeps the one that it has. A new SVID is
// written beside that, and the volume catches up when there is room.
func TestANewSVIDBesideABundleThatHasNoRoom(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, or root of a user namespace, to mount: run `make test`")
	}
	store := volume.New(filepath.Join(t.TempDir(), "store"), volume.WithSize(1<<20))
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	d := deliver(t, store, "volume: {files: {credentialBundle: both.pem}}")
	filler := filepath.Join(store.Root(), "filler")
	check(t, os.WriteFile(filler, make([]byte, 400<<10), 0o600))
	large := newRoot(t, time.Now().Add(time.Hour), pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473}, Value: make([]byte, 150<<10)})
	d.rotate(t, large)
	if err := d.Rewrite(d.config, testID, d.meta); !errors.Is(err, volume.ErrFull) {
		t.Errorf("got %v, want %v", err, volume.ErrFull)
	}
	d.requireFile(t, "ca.crt", d.root)

	check(t, os.WriteFile(filler, make([]byte, 900<<10), 0o600)) // into the reserve
	renewed := newSVID(t)
	check(t, d.Write(d.config, testID, renewed, d.meta))
	chain, key, err := renewed.Marshal()
	check(t, err)
	d.requireFile(t, "both.pem", append(bytes.Clone(key), chain...))
	d.requireFile(t, "ca.crt", d.root)
	if d.Desired(d.config, d.meta) == d.Present(d.meta) || !d.meta.NotAfter.Equal(renewed.NotAfter()) {
		t.Errorf("the volume is known as %+v", d.meta)
	}

	check(t, os.Remove(filler))
	check(t, d.Rewrite(d.config, testID, d.meta))
	d.requireFile(t, "ca.crt", large)
	d.requireFile(t, "tls.key", key)
}
