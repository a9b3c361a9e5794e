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
	generalName = "RFC 5280, section 4.2.1.6"
	// otherNames says why names of another type are refused, which the standard
	// allows: here nobody has checked them.
	otherNames = "X.509-SVID standard, section 2, allows other types beside the URI; SPIFFE-ID standard, section 3.2: what is in an SVID must have been validated"
)

// sanTypes has names of every other type, alone and beside the SPIFFE ID.
func (in maker) sanTypes() []Case {
	commonName := csrtest.Sequence(csrtest.Set(csrtest.Sequence(csrtest.OID(2, 5, 4, 3), csrtest.Element(0x0c, []byte("root")))))
	text := csrtest.Element(0xa0, csrtest.Element(0x0c, []byte("root@example.org")))
	var cases []Case
	for _, row := range []struct {
		name, what string
		element    []byte
	}{
		{"dns", "a DNS name", csrtest.Element(0x82, []byte("kubernetes.default.svc"))},
		{"dns-wildcard", "a DNS name that stands for all", csrtest.Element(0x82, []byte("*"))},
		{"dns-empty", "an empty DNS name", csrtest.Element(0x82)},
		{"dns-with-the-id", "the SPIFFE ID as a DNS name", csrtest.Element(0x82, []byte(csrtest.ID))},
		{"ip", "an IPv4 address", csrtest.Element(0x87, []byte{127, 0, 0, 1})},
		{"ipv6", "an IPv6 address", csrtest.Element(0x87, make([]byte, 15), []byte{1})},
		{"ip-of-5-bytes", "an address of no kind", csrtest.Element(0x87, []byte{127, 0, 0, 1, 0})},
		{"email", "an e-mail address", csrtest.Element(0x81, []byte("root@example.org"))},
		{"other-name-upn", "the name of a Windows user", csrtest.Element(0xa0, csrtest.OID(1, 3, 6, 1, 4, 1, 311, 20, 2, 3), text)},
		{"other-name-smtp-utf8", "an e-mail address in UTF-8 (RFC 9598)", csrtest.Element(0xa0, csrtest.OID(1, 3, 6, 1, 5, 5, 7, 8, 9), text)},
		{"other-name-kerberos", "a Kerberos principal (RFC 4556)", csrtest.Element(0xa0, csrtest.OID(1, 3, 6, 1, 5, 2, 2), text)},
		{"x400-address", "an X.400 address", csrtest.Element(0xa3, csrtest.Sequence())},
		{"directory-name", "a directory name", csrtest.Element(0xa4, commonName)},
		{"directory-name-empty", "an empty directory name", csrtest.Element(0xa4, csrtest.Sequence())},
		{"edi-party-name", "the name of an EDI party", csrtest.Element(0xa5, csrtest.Element(0xa1, csrtest.Element(0x0c, []byte("root"))))},
		{"registered-id", "a registered identifier", csrtest.Element(0x88, []byte{42})},
		{"unknown-type", "a name of a type that is not defined", csrtest.Element(0x89, []byte("x"))},
		{"null", "NULL", asn1.NullBytes},
	} {
		cases = append(cases,
			in.csr("san-"+row.name+"-alone", is(csr.ErrSANType), "The only name is "+row.what+": there is no SPIFFE ID.", spiffeID, csrtest.Names(row.element)),
			in.csr("san-"+row.name+"-beside-uri", is(csr.ErrSANType, csr.ErrSANCount), "Behind the SPIFFE ID there is "+row.what+".", otherNames, csrtest.Names(csrtest.URI(csrtest.ID), row.element)),
		)
	}
	return append(cases,
		in.csr("san-dns-before-uri", is(csr.ErrSANType, csr.ErrSANCount), "A DNS name before the SPIFFE ID: the order makes no difference.", otherNames,
			csrtest.Names(csrtest.Element(0x82, []byte("example.org")), csrtest.URI(csrtest.ID))),
		in.csr("san-two-uris", is(csr.ErrSANCount, policy.ErrIdentity), "A second SPIFFE ID, somebody else's, behind the requester's.", spiffeID, csrtest.Names(csrtest.URI(csrtest.ID), csrtest.URI(admin))),
		in.csr("san-two-uris-other-order", is(csr.ErrSANCount), "A second SPIFFE ID, somebody else's, before the requester's.", spiffeID, csrtest.Names(csrtest.URI(admin), csrtest.URI(csrtest.ID))),
		in.csr("san-same-uri-twice", is(csr.ErrSANCount), "The requester's SPIFFE ID twice.", spiffeID, csrtest.Names(csrtest.URI(csrtest.ID), csrtest.URI(csrtest.ID))),
		in.csr("san-https-uri-beside-uri", is(csr.ErrURI, csr.ErrSANCount), "A URI that is no SPIFFE ID behind the one that is.", spiffeID, csrtest.Names(csrtest.URI(csrtest.ID), csrtest.URI("https://example.org/"))),
		in.csr("san-hundred-uris", is(csr.ErrSANCount), "The same URI a hundred times.", spiffeID, csrtest.Names(hundred()...)),
	)
}

