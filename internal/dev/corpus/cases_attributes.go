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
