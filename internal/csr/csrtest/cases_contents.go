// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csrtest

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

func serverAuth() []byte { return OID(1, 3, 6, 1, 5, 5, 7, 3, 1) }
func clientAuth() []byte { return OID(1, 3, 6, 1, 5, 5, 7, 3, 2) }

// keyUsages encodes a BIT STRING.
func keyUsages(unused byte, bits ...byte) []byte { return Element(0x03, []byte{unused}, bits) }

func attributeCases(keys Keys) []Case {
	ask := []pkix.Extension{SAN(URI(ID))}
	text := Element(0x0c, []byte("secret"))
	return []Case{
		bad(keys, "attribute-challenge-password", csr.ErrAttribute, AlsoAttribute(text, 1, 2, 840, 113549, 1, 9, 7)),
		bad(keys, "attribute-unstructured-name", csr.ErrAttribute, AlsoAttribute(text, 1, 2, 840, 113549, 1, 9, 2)),
		bad(keys, "attribute-microsoft-extensions", csr.ErrAttribute,
			AlsoAttribute(must(asn1.Marshal([]pkix.Extension{SAN(URI("spiffe://other/ns/x/sa/y"))})), 1, 3, 6, 1, 4, 1, 311, 2, 1, 14)),
		{
			Name: "bad-attribute-extension-request-twice",
			PEM:  Good(keys.Main).With(Attributes(ExtensionRequest(ask), ExtensionRequest(ask))).PEM(),
			Want: []error{csr.ErrRepeatedAttribute, csr.ErrRepeatedExtension},
		},
		{
			Name: "bad-attribute-extension-request-two-values",
			PEM:  Good(keys.Main).With(Attributes(ExtensionRequest(ask, ask))).PEM(),
			Want: []error{csr.ErrExtensionRequest, csr.ErrNoSAN},
		},
		{
			Name: "bad-attribute-extension-request-no-value",
			PEM:  Good(keys.Main).With(Attributes(ExtensionRequest())).PEM(),
			Want: []error{csr.ErrExtensionRequest, csr.ErrNoSAN},
		},
		bad(keys, "attribute-none", csr.ErrNoSAN, func(t *Template) { t.Attributes = [][]byte{} }),
		bad(keys, "attribute-trailing-element", csr.ErrDER, Attributes(
			Sequence(OID(1, 2, 840, 113549, 1, 9, 14), Set(must(asn1.Marshal(ask))), Set()))),
		bad(keys, "attribute-not-one", csr.ErrDER, Attributes(ExtensionRequest(ask), asn1.NullBytes)),
	}
}

func extensionCases(keys Keys) []Case {
	usage := Extend(true, keyUsages(5, 0xa0), 2, 5, 29, 15)
	again := usage
	return []Case{
		bad(keys, "extension-ca", csr.ErrExtension, Extend(true, Sequence([]byte{1, 1, 0xff}), 2, 5, 29, 19)),
		bad(keys, "extension-not-ca", csr.ErrExtension, Extend(true, Sequence(), 2, 5, 29, 19)),
		bad(keys, "extension-issuer-alt-name", csr.ErrExtension, Extend(false, Sequence(URI(ID)), 2, 5, 29, 18)),
		bad(keys, "extension-subject-key-id", csr.ErrExtension, Extend(false, Element(0x04, []byte{1}), 2, 5, 29, 14)),
		bad(keys, "extension-unknown", csr.ErrExtension, Extend(false, asn1.NullBytes, 1, 3, 6, 1, 4, 1, 99999)),
		bad(keys, "extension-san-twice", csr.ErrRepeatedExtension, Extend(true, Sequence(URI(ID)), 2, 5, 29, 17)),
		bad(keys, "extension-key-usage-twice", csr.ErrRepeatedExtension, usage, again),
		bad(keys, "extension-explicitly-not-critical", csr.ErrDER, func(t *Template) {
			plain := must(asn1.Marshal(SAN(URI(ID))))
			usage := Sequence(OID(2, 5, 29, 15), []byte{1, 1, 0}, Element(0x04, keyUsages(5, 0xa0)))
			t.Attributes = [][]byte{Attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}, Sequence(plain, usage))}
		}),
		bad(keys, "extension-trailing-element", csr.ErrDER, func(t *Template) {
			plain := must(asn1.Marshal(SAN(URI(ID))))
			usage := Sequence(OID(2, 5, 29, 15), []byte{1, 1, 0xff}, Element(0x04, keyUsages(5, 0xa0)), asn1.NullBytes)
			t.Attributes = [][]byte{Attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}, Sequence(plain, usage))}
		}),
		bad(keys, "key-usage-cert-sign", csr.ErrKeyUsage, Extend(true, keyUsages(2, 0xa4), 2, 5, 29, 15)),
		bad(keys, "key-usage-one-of-two", csr.ErrKeyUsage, Extend(true, keyUsages(7, 0x80), 2, 5, 29, 15)),
		bad(keys, "key-usage-not-minimal", csr.ErrKeyUsage, Extend(true, keyUsages(0, 0xa0), 2, 5, 29, 15)),
		bad(keys, "ext-key-usage-any", csr.ErrExtKeyUsage, Extend(false, Sequence(serverAuth(), clientAuth(), OID(2, 5, 29, 37, 0)), 2, 5, 29, 37)),
		bad(keys, "ext-key-usage-one-of-two", csr.ErrExtKeyUsage, Extend(false, Sequence(clientAuth()), 2, 5, 29, 37)),
		bad(keys, "ext-key-usage-trailing-element", csr.ErrExtKeyUsage,
			Extend(false, concat(Sequence(serverAuth(), clientAuth()), asn1.NullBytes), 2, 5, 29, 37)),
		bad(keys, "ext-key-usage-repeated", csr.ErrExtKeyUsage, Extend(false, Sequence(clientAuth(), clientAuth()), 2, 5, 29, 37)),
	}
}

