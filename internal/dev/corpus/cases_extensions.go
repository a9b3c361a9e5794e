// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

const (
	extensionField = "RFC 5280, section 4.2"
	// extensionsAsked says why nothing goes beyond what is known: PKCS #10 lets
	// a requester ask for anything.
	extensionsAsked = "RFC 2985, section 5.4.2"
)

// extensions has those that are not allowed, whatever they say.
func (in maker) extensions() []Case {
	var cases []Case
	for _, row := range []struct {
		name, why, source string
		critical          bool
		value             []byte
		oid               []int
	}{
		{"basic-constraints-ca", "The requester asks to become a CA.", "X.509-SVID standard, section 4.1; RFC 5280, section 4.2.1.9", true, csrtest.Sequence([]byte{1, 1, 0xff}), []int{2, 5, 29, 19}},
		{"basic-constraints-ca-not-critical", "The requester asks to become a CA, without insisting.", "X.509-SVID standard, section 4.1", false, csrtest.Sequence([]byte{1, 1, 0xff}), []int{2, 5, 29, 19}},
		{"basic-constraints-ca-path-length", "The requester asks to become a CA whose certificates are no CAs.", "X.509-SVID standard, section 4.1", true, csrtest.Sequence([]byte{1, 1, 0xff}, []byte{2, 1, 0}), []int{2, 5, 29, 19}},
		{"basic-constraints-not-ca", "The requester asks not to become a CA, which is for the issuer to say.", "X.509-SVID standard, section 4.1", true, csrtest.Sequence(), []int{2, 5, 29, 19}},
		{"basic-constraints-explicit-false", "Not a CA, said in a way that DER does not have.", "X.690, section 11.5", true, csrtest.Sequence([]byte{1, 1, 0}), []int{2, 5, 29, 19}},
		{"name-constraints", "Limits for the names below, which only a CA has.", "X.509-SVID standard, section 4.2; RFC 5280, section 4.2.1.10", true, csrtest.Sequence(csrtest.Element(0xa0, csrtest.Sequence(csrtest.Element(0x86, []byte("my.trust.domain"))))), []int{2, 5, 29, 30}},
		{"issuer-alt-name", "Another name of the issuer.", "RFC 5280, section 4.2.1.7", false, csrtest.Sequence(csrtest.URI(csrtest.ID)), []int{2, 5, 29, 18}},
		{"subject-key-id", "The key's identifier, which is for the issuer to work out.", "RFC 5280, section 4.2.1.2", false, csrtest.Element(0x04, []byte{1}), []int{2, 5, 29, 14}},
		{"authority-key-id", "The issuer's key.", "RFC 5280, section 4.2.1.1", false, csrtest.Sequence(csrtest.Element(0x80, []byte{1})), []int{2, 5, 29, 35}},
		{"authority-info-access", "Where to ask whether the certificate is revoked: with the requester.", "RFC 5280, section 4.2.2.1", false, csrtest.Sequence(csrtest.Sequence(csrtest.OID(1, 3, 6, 1, 5, 5, 7, 48, 1), csrtest.URI("http://evil.example"))), []int{1, 3, 6, 1, 5, 5, 7, 1, 1}},
		{"crl-distribution-points", "Where to get the list of what is revoked: from the requester.", "RFC 5280, section 4.2.1.13", false, csrtest.Sequence(csrtest.Sequence(csrtest.Element(0xa0, csrtest.Element(0xa0, csrtest.URI("http://evil.example"))))), []int{2, 5, 29, 31}},
		{"freshest-crl", "Where to get changes of that list.", "RFC 5280, section 4.2.1.15", false, csrtest.Sequence(), []int{2, 5, 29, 46}},
		{"certificate-policies", "A policy that the certificate is said to be issued under.", "RFC 5280, section 4.2.1.4", false, csrtest.Sequence(csrtest.Sequence(csrtest.OID(2, 5, 29, 32, 0))), []int{2, 5, 29, 32}},
		{"policy-mappings", "Policies that are said to be equal.", "RFC 5280, section 4.2.1.5", true, csrtest.Sequence(), []int{2, 5, 29, 33}},
		{"policy-constraints", "Limits for policies below, which only a CA has.", "RFC 5280, section 4.2.1.11", true, csrtest.Sequence(), []int{2, 5, 29, 36}},
		{"inhibit-any-policy", "Limits for policies below.", "RFC 5280, section 4.2.1.14", true, []byte{2, 1, 0}, []int{2, 5, 29, 54}},
		{"subject-directory-attributes", "Attributes of the subject: names by another door.", "RFC 5280, section 4.2.1.8", false, csrtest.Sequence(), []int{2, 5, 29, 9}},
		{"subject-info-access", "What the subject offers.", "RFC 5280, section 4.2.2.2", false, csrtest.Sequence(), []int{1, 3, 6, 1, 5, 5, 7, 1, 11}},
		{"private-key-usage-period", "Another lifetime for the private key.", "RFC 3280, section 4.2.1.4", false, csrtest.Sequence(), []int{2, 5, 29, 16}},
		{"tls-feature", "The certificate must come with an answer about its revocation.", "RFC 7633, section 4", false, csrtest.Sequence([]byte{2, 1, 5}), []int{1, 3, 6, 1, 5, 5, 7, 1, 24}},
		{"proxy-certificate", "A certificate with which its holder makes others.", "RFC 3820, section 3.8", true, csrtest.Sequence(csrtest.Sequence(csrtest.OID(1, 3, 6, 1, 5, 5, 7, 21, 1))), []int{1, 3, 6, 1, 5, 5, 7, 1, 14}},
		{"ct-poison", "The mark of a certificate that is not to be used.", "RFC 6962, section 3.1", true, asn1.NullBytes, []int{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}},
		{"netscape-certificate-type", "Netscape's key usage, with the bit for a CA.", "", false, csrtest.Element(0x03, []byte{2, 0x04}), []int{2, 16, 840, 1, 113730, 1, 1}},
		{"netscape-comment", "Text.", "", false, csrtest.Element(0x16, []byte("trusted")), []int{2, 16, 840, 1, 113730, 1, 13}},
		{"microsoft-template", "The template of a Windows CA.", "", false, csrtest.Element(0x1e, []byte{0, 'C', 0, 'A'}), []int{1, 3, 6, 1, 4, 1, 311, 20, 2}},
		{"microsoft-security-identifier", "An account of a Windows domain, which a domain controller logs on.", "", false, csrtest.Sequence(csrtest.Element(0xa0, csrtest.OID(1, 3, 6, 1, 4, 1, 311, 25, 2, 1), csrtest.Element(0xa0, csrtest.Element(0x04, []byte("S-1-5-21-500"))))), []int{1, 3, 6, 1, 4, 1, 311, 25, 2}},
		{"unknown", "An extension that nobody knows, and that nobody has to.", extensionsAsked, false, asn1.NullBytes, []int{1, 3, 6, 1, 4, 1, 99999}},
		{"unknown-critical", "An extension that nobody knows and everybody has to.", extensionsAsked, true, asn1.NullBytes, []int{1, 3, 6, 1, 4, 1, 99999}},
		{"unknown-empty", "An extension that nobody knows, without contents.", extensionsAsked, false, nil, []int{1, 3, 6, 1, 4, 1, 99999}},
	} {
		cases = append(cases, in.csr("extension-"+row.name, is(csr.ErrExtension), row.why, row.source, csrtest.Extend(row.critical, row.value, row.oid...)))
	}
	return cases
}

