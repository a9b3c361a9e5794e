// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	stdasn1 "encoding/asn1"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// MaxSize is the most bytes of PEM that are looked at. A request with an RSA
// 4096 key and the longest SPIFFE ID takes under six thousand; cert-manager
// v1.20 reads none over 36,500 (internal/pem, maxLeafCertificatePEMSize), and
// what is approved must be readable there.
const MaxSize = 32 << 10

const pemType = "CERTIFICATE REQUEST"

// decodePEM returns the contents of the only PEM block in data.
//
// pem.Decode, which issuers use, skips over all that it does not understand. So
// data is compared with what encoding the block again gives: whatever was
// skipped is missing there.
func decodePEM(data []byte) ([]byte, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(data), MaxSize)
	}
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%w: no block found in %d bytes", ErrPEM, len(data))
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, fmt.Errorf("%w: another one, %+.40q, follows %+.40q", ErrPEMBlocks, next.Type, block.Type)
	}
	if block.Type != pemType {
		return nil, fmt.Errorf("%w: %+.40q, must be %q", ErrPEMType, block.Type, pemType)
	}
	if len(block.Headers) > 0 {
		return nil, fmt.Errorf("%w: there are %d, none are allowed", ErrPEMHeaders, len(block.Headers))
	}
	if !bytes.Equal(unwrap(data), unwrap(pem.EncodeToMemory(block))) {
		return nil, fmt.Errorf("%w: text before, after or within it", ErrPEM)
	}
	return block.Bytes, nil
}

// unwrap takes out what may differ between encoders: line breaks, and white
// space around the whole.
func unwrap(data []byte) []byte {
	data = bytes.Trim(data, " \t\r\n")
	data = bytes.ReplaceAll(data, []byte("\r"), nil)
	return bytes.ReplaceAll(data, []byte("\n"), nil)
}

// Object identifiers, in the dotted form in which messages show them.
const (
	extensionRequest  = "1.2.840.113549.1.9.14" // RFC 2985, section 5.4.2
	challengePassword = "1.2.840.113549.1.9.7"  // RFC 2985, section 5.4.1
	unstructuredName  = "1.2.840.113549.1.9.2"  // RFC 2985, section 5.4.3
	subjectAltName    = "2.5.29.17"             // RFC 5280, section 4.2.1.6
	keyUsage          = "2.5.29.15"             // RFC 5280, section 4.2.1.3
	extKeyUsage       = "2.5.29.37"             // RFC 5280, section 4.2.1.12
	basicConstraints  = "2.5.29.19"             // RFC 5280, section 4.2.1.9
	serverAuth        = "1.3.6.1.5.5.7.3.1"
	clientAuth        = "1.3.6.1.5.5.7.3.2"
)

// nameOID adds the name of what is met most often to its identifier, for messages.
func nameOID(oid string) string {
	switch oid {
	case challengePassword:
		return oid + " (challengePassword)"
	case unstructuredName:
		return oid + " (unstructuredName)"
	case "1.3.6.1.4.1.311.2.1.14":
		return oid + " (Microsoft's extension request)"
	case "2.5.29.14":
		return oid + " (subjectKeyIdentifier)"
	case basicConstraints:
		return oid + " (basicConstraints)"
	case extensionRequest:
		return oid + " (extensionRequest)"
	case subjectAltName:
		return oid + " (subjectAltName)"
	case keyUsage:
		return oid + " (keyUsage)"
	case extKeyUsage:
		return oid + " (extKeyUsage)"
	default:
		return oid
	}
}

func oidExtensionRequest() stdasn1.ObjectIdentifier {
	return stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
}

func oidSubjectAltName() stdasn1.ObjectIdentifier {
	return stdasn1.ObjectIdentifier{2, 5, 29, 17}
}

// readOID takes an object identifier off the front of s. It returns "" when
// there is none.
func readOID(s *cryptobyte.String) string {
	var oid stdasn1.ObjectIdentifier
	if !s.ReadASN1ObjectIdentifier(&oid) {
		return ""
	}
	return oid.String()
}

func signatureName(identifier cryptobyte.String) string {
	var fields cryptobyte.String
	if !identifier.ReadASN1(&fields, asn1.SEQUENCE) {
		return "undecodable"
	}
	return readOID(&fields)
}
