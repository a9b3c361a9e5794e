// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csrtest

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	_ "crypto/md5" //nolint:gosec // for requests that are signed badly
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // likewise
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

func goodCases(keys Keys) []Case {
	var cases []Case
	for name, key := range keys.ByName {
		cases = append(cases, Case{Name: "good-" + name, PEM: Good(key).PEM()})
	}
	usages := Extend(true, keyUsages(5, 0xa0), 2, 5, 29, 15)
	return append(cases,
		good(keys, "usages", usages, Extend(false, Sequence(serverAuth(), clientAuth()), 2, 5, 29, 37)),
		good(keys, "usages-other-order", usages, Extend(true, Sequence(clientAuth(), serverAuth()), 2, 5, 29, 37)),
		good(keys, "crlf", Wrapped(func(der []byte) []byte { return bytes.ReplaceAll(Block(der), []byte("\n"), []byte("\r\n")) })),
		good(keys, "blank-lines-around", Wrapped(func(der []byte) []byte { return concat("\n\r\n", Block(der), "\n \n") })),
	)
}

func pemCases(keys Keys) []Case {
	wrap := func(name string, want error, wrap func(der []byte) []byte) Case {
		return bad(keys, "pem-"+name, want, Wrapped(wrap))
	}
	typed := func(name string) func([]byte) []byte {
		return func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: name, Bytes: der}) }
	}
	return []Case{
		wrap("empty", csr.ErrPEM, func([]byte) []byte { return nil }),
		wrap("der-only", csr.ErrPEM, func(der []byte) []byte { return der }),
		wrap("text-before", csr.ErrPEM, func(der []byte) []byte { return concat("subject=\n", Block(der)) }),
		wrap("text-after", csr.ErrPEM, func(der []byte) []byte { return concat(Block(der), "x") }),
		wrap("nul-after", csr.ErrPEM, func(der []byte) []byte { return concat(Block(der), "\x00") }),
		wrap("byte-order-mark", csr.ErrPEM, func(der []byte) []byte { return concat("\ufeff", Block(der)) }),
		wrap("space-within", csr.ErrPEM, func(der []byte) []byte {
			return bytes.Replace(Block(der), []byte("-----\nM"), []byte("-----\n M"), 1)
		}),
		wrap("unfinished-block-before", csr.ErrPEM, func(der []byte) []byte {
			return concat("-----BEGIN CERTIFICATE REQUEST-----\n", Block(der))
		}),
		wrap("cut-short", csr.ErrPEM, func(der []byte) []byte { return Block(der)[:200] }),
		wrap("too-large", csr.ErrTooLarge, func(der []byte) []byte {
			return concat(Block(der), bytes.Repeat([]byte("\n"), csr.MaxSize))
		}),
		wrap("two-blocks", csr.ErrPEMBlocks, func(der []byte) []byte { return concat(Block(der), Block(der)) }),
		wrap("certificate-behind", csr.ErrPEMBlocks, func(der []byte) []byte { return concat(Block(der), typed("CERTIFICATE")(der)) }),
		wrap("type-new", csr.ErrPEMType, typed("NEW CERTIFICATE REQUEST")),
		wrap("type-certificate", csr.ErrPEMType, typed("CERTIFICATE")),
		wrap("headers", csr.ErrPEMHeaders, func(der []byte) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Headers: map[string]string{"A": "b"}, Bytes: der})
		}),
	}
}

func derCases(keys Keys) []Case {
	return []Case{
		bad(keys, "der-empty", csr.ErrDER, Wrapped(func([]byte) []byte { return Block(nil) })),
		bad(keys, "der-trailing-byte", csr.ErrDER, Wrapped(func(der []byte) []byte { return Block(concat(der, "\x00")) })),
		bad(keys, "der-indefinite-length", csr.ErrDER, Wrapped(func(der []byte) []byte {
			var whole asn1.RawValue
			must(asn1.Unmarshal(der, &whole))
			return Block(concat([]byte{0x30, 0x80}, whole.Bytes, []byte{0, 0}))
		})),
		bad(keys, "der-length-not-minimal", csr.ErrDER, func(t *Template) { t.Subject = []byte{0x30, 0x81, 0x00} }),
		bad(keys, "der-cut-short", csr.ErrDER, Wrapped(func(der []byte) []byte { return Block(der[:len(der)-1]) })),
		bad(keys, "der-trailing-in-info", csr.ErrDER, func(t *Template) { t.AfterInfo = asn1.NullBytes }),
		bad(keys, "der-trailing-in-whole", csr.ErrDER, func(t *Template) { t.AfterSignature = asn1.NullBytes }),
		bad(keys, "der-trailing-in-san", csr.ErrDER, func(t *Template) {
			san := SAN(URI(ID))
			san.Value = concat(san.Value, asn1.NullBytes)
			t.Extensions = []pkix.Extension{san}
		}),
		bad(keys, "version-1", csr.ErrVersion, func(t *Template) { t.Version = 1 }),
		bad(keys, "version-negative", csr.ErrVersion, func(t *Template) { t.Version = -1 }),
	}
}

