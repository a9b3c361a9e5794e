// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// authority is a CA of a test, named by its subject.
func (i fakeIssuer) authority(t testing.TB, name string, curve elliptic.Curve, change func(*x509.Certificate)) fakeIssuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	change(template)
	parent := i
	if i.certificate == nil {
		parent = fakeIssuer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.certificate, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return fakeIssuer{certificate, key}
}

func (i fakeIssuer) pem() string { return pemBlock("CERTIFICATE", i.certificate.Raw) }

// issueSigned has a request issued of which the issuer makes what sign returns.
func issueSigned(t *testing.T, sign func(key crypto.PublicKey) string) (*SVID, error) {
	t.Helper()
	a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
		parsed, err := csr.Parse(request.Spec.Request)
		if err != nil {
			t.Error(err)
			return nil
		}
		request = request.DeepCopy()
		request.Status.Certificate = []byte(sign(parsed.PublicKey))
		request.Status.Conditions = []cmapi.CertificateRequestCondition{
			set(cmapi.CertificateRequestConditionApproved, cmmeta.ConditionTrue, "", ""),
			set(cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, ""),
		}
		a.send("ADDED", request)
		return nil
	})
	return issue(t.Context(), a.requester(t), testOrder(t), new(Progress))
}

// withNames is a subject alternative name extension of raw names.
func withNames(names ...asn1.RawValue) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		value, err := asn1.Marshal(names)
		if err != nil {
			panic(err)
		}
		c.URIs = nil
		c.ExtraExtensions = []pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: value}}
	}
}

func generalName(kind int, value string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: kind, Bytes: []byte(value)}
}

func otherName() asn1.RawValue {
	name := generalName(0, "\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03\xa0\x07\x0c\x05alice")
	name.IsCompound = true
	return name
}

func subject(change func(*pkix.Name)) func(*x509.Certificate) {
	return func(c *x509.Certificate) { change(&c.Subject) }
}

func commonName(name string) func(*x509.Certificate) {
	return subject(func(n *pkix.Name) { n.CommonName = name })
}

// Each row is a good leaf with one thing changed.
func TestIssueRefusesALeafThatWasNotRequested(t *testing.T) {
	t.Parallel()
	issuer := newFakeIssuer(t)
	for _, row := range []struct {
		name     string
		change   func(*x509.Certificate)
		fragment string
	}{
		{"a DNS name", func(c *x509.Certificate) { c.DNSNames = []string{"kubernetes.default.svc"} }, `DNS name "kubernetes.default.svc", which was not requested`},
		{"a wildcard", func(c *x509.Certificate) { c.DNSNames = []string{"*"} }, `DNS name "*", which was not requested`},
		{"an IP address", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 96, 0, 1)} }, "IP address 10.96.0.1, which was not requested"},
		{"an email address", func(c *x509.Certificate) { c.EmailAddresses = []string{"root@example.com"} }, `email address "root@example.com", which was not requested`},
		{"another URI", func(c *x509.Certificate) { c.URIs = append(c.URIs, &url.URL{Scheme: "https", Host: "example.com"}) }, "more than one URI SAN"},
		{"an otherName", withNames(generalName(6, identity), otherName()), "an alternative name of kind 0, which was not requested"},
		{"a registered ID", withNames(generalName(6, identity), generalName(8, "\x2a\x03")), "an alternative name of kind 8, which was not requested"},
		{"a directory name", withNames(generalName(6, identity), asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: []byte{0x30, 0}}), "an alternative name of kind 4, which was not requested"},
		{"no names at all", func(c *x509.Certificate) { c.URIs = nil }, "no URI SAN"},
		{"a common name that is a host name", commonName("kubernetes.default.svc"), `common name "kubernetes.default.svc", a host name that was not requested`},
		{"a common name that is a Service", commonName("kubernetes"), "a host name that was not requested"},
		{"a common name that is a wildcard", commonName("*.example.com"), "a host name that was not requested"},
		{"a common name of another script", commonName("bücher.example"), "a host name that was not requested"},
		{"a common name that is an IP address", commonName("10.96.0.1"), "an IP address that was not requested"},
		{"a common name that is an IPv6 address", commonName("fd00::1"), "an IP address that was not requested"},
		{"a common name that is an email address", commonName("Root <root@example.com>"), "an email address that was not requested"},
		{"a common name that is another SPIFFE ID", commonName(identity + "2"), "a URI that was not requested"},
		{"a common name that C cuts short", commonName("web\x00 of a tenant"), "text with control characters that was not requested"},
		{"a second common name", subject(func(n *pkix.Name) {
			n.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidCommonName, Value: "plain text"}, {Type: oidCommonName, Value: "web.example"}}
		}), "a host name that was not requested"},
		{"an email address in the subject", subject(func(n *pkix.Name) {
			n.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidEmailAddress, Value: "root@example.com"}}
		}), `email address "root@example.com" in its subject`},
		{"any extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }, "extended key usage anyExtendedKeyUsage, which was not requested"},
		{"code signing", func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) }, "extended key usage codeSigning, which was not requested"},
		{"an unknown extended key usage", func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, "extended key usage 1.2.3, which was not requested"},
		{"no extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, "does not have extended key usage serverAuth"},
		{"no serverAuth", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, "does not have extended key usage serverAuth"},
		{"no clientAuth", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, "does not have extended key usage clientAuth"},
		{"no key usage", func(c *x509.Certificate) { c.KeyUsage = 0 }, "'digitalSignature'"},
		{"may sign certificates", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "'keyCertSign'"},
		{"may sign revocation lists", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, "'cRLSign'"},
		{"a CA", func(c *x509.Certificate) { c.IsCA = true }, "CA flag"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			document, err := issueSigned(t, func(key crypto.PublicKey) string {
				template := leaf(identity)
				row.change(template)
				return issuer.sign(t, template, key)
			})
			requireBadCertificate(t, document, err, "certificate 1 of 1: ", row.fragment)
		})
	}
}

