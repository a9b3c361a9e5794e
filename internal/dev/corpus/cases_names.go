// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// noSubject is where the subject is left to us: it need not be there, and we
// want none.
const noSubject = leafCertificates + ": the subject is not required; RFC 5280, section 4.1.2.6"

// subjectNames are attributes of a name, each of which names somebody or says
// something about them.
// Source: RFC 4519, section 2; RFC 5280, appendix A.1; RFC 2985, section 5.2.
func subjectNames() []struct {
	name, value string
	oid         []int
} {
	return []struct {
		name, value string
		oid         []int
	}{
		{"common-name", "example-app", []int{2, 5, 4, 3}},
		{"surname", "Doe", []int{2, 5, 4, 4}},
		{"serial-number", "1", []int{2, 5, 4, 5}},
		{"country", "DE", []int{2, 5, 4, 6}},
		{"locality", "Bonn", []int{2, 5, 4, 7}},
		{"state", "NRW", []int{2, 5, 4, 8}},
		{"street", "1 Main Street", []int{2, 5, 4, 9}},
		{"organization", "Example", []int{2, 5, 4, 10}},
		{"organizational-unit", "admins", []int{2, 5, 4, 11}},
		{"title", "Director", []int{2, 5, 4, 12}},
		{"description", "trusted", []int{2, 5, 4, 13}},
		{"business-category", "Private Organization", []int{2, 5, 4, 15}},
		{"postal-code", "53111", []int{2, 5, 4, 17}},
		{"post-office-box", "1", []int{2, 5, 4, 18}},
		{"telephone-number", "+49", []int{2, 5, 4, 20}},
		{"member", "cn=admins", []int{2, 5, 4, 31}},
		{"name", "root", []int{2, 5, 4, 41}},
		{"given-name", "Jane", []int{2, 5, 4, 42}},
		{"initials", "J", []int{2, 5, 4, 43}},
		{"generation-qualifier", "III", []int{2, 5, 4, 44}},
		{"dn-qualifier", "1", []int{2, 5, 4, 46}},
		{"role", "admin", []int{2, 5, 4, 72}},
		{"pseudonym", "root", []int{2, 5, 4, 65}},
		{"organization-identifier", "VATDE-1", []int{2, 5, 4, 97}},
		{"uid", "root", []int{0, 9, 2342, 19200300, 100, 1, 1}},
		{"domain-component", "example", []int{0, 9, 2342, 19200300, 100, 1, 25}},
		{"email-address", "root@example.org", []int{1, 2, 840, 113549, 1, 9, 1}},
		{"unstructured-name", "router", []int{1, 2, 840, 113549, 1, 9, 2}},
		{"jurisdiction-country", "DE", []int{1, 3, 6, 1, 4, 1, 311, 60, 2, 1, 3}},
		{"unknown-type", "x", []int{1, 3, 6, 1, 4, 1, 99999}},
	}
}

func (in maker) subject() []Case {
	var cases []Case
	for _, attribute := range subjectNames() {
		cases = append(cases, in.csr("subject-"+attribute.name, is(csr.ErrSubject),
			"The subject has one attribute, "+attribute.name+": a second name beside the SPIFFE ID, in which somebody may believe.",
			noSubject, csrtest.SubjectAttribute(attribute.value, attribute.oid...)))
	}
	return cases
}

