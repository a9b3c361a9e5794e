// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const identity = "spiffe://my.trust.domain/ns/sandbox/sa/example-app"

// fakeIssuer signs whatever it is told to.
type fakeIssuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newFakeIssuer(t *testing.T) fakeIssuer {
	t.Helper()
	key := newKey(t)
	template := leaf("spiffe://my.trust.domain")
	template.IsCA, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	certificate, err := x509.ParseCertificate(der)
	check(t, err)
	return fakeIssuer{certificate, key}
}

// leaf is the certificate that an issuer should make for a SPIFFE ID.
func leaf(id string) *x509.Certificate {
	uri, err := url.Parse(id)
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: []*url.URL{uri},
		NotBefore: time.Now().Add(-time.Minute).Truncate(time.Second), NotAfter: time.Now().Add(time.Hour).Truncate(time.Second),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (i fakeIssuer) sign(t *testing.T, template *x509.Certificate, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, i.certificate, key, i.key)
	check(t, err)
	return pemBlock("CERTIFICATE", der)
}

func pemBlock(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// signed is the request as the issuer leaves it.
func signed(chain string) *cmapi.CertificateRequest {
	request := &cmapi.CertificateRequest{}
	request.Namespace, request.Name = "sandbox", "web-0-x2b4"
	request.Status.Certificate = []byte(chain)
	return request
}

func TestNewDocument(t *testing.T) {
	t.Parallel()
	issuer, key := newFakeIssuer(t), newKey(t)
	template := leaf(identity)
	chain := issuer.sign(t, template, key.Public()) + pemBlock("CERTIFICATE", issuer.certificate.Raw)
	document, err := new(verifiedLinks).newSVID(spiffeid.RequireFromString(identity), key, signed(chain), testPolicy())
	check(t, err)
	if got := document.X509.ID.String(); got != identity {
		t.Errorf("for %s", got)
	}
	if document.Request != (types.NamespacedName{Namespace: "sandbox", Name: "web-0-x2b4"}) || document.Policy != testPolicy() {
		t.Errorf("from %s under %s", document.Request, document.Policy.Hash())
	}
	if since := time.Since(document.Obtained); since < 0 || since > time.Minute {
		t.Errorf("obtained at %s", document.Obtained)
	}
	if !document.NotBefore().Equal(template.NotBefore) || !document.NotAfter().Equal(template.NotAfter) {
		t.Errorf("valid from %s to %s", document.NotBefore(), document.NotAfter())
	}
	requireNotMoreLenient(t, chain, key)
	certificates, keyPEM, err := document.Marshal()
	check(t, err)
	if string(certificates) != chain {
		t.Errorf("the chain is\n%s, want\n%s", certificates, chain)
	}
	if block, rest := pem.Decode(keyPEM); block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		t.Error("the key is not one PKCS #8 block")
	}
	if again, err := x509svid.Parse(certificates, keyPEM); err != nil || again.ID.String() != identity {
		t.Errorf("go-spiffe reads it as %v, %v", again, err)
	}
}

