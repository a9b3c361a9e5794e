// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	stdasn1 "encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
)

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
