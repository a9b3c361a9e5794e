// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// ErrAsksForCA is for a request whose extensions ask for a certificate that may
// sign certificates or revocation lists.
var ErrAsksForCA = errors.New("it asks for a CA certificate")

// CheckNotCA returns nil for a request, PEM encoded, whose extensions do not ask
// for a CA certificate. Otherwise the error wraps [ErrAsksForCA], or the sentinel
// error for what cannot be read. cert-manager's own issuers take what a
// certificate is for from the CertificateRequest; others copy it from here.
//
// It errs on the side of refusal: basic constraints (RFC 5280, section 4.2.1.9)
// must be there without CA, or not at all, and a key usage (section 4.2.1.3) must
// be readable and have neither keyCertSign nor cRLSign.
func CheckNotCA(pemBytes []byte) error {
	der, err := decodePEM(pemBytes)
	if err != nil {
		return err
	}
	request, err := parseLoosely(der)
	if err != nil {
		return err
	}
	for _, extension := range request.Extensions {
		switch oid := extension.Id.String(); {
		case oid == basicConstraints && !isEndEntity(extension.Value):
			return fmt.Errorf("%w: %s is present and is not CA:FALSE", ErrAsksForCA, nameOID(oid))
		case oid == keyUsage && mayCertify(extension.Value):
			return fmt.Errorf("%w: %s has keyCertSign or cRLSign, or cannot be read", ErrAsksForCA, nameOID(oid))
		}
	}
	return nil
}

// isEndEntity reports whether basic constraints say that a certificate is no CA,
// with or without spelling out the default.
func isEndEntity(value []byte) bool {
	return slices.ContainsFunc([][]byte{{0x30, 0}, {0x30, 3, 1, 1, 0}}, func(good []byte) bool { return bytes.Equal(value, good) })
}

// mayCertify reports whether a key usage has keyCertSign (5) or cRLSign (6), or
// cannot be read.
func mayCertify(value cryptobyte.String) bool {
	var bits cryptobyte.String
	var unused uint8
	if !value.ReadASN1(&bits, asn1.BIT_STRING) || !value.Empty() || !bits.ReadUint8(&unused) {
		return true
	}
	var first uint8
	return bits.ReadUint8(&first) && first&0b0000_0110 != 0
}