func sanCases(keys Keys) []Case {
	wrongType := func(name string, element []byte) Case {
		return bad(keys, "san-"+name, csr.ErrSANType, Names(element))
	}
	alsoType := func(name string, element []byte) Case {
		return Case{
			Name: "bad-san-uri-and-" + name,
			PEM:  Good(keys.Main).With(Names(URI(ID), element)).PEM(),
			Want: []error{csr.ErrSANType, csr.ErrSANCount},
		}
	}
	return []Case{
		bad(keys, "san-none", csr.ErrNoSAN, func(t *Template) { t.Extensions = []pkix.Extension{} }),
		bad(keys, "san-empty", csr.ErrSANCount, Names()),
		bad(keys, "san-not-critical", csr.ErrSANNotCritical, func(t *Template) {
			san := SAN(URI(ID))
			san.Critical = false
			t.Extensions = []pkix.Extension{san}
		}),
		bad(keys, "san-two-uris", csr.ErrSANCount, Names(URI(ID), URI("spiffe://my.trust.domain/ns/kube-system/sa/admin"))),
		bad(keys, "san-same-uri-twice", csr.ErrSANCount, Names(URI(ID), URI(ID))),
		wrongType("dns-only", Element(0x82, []byte("example.org"))),
		wrongType("tag-universal", Element(0x06, []byte(ID))),
		wrongType("tag-application", Element(0x46, []byte(ID))),
		wrongType("tag-private", Element(0xc6, []byte(ID))),
		wrongType("tag-constructed", Element(0xa6, Element(0x16, []byte(ID)))),
		wrongType("ia5string", Element(0x16, []byte(ID))),
		alsoType("dns", Element(0x82, []byte("example.org"))),
		alsoType("email", Element(0x81, []byte("root@example.org"))),
		alsoType("ip", Element(0x87, []byte{127, 0, 0, 1})),
		alsoType("other-name", Element(0xa0, OID(1, 3, 6, 1, 4, 1, 311, 20, 2, 3), Element(0xa0, Element(0x0c, []byte("root@example.org"))))),
		alsoType("directory-name", Element(0xa4, Sequence())),
		alsoType("registered-id", Element(0x88, []byte{42})),
		alsoType("private-dns", Element(0xc2, []byte("example.org"))),
		bad(keys, "san-long-tag", csr.ErrDER, Names([]byte{0x9f, 0x86, 0x00, 0x01, 'x'})),
	}
}

func uriCases(keys Keys) []Case {
	var cases []Case
	for name, text := range map[string]string{
		"empty":                   "",
		"scheme-upper-case":       "SPIFFE://my.trust.domain/ns/sandbox/sa/example-app",
		"scheme-mixed-case":       "Spiffe://my.trust.domain/ns/sandbox/sa/example-app",
		"scheme-https":            "https://my.trust.domain/ns/sandbox/sa/example-app",
		"trust-domain-upper-case": "spiffe://MY.trust.domain/ns/sandbox/sa/example-app",
		"trust-domain-missing":    "spiffe:///ns/sandbox/sa/example-app",
		"port":                    "spiffe://my.trust.domain:443/ns/sandbox/sa/example-app",
		"user-info":               "spiffe://root@my.trust.domain/ns/sandbox/sa/example-app",
		"query":                   ID + "?a=b",
		"fragment":                ID + "#a",
		"escape":                  "spiffe://my.trust.domain/ns/sandbox/sa/example%2dapp",
		"trailing-slash":          ID + "/",
		"double-slash":            "spiffe://my.trust.domain/ns//sandbox/sa/example-app",
		"dot-segment":             "spiffe://my.trust.domain/ns/x/../sandbox/sa/example-app",
		"no-path":                 "spiffe://my.trust.domain",
		"nul":                     ID + "\x00",
		"line-break":              ID + "\n",
		"not-ascii":               "spiffe://my.trust.domain/ns/sandbox/sa/ex\u0430mple-app",
		"too-long":                ID + "/" + strings.Repeat("a", 2048),
	} {
		cases = append(cases, bad(keys, "uri-"+name, csr.ErrURI, Names(URI(text))))
	}
	return cases
}
