// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/contents"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

const id, password = "spiffe://test.example.org/ns/sandbox/sa/app", "correct horse"

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// three are the files that there are by default, all of them every one.
func three() volume.Files {
	return volume.Files{Certificate: "tls.crt", PrivateKey: "tls.key", TrustBundle: "ca.crt"}
}

func all() volume.Files {
	names := three()
	names.CredentialBundle, names.SPIFFEBundle, names.PasswordFile = "credential-bundle.pem", "bundle.json", "password"
	names.PKCS12 = volume.Stores{Keystore: "keystore.p12", Truststore: "truststore.p12"}
	names.JKS = volume.Stores{Keystore: "keystore.jks", Truststore: "truststore.jks"}
	return names
}

// sign returns a certificate that lasts for an hour.
func sign(t testing.TB, change func(*x509.Certificate), public crypto.PublicKey, parent *x509.Certificate, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
	}
	change(template)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	check(t, err)
	certificate, err := x509.ParseCertificate(der)
	check(t, err)
	return certificate
}

func asCA(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }

// newParts makes an SVID with a key of its own, an intermediate CA, and a bundle
// of a root and one more.
func newParts(t testing.TB, key crypto.Signer) made {
	t.Helper()
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	root := sign(t, asCA, rootKey.Public(), nil, rootKey)
	middle := sign(t, asCA, rootKey.Public(), root, rootKey)
	uri, err := url.Parse(id)
	check(t, err)
	leaf := sign(t, func(c *x509.Certificate) {
		c.URIs, c.KeyUsage = []*url.URL{uri}, x509.KeyUsageDigitalSignature
	}, key.Public(), middle, rootKey)
	other := sign(t, asCA, rootKey.Public(), nil, rootKey)
	svid := &x509svid.SVID{ID: spiffeid.RequireFromString(id), Certificates: []*x509.Certificate{leaf, middle}, PrivateKey: key}
	chain, pkcs8, err := svid.Marshal()
	check(t, err)
	return made{
		contents.Parts{Chain: chain, Key: pkcs8, TrustDomain: svid.ID.TrustDomain(), Bundle: bundleOf(t, root, other), Password: password}, svid,
	}
}

// made is contents.Parts with what they were made from.
type made struct {
	contents.Parts
	SVID *x509svid.SVID
}

func bundleOf(t testing.TB, certificates ...*x509.Certificate) *trustbundle.Bundle {
	t.Helper()
	var data []byte
	for _, c := range certificates {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	bundle, err := trustbundle.Parse(data)
	check(t, err)
	return bundle
}

func keys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	check(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	return map[string]crypto.Signer{"ECDSA": ec, "RSA": rs, "Ed25519": ed}
}

func filesOf(t testing.TB, names volume.Files, p made) map[string][]byte {
	t.Helper()
	files, err := new(contents.Maker).Make(names, p.Parts)
	check(t, err)
	return files
}

// Whatever the form, it holds the same key, chain and certificates.
func TestEveryFormSaysTheSame(t *testing.T) {
	t.Parallel()
	for algorithm, key := range keys(t) {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			parts := newParts(t, key)
			files := filesOf(t, all(), parts)
			if len(files) != 10 {
				t.Errorf("%d files", len(files))
			}
			requireChain(t, parts, files["tls.crt"], files["tls.key"])
			requireChain(t, parts, files["credential-bundle.pem"], files["credential-bundle.pem"])
			if !bytes.Equal(files["ca.crt"], parts.Bundle.PEM()) {
				t.Errorf("ca.crt: %s", files["ca.crt"])
			}
			if string(files["password"]) != password {
				t.Errorf("password: %q", files["password"])
			}
			document, err := spiffebundle.Parse(parts.SVID.ID.TrustDomain(), files["bundle.json"])
			check(t, err)
			requireSame(t, "bundle.json", document.X509Authorities(), parts.Bundle.Certificates())
			requirePKCS12(t, parts, files)
			requireJKS(t, parts, files)
		})
	}
}

func requireChain(t *testing.T, parts made, certificates, key []byte) {
	t.Helper()
	pair, err := tls.X509KeyPair(certificates, key)
	check(t, err)
	if len(pair.Certificate) != 2 || !bytes.Equal(pair.Certificate[1], parts.SVID.Certificates[1].Raw) {
		t.Errorf("%d certificates in the chain", len(pair.Certificate))
	}
}

func requireSame(t *testing.T, name string, got, want []*x509.Certificate) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b *x509.Certificate) bool { return a.Equal(b) }) {
		t.Errorf("%s has other certificates", name)
	}
}

