// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

func FuzzParse(f *testing.F) {
	for _, file := range requests(f) {
		data := file.Request.Spec.Request
		if len(data) < 8<<10 {
			f.Add(data)
		}
		if block, _ := pem.Decode(data); block != nil && len(block.Bytes) < 8<<10 {
			f.Add(block.Bytes)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, input := range [][]byte{data, csrtest.Block(data)} {
			if request, err := csr.Parse(input); err == nil {
				requireLoneID(t, input, request)
			}
		}
	})
}

// FuzzParseSigned signs what it made up, so that nothing is refused for the
// signature before the contents matter.
func FuzzParseSigned(f *testing.F) {
	addSigned(f)
	f.Fuzz(func(t *testing.T, version int, subject, attributes, after []byte) {
		input := csrtest.Good(csrtest.MainKey()).With(csrtest.Attributes(attributes), func(t *csrtest.Template) {
			t.Version, t.Subject, t.AfterInfo = version, subject, after
		}).PEM()
		if request, err := csr.Parse(input); err == nil {
			requireLoneID(t, input, request)
		}
	})
}

// addSigned adds the contents of the corpus as seeds.
func addSigned(f *testing.F) {
	f.Helper()
	for _, file := range requests(f) {
		var info struct {
			Version    int
			Subject    asn1.RawValue
			PublicKey  asn1.RawValue
			Attributes asn1.RawValue `asn1:"tag:0"`
		}
		block, _ := pem.Decode(file.Request.Spec.Request)
		if block == nil {
			continue
		}
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			continue
		}
		if _, err := asn1.Unmarshal(request.RawTBSCertificateRequest, &info); err == nil {
			f.Add(info.Version, info.Subject.FullBytes, info.Attributes.Bytes, []byte{})
		}
	}
}

// requireLoneID checks, as an issuer would read it, that a request names its ID
// and nothing else.
func requireLoneID(t *testing.T, data []byte, request csr.Request) {
	t.Helper()
	block, _ := pem.Decode(data)
	other, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatalf("crypto/x509 refuses it: %v", err)
	}
	if err := other.CheckSignature(); err != nil {
		t.Fatalf("crypto/x509 finds the signature bad: %v", err)
	}
	if len(other.URIs) != 1 || other.URIs[0].String() != request.ID.String() || request.ID.Path() == "" {
		t.Fatalf("URIs are %v, ID is %q", other.URIs, request.ID)
	}
	if len(other.DNSNames)+len(other.EmailAddresses)+len(other.IPAddresses) > 0 {
		t.Fatalf("there are names besides: %v %v %v", other.DNSNames, other.EmailAddresses, other.IPAddresses)
	}
	if !bytes.Equal(other.RawSubject, []byte{0x30, 0}) || len(other.Extensions) > 3 {
		t.Fatalf("subject %x, extensions %v", other.RawSubject, other.Extensions)
	}
}
