// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// What the issuer makes of good requests passes; that is asserted of every one
// in package policy. Here is one, so that the rows below begin from it.
func TestCheckSVIDOfIssuer(t *testing.T) {
	t.Parallel()
	issuer, err := corpus.NewIssuer()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range read(t) {
		if file.Name != "good-as-the-driver-makes-it" {
			continue
		}
		chain, err := issuer.Issue(file.Request.Spec)
		if err != nil {
			t.Fatal(err)
		}
		want := corpus.SVID{ID: policy.Evaluate(file.Policy, file.Request).ID, Key: csrtest.MainKey(), Duration: time.Hour}
		if err := corpus.CheckSVID(chain, issuer.Bundle(file.Policy.TrustDomain), want); err != nil {
			t.Error(err)
		}
		return
	}
	t.Fatal("there is no such file")
}

// Each row is a certificate that is right, with one change.
func TestCheckSVIDRefuses(t *testing.T) {
	t.Parallel()
	id := spiffeid.RequireFromString(csrtest.ID)
	caKey := csrtest.ECDSAKey("ca", elliptic.P256())
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1},
	}
	for name, test := range map[string]struct {
		change func(c *x509.Certificate)
		right  bool
	}{
		"nothing":              {func(*x509.Certificate) {}, true},
		"common name":          {func(c *x509.Certificate) { c.Subject.CommonName = "x" }, false},
		"DNS name":             {func(c *x509.Certificate) { c.DNSNames = []string{"x"} }, false},
		"address":              {func(c *x509.Certificate) { c.IPAddresses = []net.IP{{127, 0, 0, 1}} }, false},
		"e-mail address":       {func(c *x509.Certificate) { c.EmailAddresses = []string{"x@example.org"} }, false},
		"second URI":           {func(c *x509.Certificate) { c.URIs = append(c.URIs, &url.URL{Scheme: "https", Host: "x"}) }, false},
		"other ID":             {func(c *x509.Certificate) { c.URIs = []*url.URL{id.TrustDomain().ID().URL().JoinPath("x")} }, false},
		"CA":                   {func(c *x509.Certificate) { c.IsCA = true }, false},
		"no basic constraints": {func(c *x509.Certificate) { c.BasicConstraintsValid = false }, false},
		"lifetime":             {func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Second) }, false},
		"usage more":           {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement }, false},
		"usage less":           {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, false},
		"no usage":             {func(c *x509.Certificate) { c.KeyUsage = 0 }, false},
		"purpose less":         {func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, false},
		"purpose more":         {func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }, false},
		"no purpose":           {func(c *x509.Certificate) { c.ExtKeyUsage = nil }, false},
		"other extension": {func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999}, Value: asn1.NullBytes}}
		}, false},
		"other name that only DER shows": {func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{csrtest.SAN(csrtest.URI(csrtest.ID), csrtest.Element(0x88, []byte{42}))}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaf := &x509.Certificate{
				SerialNumber: big.NewInt(2), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{id.URL()},
				BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			}
			test.change(leaf)
			der, err := x509.CreateCertificate(rand.Reader, leaf, ca, csrtest.MainKey().Public(), caKey)
			if err != nil {
				t.Fatal(err)
			}
			chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
			bundle := x509bundle.FromX509Authorities(id.TrustDomain(), []*x509.Certificate{authority(t, ca, caKey)})
			err = corpus.CheckSVID(chain, bundle, corpus.SVID{ID: id, Key: csrtest.MainKey(), Duration: time.Hour})
			if (err == nil) != test.right {
				t.Errorf("error is %v", err)
			}
			if test.right {
				requireOthersRefused(t, chain, bundle, id)
			}
		})
	}
}

// requireOthersRefused gives a right certificate out as another.
func requireOthersRefused(t *testing.T, chain []byte, bundle *x509bundle.Bundle, id spiffeid.ID) {
	t.Helper()
	right := corpus.SVID{ID: id, Key: csrtest.MainKey(), Duration: time.Hour}
	otherKey, otherID, longer := right, right, right
	otherKey.Key, otherID.ID, longer.Duration = csrtest.NewKeys().Other, id.TrustDomain().ID(), 2*time.Hour
	for name, want := range map[string]corpus.SVID{"key": otherKey, "ID": otherID, "duration": longer} {
		if corpus.CheckSVID(chain, bundle, want) == nil {
			t.Errorf("passes for another %s", name)
		}
	}
	if corpus.CheckSVID(chain, x509bundle.New(id.TrustDomain()), right) == nil {
		t.Error("passes without CA")
	}
}

func authority(t *testing.T, template *x509.Certificate, key any) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, template, csrtest.ECDSAKey("ca", elliptic.P256()).Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