func requirePKCS12(t *testing.T, parts made, files map[string][]byte) {
	t.Helper()
	key, leaf, chain, err := pkcs12.DecodeChain(files["keystore.p12"], password)
	check(t, err)
	if !parts.SVID.PrivateKey.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key.(crypto.Signer).Public()) {
		t.Error("keystore.p12 has another key")
	}
	requireSame(t, "keystore.p12", append([]*x509.Certificate{leaf}, chain...), parts.SVID.Certificates)
	trusted, err := pkcs12.DecodeTrustStore(files["truststore.p12"], password)
	check(t, err)
	requireSame(t, "truststore.p12", trusted, parts.Bundle.Certificates())
	if _, err := pkcs12.DecodeTrustStore(files["truststore.p12"], "another"); err == nil {
		t.Error("any password opens truststore.p12")
	}
}

func requireJKS(t *testing.T, parts made, files map[string][]byte) {
	t.Helper()
	keyStore, trustStore := keystore.New(), keystore.New()
	check(t, keyStore.Load(bytes.NewReader(files["keystore.jks"]), []byte(password)))
	entry, err := keyStore.GetPrivateKeyEntry("svid", []byte(password))
	check(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(parts.SVID.PrivateKey)
	check(t, err)
	if !bytes.Equal(entry.PrivateKey, key) || len(entry.CertificateChain) != 2 {
		t.Error("keystore.jks has another key or chain")
	}
	check(t, trustStore.Load(bytes.NewReader(files["truststore.jks"]), []byte(password)))
	if aliases := trustStore.Aliases(); len(aliases) != 2 {
		t.Errorf("truststore.jks has %v", aliases)
	}
}

func TestOnlyWhatHasANameIsMade(t *testing.T) {
	t.Parallel()
	parts := newParts(t, keys(t)["Ed25519"])
	passwordOnly, noBundle := three(), parts
	passwordOnly.PasswordFile = "password"
	noBundle.Bundle = nil
	for _, row := range []struct {
		name  string
		names volume.Files
		parts made
		want  []string
	}{
		{"the default", three(), parts, []string{"ca.crt", "tls.crt", "tls.key"}},
		{"no bundle", three(), noBundle, []string{"tls.crt", "tls.key"}},
		{"no bundle, all forms", all(), noBundle, []string{
			"credential-bundle.pem", "keystore.jks", "keystore.p12", "password", "tls.crt", "tls.key",
		}},
		{"a password for nothing", passwordOnly, parts, []string{"ca.crt", "tls.crt", "tls.key"}},
	} {
		var got []string
		for name := range filesOf(t, row.names, row.parts) {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

// The truststore of one bundle and password is made once for all volumes.
func TestTruststoresAreRemembered(t *testing.T) {
	t.Parallel()
	var maker contents.Maker
	parts, other := newParts(t, keys(t)["Ed25519"]), newParts(t, keys(t)["Ed25519"])
	truststores := func(p made) []byte {
		files, err := maker.Make(all(), p.Parts)
		check(t, err)
		return slices.Concat(files["truststore.p12"], files["truststore.jks"])
	}
	first := truststores(parts)
	if !bytes.Equal(first, truststores(parts)) {
		t.Error("it was made again")
	}
	renewed := other
	renewed.Bundle = parts.Bundle
	if !bytes.Equal(first, truststores(renewed)) {
		t.Error("it was made again for another SVID")
	}
	if bytes.Equal(first, truststores(other)) {
		t.Error("another bundle has the same")
	}
	parts.Password = "another"
	if bytes.Equal(first, truststores(parts)) {
		t.Error("another password has the same")
	}
}

// A keystore that is there is not made again.
func TestKeystoresAreTakenAsTheyAre(t *testing.T) {
	t.Parallel()
	parts := newParts(t, keys(t)["Ed25519"])
	parts.Keystores = map[string][]byte{"keystore.p12": []byte("as before")}
	files := filesOf(t, all(), parts)
	if string(files["keystore.p12"]) != "as before" || len(files["keystore.jks"]) < 100 || len(files) != 10 {
		t.Errorf("keystore.p12 is %q, keystore.jks has %d bytes", files["keystore.p12"], len(files["keystore.jks"]))
	}
}

// A key that no JWK can hold is no reason to do without the other certificates.
func TestSPIFFEBundleLeavesOutOtherKeys(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	check(t, err)
	parts := newParts(t, keys(t)["Ed25519"])
	good := parts.Bundle.Certificates()
	parts.Bundle = bundleOf(t, append([]*x509.Certificate{sign(t, asCA, key.Public(), nil, key)}, good...)...)
	document, err := spiffebundle.Parse(parts.SVID.ID.TrustDomain(), filesOf(t, all(), parts)["bundle.json"])
	check(t, err)
	requireSame(t, "bundle.json", document.X509Authorities(), good)
}

// What it takes to make the files of a volume.
func BenchmarkMake(b *testing.B) {
	p12, jks := three(), three()
	p12.PKCS12, jks.JKS = all().PKCS12, all().JKS
	for name, names := range map[string]volume.Files{"PEM": three(), "PKCS12": p12, "JKS": jks, "all": all()} {
		b.Run(name, func(b *testing.B) {
			parts := newParts(b, keys(b)["ECDSA"])
			var maker contents.Maker
			for b.Loop() {
				if _, err := maker.Make(names, parts.Parts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