// requireNotMoreLenient asserts that go-spiffe accepts a chain if newSVID does,
// whomever it is for.
func requireNotMoreLenient(t *testing.T, chainPEM string, key crypto.Signer) {
	t.Helper()
	chain, err := parseChain([]byte(chainPEM))
	if err != nil {
		return
	}
	var der []byte
	for _, certificate := range chain {
		der = append(der, certificate.Raw...)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	_, theirs := x509svid.ParseRaw(der, keyDER)
	id, _ := x509svid.IDFromCert(chain[0])
	if _, ours := new(verifiedLinks).verifyChain(chain, id, key); ours == nil && theirs != nil {
		t.Errorf("newSVID accepts what go-spiffe refuses: %v", theirs)
	}
}

func TestNewDocumentRefusesWhatWasNotAskedFor(t *testing.T) {
	t.Parallel()
	issuer, key := newFakeIssuer(t), newKey(t)
	_, otherKind, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	with := func(change func(*x509.Certificate)) string {
		template := leaf(identity)
		change(template)
		return issuer.sign(t, template, key.Public())
	}
	good := with(func(*x509.Certificate) {})
	root := pemBlock("CERTIFICATE", issuer.certificate.Raw)
	powerless := leaf("spiffe://my.trust.domain")
	powerless.IsCA = true
	for _, row := range []struct{ name, chain, fragment string }{
		{"nothing", "", "there is no certificate in PEM"},
		{"no PEM", "signed", "there is no certificate in PEM"},
		{"cut short", good[:len(good)-20], "block 1 (line 1): a PEM block is damaged or cut short"},
		{"DER cut short", pemBlock("CERTIFICATE", issuer.certificate.Raw[:40]), "malformed"},
		{"a private key behind", good + pemBlock("PRIVATE KEY", []byte("x")), `"PRIVATE KEY"`},
		{"a request before", pemBlock("CERTIFICATE REQUEST", []byte("x")) + good, `"CERTIFICATE REQUEST"`},
		{"another SPIFFE ID", issuer.sign(t, leaf(identity+"2"), key.Public()), "it is for " + identity + "2"},
		{"another trust domain", issuer.sign(t, leaf(strings.Replace(identity, "my", "your", 1)), key.Public()), "your.trust.domain"},
		{"the trust domain itself", issuer.sign(t, leaf("spiffe://my.trust.domain"), key.Public()), "non-root path"},
		{"another key", issuer.sign(t, leaf(identity), newKey(t).Public()), "does not match private key"},
		{"another kind of key", issuer.sign(t, leaf(identity), otherKind.Public()), "does not match private key"},
		{"a CA", with(func(c *x509.Certificate) { c.IsCA = true }), "CA flag"},
		{"may sign certificates", with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), "keyCertSign"},
		{"may not sign", with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), "digitalSignature"},
		{"may sign revocation lists", with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }), "cRLSign"},
		{"no URI", with(func(c *x509.Certificate) { c.URIs = nil }), "no URI SAN"},
		{"two URIs", with(func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }), "more than one URI SAN"},
		{"the root first", root + good, "non-root path"},
		{"a chain of leaves", good + good, "CA flag"},
		{"an authority that may not sign", good + issuer.sign(t, powerless, key.Public()), "must have 'keyCertSign'"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			document, err := new(verifiedLinks).newSVID(spiffeid.RequireFromString(identity), key, signed(row.chain), testPolicy())
			requireNotMoreLenient(t, row.chain, key)
			if document != nil || !errors.Is(err, ErrBadCertificate) {
				t.Fatalf("got %v, %v, want ErrBadCertificate", document, err)
			}
			if !strings.Contains(err.Error(), row.fragment) {
				t.Errorf("%q does not say %q", err, row.fragment)
			}
		})
	}
}

// When a certificate was signed is what the issuer says, as far as this node knows better.
func TestSignedAt(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(by time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(by)} }
	for _, row := range []struct {
		name  string
		ready *metav1.Time
		since time.Time
		want  time.Time
	}{
		{"a request that was there before", at(-10 * time.Minute), time.Time{}, now.Add(-10 * time.Minute)},
		{"a request that was there before, and does not say", nil, time.Time{}, now},
		{"a request of now", at(-time.Second), now.Add(-2 * time.Second), now.Add(-time.Second)},
		{"the issuer's clock is ahead", at(time.Hour), now.Add(-time.Second), now},
		{"the issuer's clock is behind", at(-time.Hour), now.Add(-time.Second), now.Add(-time.Second)},
		{"the node's clock was set back meanwhile", at(-time.Second), now.Add(time.Hour), now},
		{"whole seconds", at(-999 * time.Millisecond), now.Add(-20 * time.Millisecond), now.Add(-20 * time.Millisecond)},
	} {
		request := signed("")
		if row.ready != nil {
			request.Status.Conditions = []cmapi.CertificateRequestCondition{{Type: cmapi.CertificateRequestConditionReady, LastTransitionTime: row.ready}}
		}
		if got := signedAt(request, row.since, now); !got.Equal(row.want) {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	if got := signedAt(signed(""), time.Time{}, now); !got.Equal(now) {
		t.Errorf("no condition: %s, want now", got)
	}
}

// A time with a reading of the monotonic clock is compared by that alone, which neither
// follows a wall clock that is set nor runs while the machine is suspended.
func TestSignedAtIsByTheWallClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	early := signed("")
	early.Status.Conditions = []cmapi.CertificateRequestCondition{{
		Type: cmapi.CertificateRequestConditionReady, LastTransitionTime: &metav1.Time{Time: now.Add(-time.Minute)},
	}}
	for name, got := range map[string]time.Time{
		"no condition": signedAt(signed(""), time.Time{}, now), "before it was created": signedAt(early, now, now), "while it was waited for": signedAt(early, time.Time{}, now),
	} {
		if got != got.Round(0) {
			t.Errorf("%s: %s has a reading of the monotonic clock", name, got)
		}
	}
}
