// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// ErrCarriesSPIFFE is for a request that holds a SPIFFE ID, or what some reader
// might take for one.
var ErrCarriesSPIFFE = errors.New("it carries a SPIFFE ID")

// CheckForeign checks a request, PEM encoded, to an issuer that does not sign
// SVIDs. It returns nil if the request can be read and no certificate made from it
// can hold a SPIFFE ID. Otherwise the error wraps [ErrCarriesSPIFFE] or the sentinel
// error for what cannot be read.
//
// It errs on the side of refusal. The scheme of a SPIFFE ID, in upper or lower case,
// may stand nowhere in the encoded request, for an issuer may copy what crypto/x509
// passes over. For the same reason names must be encoded so that their text is in
// one piece.
func CheckForeign(pemBytes []byte) error {
	der, err := decodePEM(pemBytes)
	if err != nil {
		return err
	}
	if bytes.Contains(bytes.ToLower(der), []byte("spiffe:")) {
		return fmt.Errorf("%w: \"spiffe:\" is in the encoded request", ErrCarriesSPIFFE)
	}
	request, err := parseLoosely(der)
	if err != nil {
		return err
	}
	if err := checkForeignAttributes(request.RawTBSCertificateRequest); err != nil {
		return err
	}
	for _, extension := range request.Extensions {
		if extension.Id.Equal(oidSubjectAltName()) {
			if err := checkNameTags(extension.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseLoosely reads a request as crypto/x509 does, which passes over much that
// [Parse] refuses. The error wraps [ErrDER].
func parseLoosely(der []byte) (*x509.CertificateRequest, error) {
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %+.200q", ErrDER, err.Error())
	}
	return request, nil
}

// checkForeignAttributes lets through one extensionRequest with one value, which
// crypto/x509 reads, and attributes that are text. What others hold, an issuer
// may read in its own way.
func checkForeignAttributes(info cryptobyte.String) error {
	var inner, list cryptobyte.String
	if !info.ReadASN1(&inner, asn1.SEQUENCE) || !inner.SkipASN1(asn1.INTEGER) || !inner.SkipASN1(asn1.SEQUENCE) ||
		!inner.SkipASN1(asn1.SEQUENCE) || !inner.ReadASN1(&list, asn1.Tag(0).ContextSpecific().Constructed()) {
		return fmt.Errorf("%w: info must be version, subject, public key and attributes", ErrDER)
	}
	seen := false
	for !list.Empty() {
		var attribute, values, value cryptobyte.String
		var tag asn1.Tag
		ok := list.ReadASN1(&attribute, asn1.SEQUENCE)
		oid := readOID(&attribute)
		if !ok || oid == "" || !attribute.ReadASN1(&values, asn1.SET) || !values.ReadAnyASN1Element(&value, &tag) || !values.Empty() {
			return fmt.Errorf("%w: an attribute must be an identifier and one value", ErrDER)
		}
		switch {
		case oid == extensionRequest && seen:
			return fmt.Errorf("%w: %s", ErrRepeatedAttribute, nameOID(oid))
		case oid == extensionRequest:
			seen = true
		case oid != challengePassword && oid != unstructuredName:
			return fmt.Errorf("%w: %s", ErrAttribute, nameOID(oid))
		}
	}
	return nil
}

// checkNameTags makes sure that every name is of a kind that RFC 5280, section
// 4.2.1.6, knows, in the one form that DER has for it. Readers of BER also put
// together text that is in several pieces, and some look at a tag's number alone.
func checkNameTags(san []byte) error {
	value := cryptobyte.String(san)
	var names cryptobyte.String
	if !value.ReadASN1(&names, asn1.SEQUENCE) || !value.Empty() {
		return fmt.Errorf("%w: subject alternative name must be one sequence of names", ErrDER)
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag asn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return fmt.Errorf("%w: a subject alternative name cannot be decoded", ErrDER)
		}
		// otherName, rfc822Name, dNSName, x400Address, directoryName,
		// ediPartyName, uniformResourceIdentifier, iPAddress, registeredID
		if !slices.Contains([]asn1.Tag{0xa0, 0x81, 0x82, 0xa3, 0xa4, 0xa5, 0x86, 0x87, 0x88}, tag) {
			return fmt.Errorf("%w: tag 0x%02x, which no name has", ErrSANType, uint8(tag))
		}
	}
	return nil
}

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