func hundred() [][]byte {
	uris := make([][]byte, 100)
	for i := range uris {
		uris[i] = csrtest.URI(csrtest.ID)
	}
	return uris
}

// sanForms has the right name, in an extension that is not as it must be.
func (in maker) sanForms() []Case {
	id, uri := []byte(csrtest.ID), csrtest.URI(csrtest.ID)
	tag := func(name, why string, element ...[]byte) Case {
		return in.csr("san-tag-"+name, is(csr.ErrSANType), why, generalName, csrtest.Names(concatAll(element)))
	}
	value := func(name, why, source string, want error, value []byte) Case {
		return in.csr("san-"+name, is(want), why, source, sanExtension(value))
	}
	sanID := csrtest.OID(2, 5, 29, 17)
	list := csrtest.Sequence(uri)
	return []Case{
		in.csr("san-none", is(csr.ErrNoSAN), "No subject alternative name extension, though other extensions are there.", spiffeID, func(t *csrtest.Template) {
			bothUsages()(t)
			bothPurposes()(t)
			t.Extensions = t.Extensions[1:]
		}),
		in.csr("san-not-critical", is(csr.ErrSANNotCritical), "The extension is not critical, as it must be when there is no subject.", leafCertificates+"; "+generalName, func(t *csrtest.Template) {
			san := csrtest.SAN(uri)
			san.Critical = false
			t.Extensions = []pkix.Extension{san}
		}),
		tag("universal", "Tag 6 of the universal class, an object identifier: a reader who looks at the number alone takes it for a URI.", csrtest.Element(0x06, id)),
		tag("application", "Tag 6 of the application class.", csrtest.Element(0x46, id)),
		tag("private", "Tag 6 of the private class.", csrtest.Element(0xc6, id)),
		tag("constructed", "A URI that is said to be a structure, with its text as IA5String within, as BER allows.", csrtest.Element(0xa6, csrtest.Element(0x16, id))),
		tag("constructed-in-parts", "A URI in two parts, as BER allows: a reader who takes the first sees another ID.", csrtest.Element(0xa6, csrtest.Element(0x16, id[:30]), csrtest.Element(0x16, id[30:]))),
		tag("ia5string", "An IA5String without the tag of its type.", csrtest.Element(0x16, id)),
		tag("utf8string", "A UTF8String without the tag of its type.", csrtest.Element(0x0c, id)),
		in.csr("san-tag-private-dns-beside-uri", is(csr.ErrSANType, csr.ErrSANCount), "Tag 2 of the private class beside the SPIFFE ID: a reader who looks at the number alone takes it for a DNS name.", generalName,
			csrtest.Names(uri, csrtest.Element(0xc2, []byte("example.org")))),
		in.csr("san-tag-private-uri-beside-uri", is(csr.ErrSANType, csr.ErrSANCount), "Tag 6 of the private class, with somebody else's ID, beside the SPIFFE ID.", generalName, csrtest.Names(uri, csrtest.Element(0xc6, []byte(admin)))),
		in.csr("san-tag-explicit", is(csr.ErrSANType), "The URI within a second tag [6].", generalName, csrtest.Names(csrtest.Element(0xa6, uri))),
		in.csr("san-tag-long-form", is(csr.ErrDER), "Tag 6 in the form for large numbers.", "X.690, section 8.1.2.4.2", csrtest.Names(concat([]byte{0x9f, 0x06, byte(len(id))}, id))),
		in.csr("san-tag-very-long", is(csr.ErrDER), "A tag of 13 bits.", "X.690, section 8.1.2.4.2", csrtest.Names([]byte{0x9f, 0x86, 0x00, 0x01, 'x'})),
		value("no-names", "An empty list of names, though there must be one at least.", generalName, csr.ErrSANCount, csrtest.Sequence()),
		value("empty", "An extension without contents.", generalName, csr.ErrDER, nil),
		value("without-list", "A URI without the list around it.", generalName, csr.ErrDER, uri),
		value("set", "A set of names and not a sequence.", generalName, csr.ErrDER, csrtest.Set(uri)),
		value("trailing-element", "An element behind the list of names.", generalName, csr.ErrDER, concat(list, asn1.NullBytes)),
		value("trailing-list", "A second list behind the first, with somebody else's ID.", generalName, csr.ErrDER, concat(list, csrtest.Sequence(csrtest.URI(admin)))),
		value("list-in-list", "A list within the list.", generalName, csr.ErrSANType, csrtest.Sequence(list)),
		value("indefinite-length", "A list of indefinite length.", derLength, csr.ErrDER, concat([]byte{0x30, 0x80}, uri, []byte{0, 0})),
		value("length-not-minimal", "The length of the list in two bytes.", derLength, csr.ErrDER, concat([]byte{0x30, 0x81, byte(len(uri))}, uri)),
		value("length-too-long", "A list that goes on beyond its end.", generalName, csr.ErrDER, concat([]byte{0x30, byte(len(uri) + 1)}, uri)),
		value("uri-length-not-minimal", "The length of the URI in two bytes.", derLength, csr.ErrDER, csrtest.Sequence(concat([]byte{0x86, 0x81, byte(len(id))}, id))),
		value("uri-indefinite-length", "A URI of indefinite length.", derLength, csr.ErrDER, csrtest.Sequence(concat([]byte{0xa6, 0x80}, csrtest.Element(0x16, id), []byte{0, 0}))),
		value("uri-length-too-long", "A URI that goes on beyond its end.", generalName, csr.ErrDER, csrtest.Sequence(concat([]byte{0x86, byte(len(id) + 9)}, id))),
		in.csr("san-critical-is-1", is(csr.ErrDER), "Critical is 1 and not 255: to some readers it is not critical.", "X.690, section 11.1", extensionList(
			csrtest.Sequence(sanID, []byte{1, 1, 1}, csrtest.Element(0x04, list)))),
		in.csr("san-critical-explicitly-false", is(csr.ErrDER), "Not critical, said in a way that DER does not have.", "X.690, section 11.5", extensionList(
			csrtest.Sequence(sanID, []byte{1, 1, 0}, csrtest.Element(0x04, list)))),
		in.csr("san-octet-string-constructed", is(csr.ErrDER), "The extension's value in two parts, as BER allows.", "X.690, section 10.2", extensionList(
			csrtest.Sequence(sanID, []byte{1, 1, 0xff}, csrtest.Element(0x24, csrtest.Element(0x04, list[:20]), csrtest.Element(0x04, list[20:]))))),
		in.csr("san-octet-string-missing", is(csr.ErrDER), "The list of names without the octet string around it.", extensionField, extensionList(csrtest.Sequence(sanID, []byte{1, 1, 0xff}, list))),
		in.csr("san-octet-string-twice", is(csr.ErrDER), "An octet string within the octet string.", generalName, extensionList(
			csrtest.Sequence(sanID, []byte{1, 1, 0xff}, csrtest.Element(0x04, csrtest.Element(0x04, list))))),
	}
}
