// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
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
