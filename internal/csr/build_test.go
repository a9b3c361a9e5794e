// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

func TestBuildParseRoundTrip(t *testing.T) {
	t.Parallel()
	id := spiffeid.RequireFromString(csrtest.ID)
	for _, spec := range csr.KeySpecs() {
		t.Run(spec.String(), func(t *testing.T) {
			t.Parallel()
			key, err := spec.Generate()
			if err != nil {
				t.Fatal(err)
			}
			built, err := csr.Build(id, key)
			if err != nil {
				t.Fatal(err)
			}
			got, err := csr.Parse(built)
			if err != nil {
				t.Fatalf("Parse refuses what Build made: %v", err)
			}
			if got.ID != id {
				t.Errorf("ID = %s, want %s", got.ID, id)
			}
			if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(got.PublicKey) {
				t.Error("PublicKey is not that of the key")
			}
			if !spec.Matches(got.PublicKey) {
				t.Errorf("%s does not match its own key", spec)
			}
		})
	}
}

// What others see in a built request, through crypto/x509.
func TestBuildContents(t *testing.T) {
	t.Parallel()
	key, err := csr.KeySpec{Algorithm: csr.ECDSA, Size: 521}.Generate()
	if err != nil {
		t.Fatal(err)
	}
	built, err := csr.Build(spiffeid.RequireFromString(csrtest.ID), key)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(built)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(block.Headers) > 0 || len(rest) > 0 {
		t.Fatalf("not one PEM block: %s", built)
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(request.RawSubject, []byte{0x30, 0}) {
		t.Errorf("subject is %x, want an empty sequence", request.RawSubject)
	}
	if len(request.Extensions) != 1 || !request.Extensions[0].Critical ||
		!request.Extensions[0].Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
		t.Errorf("extensions are %v, want one critical subject alternative name", request.Extensions)
	}
	if len(request.URIs) != 1 || request.URIs[0].String() != csrtest.ID {
		t.Errorf("URIs are %v", request.URIs)
	}
}

// crypto/x509 encodes the same request, to the byte, for every kind of key.
func TestBuildEncodesAsCryptoX509(t *testing.T) {
	t.Parallel()
	id := spiffeid.RequireFromString(csrtest.ID)
	for _, spec := range csr.KeySpecs() {
		t.Run(spec.String(), func(t *testing.T) {
			t.Parallel()
			key, err := spec.Generate()
			if err != nil {
				t.Fatal(err)
			}
			built, err := csr.Build(id, key)
			if err != nil {
				t.Fatal(err)
			}
			got, want := parseWithX509(t, built), parseWithX509(t, buildWithX509(t, key))
			if !bytes.Equal(got.RawTBSCertificateRequest, want.RawTBSCertificateRequest) {
				t.Errorf("the signed part is\n%x, want\n%x", got.RawTBSCertificateRequest, want.RawTBSCertificateRequest)
			}
			if got.SignatureAlgorithm != want.SignatureAlgorithm {
				t.Errorf("signed with %s, want %s", got.SignatureAlgorithm, want.SignatureAlgorithm)
			}
			// An ECDSA signature differs each time.
			if spec.Algorithm != csr.ECDSA && !bytes.Equal(got.Raw, want.Raw) {
				t.Errorf("the request is\n%x, want\n%x", got.Raw, want.Raw)
			}
		})
	}
}

// buildWithX509 makes the request for [csrtest.ID] as [csr.Build] would if it
// used crypto/x509.
func buildWithX509(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{csrtest.SAN(csrtest.URI(csrtest.ID))}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return csrtest.Block(der)
}

func parseWithX509(t testing.TB, pemBytes []byte) *x509.CertificateRequest {
	t.Helper()
	block, _ := pem.Decode(pemBytes)
	if block == nil {
		t.Fatalf("not PEM: %s", pemBytes)
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	id := spiffeid.RequireFromString(csrtest.ID)
	key, err := csr.KeySpec{Algorithm: csr.Ed25519}.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		id   spiffeid.ID
		key  crypto.Signer
		want error
	}{
		"zero ID":             {spiffeid.ID{}, key, csr.ErrURI},
		"ID without path":     {id.TrustDomain().ID(), key, csr.ErrURI},
		"ID too long":         {spiffeid.RequireFromString(csrtest.ID + "/" + strings.Repeat("a", 2048)), key, csr.ErrURI},
		"no key":              {id, nil, csr.ErrKey},
		"key of unknown kind": {id, unknownKey{key}, csr.ErrKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := csr.Build(test.id, test.key); !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
		})
	}
}

type unknownKey struct{ crypto.Signer }

func (unknownKey) Public() crypto.PublicKey { return "a key" }

// BenchmarkBuild compares Build with crypto/x509, which verifies the signature
// that it has just made.
func BenchmarkBuild(b *testing.B) {
	id := spiffeid.RequireFromString(csrtest.ID)
	for _, spec := range csr.KeySpecs() {
		key, err := spec.Generate()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(spec.String()+"/Build", func(b *testing.B) {
			for b.Loop() {
				if _, err := csr.Build(id, key); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(spec.String()+"/crypto-x509", func(b *testing.B) {
			for b.Loop() {
				buildWithX509(b, key)
			}
		})
	}
}
