// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Build makes the certificate request for an SVID: id as the only name, key as
// the key to certify, which also signs the request. The result is one PEM block
// that [Parse] accepts: empty subject, one subject alternative name extension,
// critical, that holds one URI; no other extension or attribute.
//
// crypto/x509 never marks the extension of a request critical, not even when
// the subject is empty, as RFC 5280, section 4.2.1.6, wants it then. So it is
// made by hand.
//
// Build fails with [ErrURI] when id has no path, and so names no workload, and
// with [ErrKey] when key is not of a supported kind.
func Build(id spiffeid.ID, key crypto.Signer) ([]byte, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if key == nil {
		return nil, fmt.Errorf("%w: there is none", ErrKey)
	}
	if err := checkKey(key.Public()); err != nil {
		return nil, err
	}
	san, err := asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: uriTag, Bytes: []byte(id.String())},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding subject alternative name: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		ExtraExtensions: []pkix.Extension{{Id: oidSubjectAltName(), Critical: true, Value: san}},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("signing certificate request for %s: %w", id, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}
