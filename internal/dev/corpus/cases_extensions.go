// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
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

func serverAuth() []byte { return csrtest.OID(1, 3, 6, 1, 5, 5, 7, 3, 1) }
func clientAuth() []byte { return csrtest.OID(1, 3, 6, 1, 5, 5, 7, 3, 2) }

// keyUsages encodes a BIT STRING.
func keyUsages(unused byte, bits ...byte) []byte { return csrtest.Element(0x03, []byte{unused}, bits) }

const (
	keyUsage    = "X.509-SVID standard, section 4.3; RFC 5280, section 4.2.1.3"
	extKeyUsage = "X.509-SVID standard, section 4.4; RFC 5280, section 4.2.1.12"
)

// bothUsages and bothPurposes add the extensions of a good request.
func bothUsages() csrtest.Mutation { return csrtest.Extend(true, keyUsages(5, 0xa0), 2, 5, 29, 15) }

func bothPurposes() csrtest.Mutation {
	return csrtest.Extend(false, csrtest.Sequence(serverAuth(), clientAuth()), 2, 5, 29, 37)
}

// usageExtensions has key usages and extended key usages that an SVID must not
// have, or not alone.
func (in maker) usageExtensions() []Case {
	usage := func(name, why string, value []byte) Case {
		return in.csr("key-usage-"+name, is(csr.ErrKeyUsage), why, keyUsage, csrtest.Extend(true, value, 2, 5, 29, 15), bothPurposes())
	}
	extended := func(name, why string, value ...[]byte) Case {
		return in.csr("ext-key-usage-"+name, is(csr.ErrExtKeyUsage), why, extKeyUsage, bothUsages(), csrtest.Extend(false, concatAll(value), 2, 5, 29, 37))
	}
	purpose := func(last int) []byte { return csrtest.OID(1, 3, 6, 1, 5, 5, 7, 3, last) }
	anyPurpose := csrtest.OID(2, 5, 29, 37, 0)
	const both = "cert-manager v1.20, pkg/util/pki, CertificateTemplateValidateAndOverrideKeyUsages"
	return []Case{
		in.csr("key-usage-without-ext-key-usage", is(csr.ErrExtKeyUsage), "Half of what spec.usages says: cert-manager refuses a request that says some of it and not all.", both, bothUsages()),
		in.csr("ext-key-usage-without-key-usage", is(csr.ErrKeyUsage), "The other half of what spec.usages says.", both, bothPurposes()),
		usage("cert-sign", "keyCertSign beside the two: a key that signs certificates. Leaf SVIDs must not have it.", keyUsages(2, 0xa4)),
		usage("cert-sign-alone", "keyCertSign alone.", keyUsages(2, 0x04)),
		usage("crl-sign", "cRLSign beside the two. Leaf SVIDs must not have it.", keyUsages(1, 0xa2)),
		usage("cert-sign-and-crl-sign", "keyCertSign and cRLSign: a CA.", keyUsages(1, 0x06)),
		usage("all", "All nine bits.", keyUsages(7, 0xff, 0x80)),
		usage("none", "No bit is set, though one at least must be.", keyUsages(0)),
		usage("digital-signature-alone", "Not all that spec.usages says.", keyUsages(7, 0x80)),
		usage("key-encipherment-alone", "Without digitalSignature, which leaf SVIDs must have.", keyUsages(5, 0x20)),
		usage("content-commitment", "contentCommitment (nonRepudiation) beside the two.", keyUsages(5, 0xe0)),
		usage("data-encipherment", "dataEncipherment beside the two.", keyUsages(4, 0xb0)),
		usage("key-agreement", "keyAgreement beside the two, which spec.usages does not have.", keyUsages(3, 0xa8)),
		usage("not-minimal", "The two bits, and five zeros that DER leaves out.", keyUsages(0, 0xa0)),
		usage("trailing-element", "An element behind the bits.", concat(keyUsages(5, 0xa0), asn1.NullBytes)),
		usage("not-bits", "A number.", []byte{2, 1, 0xa0 >> 1}),
		usage("empty", "Nothing.", nil),
		extended("any", "anyExtendedKeyUsage beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), anyPurpose)),
		extended("any-alone", "anyExtendedKeyUsage alone.", csrtest.Sequence(anyPurpose)),
		extended("code-signing", "Code signing beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), purpose(3))),
		extended("email-protection", "E-mail beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), purpose(4))),
		extended("time-stamping", "Time stamping beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), purpose(8))),
		extended("ocsp-signing", "A key that says which certificates are revoked.", csrtest.Sequence(serverAuth(), clientAuth(), purpose(9))),
		extended("smart-card-logon", "Log-on to a Windows domain.", csrtest.Sequence(serverAuth(), clientAuth(), csrtest.OID(1, 3, 6, 1, 4, 1, 311, 20, 2, 2))),
		extended("unknown", "A purpose that nobody knows, beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), csrtest.OID(1, 3, 6, 1, 4, 1, 99999))),
		extended("client-alone", "One of the two; when there are any, both must be.", csrtest.Sequence(clientAuth())),
		extended("server-alone", "One of the two; when there are any, both must be.", csrtest.Sequence(serverAuth())),
		extended("client-twice", "One of the two, twice.", csrtest.Sequence(clientAuth(), clientAuth())),
		extended("both-and-client-again", "The two, and one of them again.", csrtest.Sequence(serverAuth(), clientAuth(), clientAuth())),
		extended("none", "An empty list, though there must be one purpose at least.", csrtest.Sequence()),
		extended("trailing-element", "An element behind the list.", csrtest.Sequence(serverAuth(), clientAuth()), asn1.NullBytes),
		extended("not-a-list", "A purpose without list.", serverAuth()),
	}
}

func concatAll(parts [][]byte) []byte {
	var joined []byte
	for _, part := range parts {
		joined = append(joined, part...)
	}
	return joined
}

func (in maker) attributes() []Case {
	good := []pkix.Extension{csrtest.SAN(csrtest.URI(csrtest.ID))}
	forAnother := []pkix.Extension{csrtest.SAN(csrtest.URI(admin))}
	text := csrtest.Element(0x0c, []byte("secret"))
	usagesOnly := csrtest.Good(in.keys.Main).With(bothUsages(), bothPurposes())
	also := func(name, why, source string, value []byte, oid ...int) Case {
		return in.csr("attribute-"+name, is(csr.ErrAttribute), why, source, csrtest.AlsoAttribute(value, oid...))
	}
	list := func(name string, want []error, why, source string, attributes ...[]byte) Case {
		return in.csr("attribute-"+name, want, why, source, csrtest.Attributes(append([][]byte{}, attributes...)...))
	}
	extensionRequest := csrtest.OID(1, 2, 840, 113549, 1, 9, 14)
	return []Case{
		also("challenge-password", "A challenge password, for revoking the certificate later: a secret in an object that many may read.", "RFC 2985, section 5.4.1", text, 1, 2, 840, 113549, 1, 9, 7),
		also("unstructured-name", "A name by another door.", "RFC 2985, section 5.4.3", text, 1, 2, 840, 113549, 1, 9, 2),
		also("unstructured-address", "An address.", "RFC 2985, section 5.2.2", text, 1, 2, 840, 113549, 1, 9, 8),
		also("signing-time", "When it was signed.", "RFC 2985, section 5.3.3", csrtest.Element(0x17, []byte("260101000000Z")), 1, 2, 840, 113549, 1, 9, 5),
		also("common-name", "A common name as an attribute of the request.", extensionsAsked, text, 2, 5, 4, 3),
		also("microsoft-extensions", "A list of extensions under Microsoft's identifier, with somebody else's ID: some readers take it for an extensionRequest.", extensionsAsked,
			must(asn1.Marshal(forAnother)), 1, 3, 6, 1, 4, 1, 311, 2, 1, 14),
		also("microsoft-os-version", "The requester's system.", extensionsAsked, csrtest.Element(0x16, []byte("10.0")), 1, 3, 6, 1, 4, 1, 311, 13, 2, 3),
		also("unknown", "An attribute that nobody knows.", pkcs10Info, text, 1, 3, 6, 1, 4, 1, 99999),
		list("before-extension-request", is(csr.ErrAttribute), "An attribute that nobody knows, before the one that is wanted.", pkcs10Info,
			csrtest.Attribute(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999}, text), csrtest.ExtensionRequest(good)),
		list("extension-request-twice", is(csr.ErrRepeatedAttribute, csr.ErrRepeatedExtension), "Two extensionRequest attributes with the same contents.", extensionsAsked,
			csrtest.ExtensionRequest(good), csrtest.ExtensionRequest(good)),
		list("extension-request-twice-second-for-another", is(csr.ErrRepeatedAttribute, csr.ErrRepeatedExtension),
			"Two extensionRequest attributes, the second with somebody else's ID: readers differ in which they take.", extensionsAsked, csrtest.ExtensionRequest(good), csrtest.ExtensionRequest(forAnother)),
		list("extension-request-twice-first-for-another", is(csr.ErrRepeatedAttribute, csr.ErrRepeatedExtension, policy.ErrIdentity),
			"Two extensionRequest attributes, the first with somebody else's ID.", extensionsAsked, csrtest.ExtensionRequest(forAnother), csrtest.ExtensionRequest(good)),
		list("extension-request-twice-second-usages", is(csr.ErrRepeatedAttribute), "Two extensionRequest attributes without an extension in common.", extensionsAsked, csrtest.ExtensionRequest(good),
			csrtest.ExtensionRequest(usagesOnly.Extensions[1:])),
		list("extension-request-two-values", is(csr.ErrExtensionRequest, csr.ErrNoSAN), "Two lists of extensions in one attribute, which has one value.", extensionsAsked, csrtest.ExtensionRequest(good, good)),
		list("extension-request-no-value", is(csr.ErrExtensionRequest, csr.ErrNoSAN), "An extensionRequest attribute without value.", extensionsAsked, csrtest.ExtensionRequest()),
		list("extension-request-not-a-list", is(csr.ErrExtensionRequest, csr.ErrNoSAN), "Text in the place of the list of extensions.", extensionsAsked,
			csrtest.Attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}, text)),
		list("extension-request-empty", is(csr.ErrNoSAN), "An empty list of extensions.", spiffeID, csrtest.ExtensionRequest([]pkix.Extension{})),
		list("none", is(csr.ErrNoSAN), "No attributes: nothing is asked for.", spiffeID),
		list("trailing-element", is(csr.ErrDER), "An element behind the values.", pkcs10Info, csrtest.Sequence(extensionRequest, csrtest.Set(must(asn1.Marshal(good))), csrtest.Set())),
		list("values-sequence", is(csr.ErrDER), "The values are a sequence and not a set.", pkcs10Info, csrtest.Sequence(extensionRequest, csrtest.Sequence(must(asn1.Marshal(good))))),
		list("without-values", is(csr.ErrDER), "An identifier only.", pkcs10Info, csrtest.Sequence(extensionRequest)),
		list("not-an-attribute", is(csr.ErrDER), "NULL behind the attribute.", pkcs10Info, csrtest.ExtensionRequest(good), asn1.NullBytes),
	}
}