func requireBadCertificate(t *testing.T, document *SVID, err error, fragments ...string) {
	t.Helper()
	var issue *Error
	if document != nil || !errors.Is(err, ErrBadCertificate) || !errors.As(err, &issue) || issue.Stage != StageVerify {
		t.Fatalf("got %v, %v, want ErrBadCertificate while verifying", document, err)
	}
	for _, fragment := range fragments {
		if !strings.Contains(err.Error(), fragment) {
			t.Errorf("%q does not say %q", err, fragment)
		}
	}
	if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\x00") {
		t.Errorf("the message cannot be logged as it is: %q", err)
	}
}

func TestIssueAcceptsWhatIssuersMayAdd(t *testing.T) {
	t.Parallel()
	issuer := newFakeIssuer(t)
	for name, change := range map[string]func(*x509.Certificate){
		"nothing":                              func(*x509.Certificate) {},
		"an organization":                      subject(func(n *pkix.Name) { n.Organization = []string{"example.com"} }),
		"a common name of plain text":          commonName("SVID of a workload"),
		"the SPIFFE ID as common name":         commonName(identity),
		"keyEncipherment":                      func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment },
		"keyAgreement":                         func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement },
		"extended key usages in another order": func(c *x509.Certificate) { c.ExtKeyUsage[0], c.ExtKeyUsage[1] = c.ExtKeyUsage[1], c.ExtKeyUsage[0] },
		"a life of ten years":                  func(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(10, 0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			document, err := issueSigned(t, func(key crypto.PublicKey) string {
				template := leaf(identity)
				change(template)
				return issuer.sign(t, template, key)
			})
			check(t, err)
			if document.X509.ID.String() != identity {
				t.Errorf("for %s", document.X509.ID)
			}
		})
	}
}

// Behind the leaf stands what an issuer returns with it.
func TestIssueVerifiesEachLinkOfTheChain(t *testing.T) {
	t.Parallel()
	same := func(*x509.Certificate) {}
	root := fakeIssuer{}.authority(t, "root", elliptic.P256(), same)
	middle := root.authority(t, "middle", elliptic.P256(), same)
	lower := middle.authority(t, "lower", elliptic.P256(), same)
	other := fakeIssuer{}.authority(t, "root", elliptic.P256(), same) // of the same name
	noCA := root.authority(t, "middle", elliptic.P256(), func(c *x509.Certificate) { c.IsCA = false })
	mayNotSign := root.authority(t, "middle", elliptic.P256(), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	// It has the key and the power of middle, and another name.
	certificate := *middle.certificate
	certificate.RawSubject = fakeIssuer{}.authority(t, "renamed", elliptic.P256(), same).certificate.RawSubject
	renamed := fakeIssuer{&certificate, middle.key}
	for _, row := range []struct {
		name, behind string
		by           fakeIssuer
		fragment     string // empty: it is accepted
	}{
		{"the leaf alone", "", root, ""},
		{"a root at the end", root.pem(), root, ""},
		{"one intermediate", middle.pem(), middle, ""},
		{"one intermediate and the root", middle.pem() + root.pem(), middle, ""},
		{"two intermediates", lower.pem() + middle.pem(), lower, ""},
		{"two intermediates and the root", lower.pem() + middle.pem() + root.pem(), lower, ""},
		{"a CA that has not signed the leaf", other.pem(), root, `certificate 2 of 2: "CN=root" has not signed the certificate before it`},
		{"a CA of another name", middle.pem(), root, `certificate 2 of 2: its subject is "CN=middle", and the certificate before it was issued by "CN=root"`},
		{"a root that has not signed the intermediate", middle.pem() + other.pem(), middle, "certificate 3 of 3: \"CN=root\" has not signed"},
		{"in the wrong order", middle.pem() + lower.pem(), lower, "certificate 2 of 3: its subject is"},
		{"an intermediate left out", lower.pem() + root.pem(), lower, "certificate 3 of 3: its subject is"},
		{"something behind the root", root.pem() + middle.pem(), root, "certificate 3 of 3: its subject is"},
		{"signed by what is no CA", noCA.pem(), noCA, "CA flag"},
		{"signed by what may not sign certificates", mayNotSign.pem(), mayNotSign, "'keyCertSign'"},
		{"the right key under another name", middle.pem(), renamed, `issued by "CN=renamed"`},
		{"longer than chains are", strings.Repeat(root.pem(), 10), root, "the chain has 11 certificates, at most 10"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var chain string
			document, err := issueSigned(t, func(key crypto.PublicKey) string {
				chain = row.by.sign(t, leaf(identity), key) + row.behind
				return chain
			})
			if row.fragment != "" {
				requireBadCertificate(t, document, err, row.fragment)
				return
			}
			check(t, err)
			if got, _, err := document.Marshal(); err != nil || string(got) != chain {
				t.Errorf("delivered is\n%s, %v, want\n%s", got, err, chain)
			}
		})
	}
}