// extensionForms has extensions that are repeated or not encoded as DER.
func (in maker) extensionForms() []Case {
	san := must(asn1.Marshal(csrtest.SAN(csrtest.URI(csrtest.ID))))
	usage, usageID := csrtest.Element(0x04, keyUsages(5, 0xa0)), csrtest.OID(2, 5, 29, 15)
	also := func(name, why, source string, extension []byte) Case {
		return in.csr("extension-"+name, is(csr.ErrDER), why, source, extensionList(san, extension))
	}
	return []Case{
		in.csr("extension-san-twice", is(csr.ErrRepeatedExtension), "The same subject alternative name extension twice.", extensionField, extensionList(san, san)),
		in.csr("extension-san-twice-second-for-another", is(csr.ErrRepeatedExtension), "A second subject alternative name extension, with somebody else's ID: readers differ in which they take.", extensionField,
			csrtest.Extend(true, csrtest.Sequence(csrtest.URI(admin)), 2, 5, 29, 17)),
		in.csr("extension-san-twice-second-dns", is(csr.ErrRepeatedExtension), "A second subject alternative name extension, with a DNS name.", extensionField,
			csrtest.Extend(false, csrtest.Sequence(csrtest.Element(0x82, []byte("kubernetes.default.svc"))), 2, 5, 29, 17)),
		in.csr("extension-key-usage-twice", is(csr.ErrRepeatedExtension), "Key usage twice.", extensionField,
			bothUsages(), bothPurposes(), csrtest.Extend(true, keyUsages(5, 0xa0), 2, 5, 29, 15)),
		in.csr("extension-key-usage-twice-second-ca", is(csr.ErrRepeatedExtension), "A second key usage, with keyCertSign.", extensionField,
			bothUsages(), bothPurposes(), csrtest.Extend(true, keyUsages(2, 0xa4), 2, 5, 29, 15)),
		in.csr("extension-ext-key-usage-twice", is(csr.ErrRepeatedExtension), "Extended key usage twice.", extensionField,
			bothUsages(), bothPurposes(), csrtest.Extend(false, csrtest.Sequence(csrtest.OID(2, 5, 29, 37, 0)), 2, 5, 29, 37)),
		also("critical-explicitly-false", "What is the default is spelled out, which DER does not do.", "X.690, section 11.5", csrtest.Sequence(usageID, []byte{1, 1, 0}, usage)),
		also("critical-is-1", "TRUE is 1 and not 255, as BER allows: to some readers it is neither true nor false.", "X.690, section 11.1", csrtest.Sequence(usageID, []byte{1, 1, 1}, usage)),
		also("critical-twice", "TRUE twice.", extensionField, csrtest.Sequence(usageID, []byte{1, 1, 0xff}, []byte{1, 1, 0xff}, usage)),
		also("trailing-element", "An element behind the value.", extensionField, csrtest.Sequence(usageID, []byte{1, 1, 0xff}, usage, asn1.NullBytes)),
		also("without-value", "An identifier only.", extensionField, csrtest.Sequence(usageID)),
		also("without-identifier", "A value only.", extensionField, csrtest.Sequence(usage)),
		also("empty", "An empty sequence.", extensionField, csrtest.Sequence()),
		also("not-a-sequence", "NULL in the place of an extension.", extensionField, asn1.NullBytes),
		also("value-constructed", "A value in parts, as BER allows.", "X.690, section 10.2", csrtest.Sequence(usageID, []byte{1, 1, 0xff}, csrtest.Element(0x24, usage))),
		also("value-bit-string", "A value that is a bit string.", extensionField, csrtest.Sequence(usageID, []byte{1, 1, 0xff}, csrtest.Element(0x03, []byte{0}, keyUsages(5, 0xa0)))),
		also("identifier-not-minimal", "An identifier with a zero byte more than it needs: to some readers it is key usage.", "X.690, section 8.19.2", csrtest.Sequence([]byte{6, 4, 0x55, 0x1d, 0x80, 0x0f}, []byte{1, 1, 0xff}, usage)),
	}
}

// extensionList sets the extensions, as DER.
func extensionList(extensions ...[]byte) csrtest.Mutation {
	return csrtest.Attributes(csrtest.Attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}, csrtest.Sequence(extensions...)))
}

// sanExtension makes the subject alternative name extension of any value.
func sanExtension(value []byte) csrtest.Mutation {
	return func(t *csrtest.Template) {
		t.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: value}}
	}
}
