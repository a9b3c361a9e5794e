// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

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