// A damaged signature is noticed though the link above it was verified before.
func TestVerifiedLinksAreOfTheSameBytes(t *testing.T) {
	t.Parallel()
	same := func(*x509.Certificate) {}
	root := fakeIssuer{}.authority(t, "root", elliptic.P256(), same)
	middle := root.authority(t, "middle", elliptic.P256(), same)
	raw := append([]byte(nil), middle.certificate.Raw...)
	raw[len(raw)-1] ^= 1
	var links verifiedLinks
	key := newKey(t)
	id := spiffeid.RequireFromString(identity)
	signedLeaf := middle.sign(t, leaf(identity), key.Public())
	for range 2 {
		_, err := links.newSVID(id, key, signed(signedLeaf+middle.pem()+root.pem()), testPolicy())
		check(t, err)
	}
	if _, err := links.newSVID(id, key, signed(signedLeaf+pemBlock("CERTIFICATE", raw)+root.pem()), testPolicy()); !errors.Is(err, ErrBadCertificate) {
		t.Errorf("got %v, want ErrBadCertificate", err)
	}
	for i := range 2 * mostLinks {
		other := root.authority(t, fmt.Sprint("middle ", i), elliptic.P256(), same)
		check(t, links.checkLink(other.certificate, root.certificate, true))
	}
	if len(links.links) > mostLinks {
		t.Errorf("%d links are remembered, at most %d should be", len(links.links), mostLinks)
	}
}

// What it costs to check a chain, by the curve of the CA's key.
func BenchmarkNewDocument(b *testing.B) {
	same := func(*x509.Certificate) {}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		root := fakeIssuer{}.authority(b, "root", curve, same)
		middle := root.authority(b, "middle", curve, same)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		for _, chain := range []struct {
			name, behind string
			by           fakeIssuer
		}{{"leaf alone", "", root}, {"leaf and root", root.pem(), root}, {"leaf, intermediate and root", middle.pem() + root.pem(), middle}} {
			der, err := x509.CreateCertificate(rand.Reader, leaf(identity), chain.by.certificate, key.Public(), chain.by.key)
			if err != nil {
				b.Fatal(err)
			}
			request := signed(pemBlock("CERTIFICATE", der) + chain.behind)
			b.Run(curve.Params().Name+"/"+chain.name, func(b *testing.B) {
				var links verifiedLinks
				for b.Loop() {
					if _, err := links.newSVID(spiffeid.RequireFromString(identity), key, request, testPolicy()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// Whatever an issuer returns, it is refused or go-spiffe takes it, too, and the message
// fits into an Event.
func FuzzNewSVID(f *testing.F) {
	root := fakeIssuer{}.authority(f, "root", elliptic.P256(), func(*x509.Certificate) {})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, change := range []func(*x509.Certificate){
		func(*x509.Certificate) {}, commonName("web.example"), withNames(generalName(6, identity), otherName()),
		func(c *x509.Certificate) { c.DNSNames = []string{"example"} },
	} {
		template := leaf(identity)
		change(template)
		der, err := x509.CreateCertificate(rand.Reader, template, root.certificate, key.Public(), root.key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		chain, err := x509.ParseCertificates(der)
		if err != nil || len(chain) == 0 {
			return
		}
		_, err = new(verifiedLinks).verifyChain(chain, spiffeid.RequireFromString(identity), key)
		if err != nil && len(err.Error()) > 2000 {
			t.Errorf("a message of %d bytes", len(err.Error()))
		}
		if _, theirs := x509svid.ParseRaw(der, keyDER); err == nil && theirs != nil {
			t.Errorf("newSVID accepts what go-spiffe refuses: %v", theirs)
		}
	})
}