func subjectCases(keys Keys) []Case {
	return []Case{
		bad(keys, "subject-common-name", csr.ErrSubject, Subject(pkix.Name{CommonName: "example-app"})),
		bad(keys, "subject-organization", csr.ErrSubject, Subject(pkix.Name{Organization: []string{"system:masters"}})),
		bad(keys, "subject-organizational-unit", csr.ErrSubject, Subject(pkix.Name{OrganizationalUnit: []string{"admins"}})),
		bad(keys, "subject-serial-number", csr.ErrSubject, Subject(pkix.Name{SerialNumber: "1"})),
		bad(keys, "subject-country", csr.ErrSubject, Subject(pkix.Name{Country: []string{"DE"}})),
		bad(keys, "subject-uid", csr.ErrSubject, SubjectAttribute("root", 0, 9, 2342, 19200300, 100, 1, 1)),
		bad(keys, "subject-email", csr.ErrSubject, SubjectAttribute("root@example.org", 1, 2, 840, 113549, 1, 9, 1)),
		bad(keys, "subject-unknown-type", csr.ErrSubject, SubjectAttribute("x", 1, 3, 6, 1, 4, 1, 99999)),
		bad(keys, "subject-nothing-named", csr.ErrSubject, func(t *Template) { t.Subject = Sequence(Set()) }),
		bad(keys, "subject-not-a-name", csr.ErrSubject, func(t *Template) { t.Subject = Sequence(asn1.NullBytes) }),
	}
}

func keyCases(keys Keys) []Case {
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader)).Public()
	return []Case{
		bad(keys, "key-ecdsa-224", csr.ErrKey, PublicKey(p224())),
		bad(keys, "key-x25519", csr.ErrKey, PublicKey(must(x509.MarshalPKIXPublicKey(x25519)))),
		bad(keys, "key-rsa-1024", csr.ErrKey, PublicKey(rsaKey(1024, 65537))),
		bad(keys, "key-rsa-2047", csr.ErrKey, PublicKey(rsaKey(2047, 65537))),
		bad(keys, "key-rsa-8192", csr.ErrKey, PublicKey(rsaKey(8192, 65537))),
		bad(keys, "key-rsa-exponent-3", csr.ErrKey, PublicKey(rsaKey(2048, 3))),
		bad(keys, "key-rsa-exponent-2-31-minus-1", csr.ErrKey, PublicKey(rsaKey(2048, 1<<31-1))),
		bad(keys, "key-unknown-algorithm", csr.ErrKey, PublicKey(Sequence(Sequence(OID(1, 2, 3)), Element(0x03, []byte{0, 1})))),
		bad(keys, "key-trailing-element", csr.ErrKey, func(t *Template) {
			var body asn1.RawValue
			must(asn1.Unmarshal(t.PublicKey, &body))
			t.PublicKey = Sequence(body.Bytes, asn1.NullBytes)
		}),
	}
}

func signatureCases(keys Keys) []Case {
	rsaCase := func(name string, opts crypto.SignerOpts, identifier ...[]byte) Case {
		pem := Good(keys.ByName["rsa-2048"]).With(SignedWith(opts, identifier...)).PEM()
		return Case{Name: "bad-signature-" + name, PEM: pem, Want: []error{csr.ErrSignatureAlgorithm}}
	}
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	return []Case{
		bad(keys, "signature-bit-flipped", csr.ErrSignature, func(t *Template) { t.Spoil = true }),
		bad(keys, "signature-by-another-key", csr.ErrSignature, SignedBy(keys.Other)),
		bad(keys, "signature-by-another-kind-of-key", csr.ErrSignature, SignedBy(keys.ByName["ecdsa-521"])),
		bad(keys, "signature-ecdsa-sha1", csr.ErrSignatureAlgorithm, SignedWith(crypto.SHA1, OID(1, 2, 840, 10045, 4, 1))),
		bad(keys, "signature-ecdsa-parameters", csr.ErrSignatureAlgorithm,
			SignedWith(crypto.SHA256, OID(1, 2, 840, 10045, 4, 3, 2), asn1.NullBytes)),
		bad(keys, "signature-algorithm-of-another-key", csr.ErrSignatureAlgorithm, SignedWith(crypto.SHA256, OID(1, 3, 101, 112))),
		rsaCase("rsa-md5", crypto.MD5, OID(1, 2, 840, 113549, 1, 1, 4), asn1.NullBytes),
		rsaCase("rsa-sha1", crypto.SHA1, OID(1, 2, 840, 113549, 1, 1, 5), asn1.NullBytes),
		rsaCase("rsa-parameters", crypto.SHA256, OID(1, 2, 840, 113549, 1, 1, 11), Element(0x04, []byte("hidden"))),
		rsaCase("rsa-pss", pss, OID(1, 2, 840, 113549, 1, 1, 10), Sequence()),
	}
}

// concat joins strings and byte slices.
func concat(parts ...any) []byte {
	var joined []byte
	for _, part := range parts {
		joined = fmt.Appendf(joined, "%s", part)
	}
	return joined
}