// subjectForms are subjects that are unusual in another way than by the type of
// their attributes.
func (in maker) subjectForms() []Case {
	commonName := func(value []byte) []byte { return csrtest.Sequence(csrtest.OID(2, 5, 4, 3), value) }
	text := commonName(csrtest.Element(0x0c, []byte("example-app")))
	unit := csrtest.Sequence(csrtest.OID(2, 5, 4, 11), csrtest.Element(0x0c, []byte("admins")))
	form := func(name, why string, subject []byte) Case {
		return in.csr("subject-"+name, is(csr.ErrSubject), why, noSubject, func(t *csrtest.Template) { t.Subject = subject })
	}
	rdn := csrtest.Set
	return []Case{
		in.csr("subject-system-masters", is(csr.ErrSubject), "The organization that Kubernetes takes for the group of administrators.",
			noSubject, csrtest.Subject(pkix.Name{Organization: []string{"system:masters"}})),
		in.csr("subject-common-name-is-the-id", is(csr.ErrSubject), "The SPIFFE ID again, as a common name: even the same name has one place only.",
			noSubject, csrtest.SubjectAttribute(csrtest.ID, 2, 5, 4, 3)),
		in.csr("subject-common-name-of-another", is(csr.ErrSubject), "Somebody else's SPIFFE ID as common name.", noSubject, csrtest.SubjectAttribute(admin, 2, 5, 4, 3)),
		form("common-name-empty", "A common name without a letter in it is still not an empty subject.", csrtest.Sequence(rdn(commonName(csrtest.Element(0x0c))))),
		form("common-name-null", "A common name that is no text.", csrtest.Sequence(rdn(commonName(asn1.NullBytes)))),
		form("common-name-bmp-string", "A common name in UTF-16, which some readers cannot read and so pass over.", csrtest.Sequence(rdn(commonName(csrtest.Element(0x1e, []byte{0, 'x'}))))),
		form("common-name-universal-string", "A common name in UTF-32.", csrtest.Sequence(rdn(commonName(csrtest.Element(0x1c, []byte{0, 0, 0, 'x'}))))),
		form("common-name-teletex-string", "A common name in T.61, whose letters depend on the reader.", csrtest.Sequence(rdn(commonName(csrtest.Element(0x14, []byte{0xe4}))))),
		form("common-name-with-nul", "A NUL in the common name, where C's strings end.", csrtest.Sequence(rdn(commonName(csrtest.Element(0x0c, []byte("example-app\x00.evil")))))),
		form("common-name-not-utf-8", "A common name that is not UTF-8.", csrtest.Sequence(rdn(commonName(csrtest.Element(0x0c, []byte{0xff, 0xfe}))))),
		form("common-name-twice", "Two common names: readers differ in which they take.", csrtest.Sequence(rdn(text), rdn(text))),
		form("multi-valued", "A relative name of two attributes, common name and unit: some readers see the first only.", csrtest.Sequence(rdn(text, unit))),
		form("multi-valued-common-names", "A relative name of two common names.", csrtest.Sequence(rdn(text, commonName(csrtest.Element(0x0c, []byte("root")))))),
		form("many", "A common name and a unit, each on its own.", csrtest.Sequence(rdn(text), rdn(unit))),
		form("nothing-named", "A relative name without attributes: no name, but not an empty subject.", csrtest.Sequence(rdn())),
		form("not-a-name", "Something else than a relative name.", csrtest.Sequence(asn1.NullBytes)),
		form("attribute-without-value", "An attribute that is a type only.", csrtest.Sequence(rdn(csrtest.Sequence(csrtest.OID(2, 5, 4, 3))))),
		form("attribute-with-two-values", "An attribute with a second value behind its first.", csrtest.Sequence(rdn(csrtest.Sequence(csrtest.OID(2, 5, 4, 3), csrtest.Element(0x0c, []byte("a")), csrtest.Element(0x0c, []byte("b")))))),
	}
}

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

const (
	idScheme      = "SPIFFE-ID standard, section 2"
	idTrustDomain = "SPIFFE-ID standard, section 2.1"
	dots          = "RFC 1034, section 3.5; the SPIFFE-ID standard allows it"
	idPath        = "SPIFFE-ID standard, section 2.2"
	idLength      = "SPIFFE-ID standard, section 2.3"
	// admin is a SPIFFE ID that the requester must not get.
	admin = "spiffe://my.trust.domain/ns/kube-system/sa/admin"
)

// uriRow is a URI that is no SPIFFE ID, or none that a workload can have.
type uriRow struct{ name, why, source, uri string }

func (in maker) uris(rows []uriRow) []Case {
	var cases []Case
	for _, row := range rows {
		cases = append(cases, in.csr("uri-"+row.name, is(csr.ErrURI), row.why, row.source, csrtest.Names(csrtest.URI(row.uri))))
	}
	return cases
}

