// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
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
