// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// attributes reads all attributes, each of which is an identifier and a set of
// values (RFC 2986, section 4.1).
func (in *inspection) attributes(list cryptobyte.String) {
	seenAttributes, seenExtensions := map[string]bool{}, map[string]bool{}
	for !list.Empty() {
		var attribute, values cryptobyte.String
		ok := list.ReadASN1(&attribute, asn1.SEQUENCE)
		oid := readOID(&attribute)
		if !ok || oid == "" || !attribute.ReadASN1(&values, asn1.SET) || !attribute.Empty() {
			in.fault("%w: an attribute must be an identifier and a set of values", ErrDER)
			return
		}
		switch {
		case oid != extensionRequest:
			in.fault("%w: %s; only extensionRequest (%s) is", ErrAttribute, nameOID(oid), extensionRequest)
		case seenAttributes[oid]:
			in.fault("%w: %s", ErrRepeatedAttribute, nameOID(oid))
			in.extensionRequest(values, seenExtensions)
		default:
			in.extensionRequest(values, seenExtensions)
		}
		seenAttributes[oid] = true
	}
	if !in.undecodable() {
		in.absentExtensions(seenExtensions)
	}
}

// absentExtensions looks for those that must be there. Usages are asked for
// beside the request, too, and cert-manager refuses a request whose usages are
// others than those beside it. Without any it takes those beside it.
func (in *inspection) absentExtensions(seen map[string]bool) {
	if !seen[subjectAltName] {
		in.fault("%w: there must be one, with the SPIFFE ID", ErrNoSAN)
	}
	switch {
	case seen[keyUsage] && !seen[extKeyUsage]:
		in.fault("%w: there is none, but a key usage extension; there must be both or neither", ErrExtKeyUsage)
	case seen[extKeyUsage] && !seen[keyUsage]:
		in.fault("%w: there is none, but an extended key usage extension; there must be both or neither", ErrKeyUsage)
	}
}

// undecodable reports whether something could not be read: what was not seen
// may then be there all the same.
func (in *inspection) undecodable() bool {
	return slices.ContainsFunc(in.faults, func(fault error) bool { return errors.Is(fault, ErrDER) })
}

func (in *inspection) extensionRequest(values cryptobyte.String, seen map[string]bool) {
	var extensions cryptobyte.String
	if !values.ReadASN1(&extensions, asn1.SEQUENCE) || !values.Empty() {
		in.fault("%w, a list of extensions", ErrExtensionRequest)
		return
	}
	for !extensions.Empty() {
		var extension cryptobyte.String
		ok := extensions.ReadASN1(&extension, asn1.SEQUENCE)
		oid := readOID(&extension)
		critical, okCritical := readCritical(&extension)
		var value cryptobyte.String
		if !ok || oid == "" || !okCritical || !extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			in.fault("%w: an extension must be an identifier, TRUE if it is critical, and a value", ErrDER)
			return
		}
		if seen[oid] {
			in.fault("%w: %s", ErrRepeatedExtension, nameOID(oid))
			continue
		}
		seen[oid] = true
		in.extension(oid, critical, value)
	}
}

// readCritical takes the critical flag off the front of s. DER leaves out what
// is the default: FALSE is never written.
func readCritical(s *cryptobyte.String) (critical, ok bool) {
	if !s.PeekASN1Tag(asn1.BOOLEAN) {
		return false, true
	}
	ok = s.ReadASN1Boolean(&critical)
	return critical, ok && critical
}

func (in *inspection) extension(oid string, critical bool, value cryptobyte.String) {
	switch oid {
	case subjectAltName:
		if !critical {
			in.fault("%w: it must be, as there is no subject", ErrSANNotCritical)
		}
		in.subjectAltName(value)
	case keyUsage:
		// A BIT STRING with bits 0 and 2, the five behind unused.
		if !bytes.Equal(value, []byte{byte(asn1.BIT_STRING), 2, 5, 0b1010_0000}) {
			in.fault("%w: it is %.20x; if present it must be digitalSignature and keyEncipherment", ErrKeyUsage, []byte(value))
		}
	case extKeyUsage:
		in.extKeyUsage(value)
	default:
		in.fault("%w: %s; only subject alternative name, key usage and extended key usage are", ErrExtension, nameOID(oid))
	}
}

func (in *inspection) extKeyUsage(value cryptobyte.String) {
	var list cryptobyte.String
	ok := value.ReadASN1(&list, asn1.SEQUENCE) && value.Empty()
	first, second := readOID(&list), readOID(&list)
	if first > second {
		first, second = second, first
	}
	if !ok || !list.Empty() || first != serverAuth || second != clientAuth {
		in.fault("%w: if present it must be serverAuth and clientAuth", ErrExtKeyUsage)
	}
}