// uri has URIs whose scheme or trust domain is wrong.
func (in maker) uri() []Case {
	const path = "/ns/sandbox/sa/example-app"
	return in.uris([]uriRow{
		{"empty", "An empty URI.", idScheme, ""},
		{"blank", "A space.", idScheme, " "},
		{"scheme-upper-case", "The scheme in upper case: a reader who compares text sees another ID.", idScheme, "SPIFFE://my.trust.domain" + path},
		{"scheme-mixed-case", "The scheme with one upper-case letter.", idScheme, "Spiffe://my.trust.domain" + path},
		{"scheme-https", "Another scheme.", idScheme, "https://my.trust.domain" + path},
		{"scheme-longer", "A scheme that begins alike.", idScheme, "spiffes://my.trust.domain" + path},
		{"scheme-missing", "No scheme.", idScheme, "//my.trust.domain" + path},
		{"scheme-without-slashes", "No authority, so no trust domain.", idScheme, "spiffe:my.trust.domain" + path},
		{"scheme-one-slash", "One slash, so no authority.", idScheme, "spiffe:/my.trust.domain" + path},
		{"scheme-backslashes", "Backslashes for slashes, which browsers take for the same.", idScheme, `spiffe:\\my.trust.domain` + path},
		{"space-before", "A space before the ID.", idScheme, " " + csrtest.ID},
		{"space-after", "A space behind the ID.", idPath, csrtest.ID + " "},
		{"query", "A query.", idScheme, csrtest.ID + "?a=b"},
		{"query-empty", "A query without contents.", idScheme, csrtest.ID + "?"},
		{"fragment", "A fragment.", idScheme, csrtest.ID + "#a"},
		{"fragment-empty", "A fragment without contents.", idScheme, csrtest.ID + "#"},
		{"trust-domain-missing", "An empty trust domain.", idTrustDomain, "spiffe://" + path},
		{"trust-domain-upper-case", "The trust domain in upper case.", idTrustDomain, "spiffe://MY.trust.domain" + path},
		{"trust-domain-escape", "A letter of the trust domain in percent-encoding.", idTrustDomain, "spiffe://%6dy.trust.domain" + path},
		{"trust-domain-ipv6", "An IPv6 address as trust domain.", idTrustDomain, "spiffe://[::1]" + path},
		{"trust-domain-comma", "A comma in the trust domain.", idTrustDomain, "spiffe://my.trust.domain,other" + path},
		{"trust-domain-backslash", "A backslash behind the trust domain.", idTrustDomain, `spiffe://my.trust.domain\` + path},
		{"trust-domain-trailing-dot", "A dot at the end: the same host to DNS, another trust domain to SPIFFE, and nothing that crypto/x509 reads.", dots, "spiffe://my.trust.domain." + path},
		{"trust-domain-leading-dot", "A dot at the beginning.", dots, "spiffe://.my.trust.domain" + path},
		{"trust-domain-double-dot", "Nothing between two dots.", dots, "spiffe://my..trust.domain" + path},
		{"port", "A port.", idTrustDomain, "spiffe://my.trust.domain:443" + path},
		{"port-empty", "A port without number.", idTrustDomain, "spiffe://my.trust.domain:" + path},
		{"user-info", "A user before the trust domain.", idTrustDomain, "spiffe://root@my.trust.domain" + path},
		{"user-info-empty", "An empty user before the trust domain.", idTrustDomain, "spiffe://@my.trust.domain" + path},
		{"user-info-is-the-trust-domain", "Our trust domain as the user of another one.", idTrustDomain, "spiffe://my.trust.domain@evil.example" + path},
	})
}

// uriPath has URIs whose path is wrong.
func (in maker) uriPath() []Case {
	return in.uris([]uriRow{
		{"escape", "A letter of the path in percent-encoding.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/example%2dapp"},
		{"escape-slash", "A slash in percent-encoding: to some readers it parts segments.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa%2fexample-app"},
		{"escape-nul", "A NUL in percent-encoding.", idPath, csrtest.ID + "%00"},
		{"escape-cut-short", "A percent sign without digits.", idPath, csrtest.ID + "%"},
		{"no-path", "A trust domain without path, which names no workload.", leafCertificates, "spiffe://my.trust.domain"},
		{"path-root", "The root path, which names no workload.", leafCertificates, "spiffe://my.trust.domain/"},
		{"trailing-slash", "A slash at the end.", idPath, csrtest.ID + "/"},
		{"double-slash", "An empty segment.", idPath, "spiffe://my.trust.domain/ns//sandbox/sa/example-app"},
		{"double-slash-first", "An empty segment at the beginning.", idPath, "spiffe://my.trust.domain//ns/sandbox/sa/example-app"},
		{"dot-segment", "A segment that goes up.", idPath, "spiffe://my.trust.domain/ns/x/../sandbox/sa/example-app"},
		{"dot-segment-out", "Segments that go up from the requester's ID to somebody else's.", idPath, csrtest.ID + "/../../../kube-system/sa/admin"},
		{"single-dot-segment", "A segment that stays.", idPath, "spiffe://my.trust.domain/ns/./sandbox/sa/example-app"},
		{"backslash", "A backslash in the path.", idPath, `spiffe://my.trust.domain/ns/sandbox\sa/example-app`},
		{"semicolon", "A parameter of a path segment.", idPath, csrtest.ID + ";v=1"},
		{"asterisk", "An asterisk, which stands for all to a careless reader.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/*"},
		{"colon", "A user name's colons in the path.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa:example-app"},
		{"comma", "Two IDs in one URI, parted by a comma.", idPath, csrtest.ID + "," + admin},
		{"nul", "A NUL behind the ID, where C's strings end.", idPath, csrtest.ID + "\x00"},
		{"nul-and-more", "The requester's ID, a NUL, and more.", idPath, csrtest.ID + "\x00/../admin"},
		{"line-break", "A line break behind the ID.", idPath, csrtest.ID + "\n"},
		{"tab", "A tab within, which browsers pass over.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/\texample-app"},
		{"delete-character", "A character that does not print.", idPath, csrtest.ID + "\x7f"},
		{"2049-bytes", "One byte more than an ID may have.", idLength, longID(maxID + 1)},
		{"4-kilobytes", "Twice as long as an ID may be.", idLength, longID(2 * maxID)},
		{"16-kilobytes", "Long enough to fill logs.", idLength, longID(8 * maxID)},
		{"all-slashes", "A thousand slashes.", idPath, "spiffe://my.trust.domain" + strings.Repeat("/", 1000)},
	})
}

// uriLookAlikes has IDs that look like the requester's to a person.
func (in maker) uriLookAlikes() []Case {
	return in.uris([]uriRow{
		{"look-alike-trust-domain-cyrillic", "A Cyrillic letter in the trust domain, U+043E for o.", idTrustDomain, "spiffe://my.trust.d\u043emain/ns/sandbox/sa/example-app"},
		{"look-alike-trust-domain-fullwidth", "A full-width letter in the trust domain.", idTrustDomain, "spiffe://\uff4dy.trust.domain/ns/sandbox/sa/example-app"},
		{"look-alike-trust-domain-ideographic-dot", "The full stop of another script, which IDNA takes for a dot.", idTrustDomain, "spiffe://my\u3002trust.domain/ns/sandbox/sa/example-app"},
		{"look-alike-trust-domain-long-s", "A long s, which is s in upper case.", idTrustDomain, "spiffe://my.tru\u017ft.domain/ns/sandbox/sa/example-app"},
		{"look-alike-trust-domain-soft-hyphen", "A hyphen that does not show.", idTrustDomain, "spiffe://my.trust.do\u00admain/ns/sandbox/sa/example-app"},
		{"look-alike-path-cyrillic", "A Cyrillic letter in the path, U+0430 for a.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/ex\u0430mple-app"},
		{"look-alike-path-greek", "A Greek letter in the path, U+03BF for o.", idPath, "spiffe://my.trust.domain/ns/sandb\u03bfx/sa/example-app"},
		{"look-alike-path-dotless-i", "An i without dot, which is I in upper case.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/\u0131"},
		{"look-alike-path-kelvin", "The Kelvin sign, which is k in lower case.", idPath, "spiffe://my.trust.domain/ns/\u212aube-system/sa/admin"},
		{"look-alike-path-combining", "A letter and an accent, for a letter that has it.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/e\u0301xample-app"},
		{"look-alike-path-precomposed", "A letter with an accent.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/\u00e9xample-app"},
		{"look-alike-path-division-slash", "A division slash, which parts nothing.", idPath, "spiffe://my.trust.domain/ns/sandbox\u2215sa/example-app"},
		{"look-alike-path-hyphen", "A hyphen that is another character than the hyphen-minus.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/example\u2010app"},
		{"look-alike-path-zero-width", "A character without width.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/example\u200b-app"},
		{"look-alike-path-right-to-left", "A character that turns around what follows it.", idPath, "spiffe://my.trust.domain/ns/sandbox/sa/\u202eppa-elpmaxe"},
		{"look-alike-path-byte-order-mark", "A byte order mark.", idPath, csrtest.ID + "\ufeff"},
		{"look-alike-path-latin-1", "A byte that is no UTF-8.", idPath, csrtest.ID + "\xe9"},
		{"look-alike-path-overlong-utf-8", "A slash in overlong UTF-8.", idPath, "spiffe://my.trust.domain/ns/sandbox\xc0\xafsa/example-app"},
		{"look-alike-path-utf-16", "The whole in UTF-16.", idScheme, utf16(csrtest.ID)},
	})
}

func utf16(ascii string) string {
	var b strings.Builder
	for _, letter := range []byte(ascii) {
		b.Write([]byte{0, letter})
	}
	return b.String()
}
