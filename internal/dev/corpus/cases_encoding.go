// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bytes"
	"crypto"
	_ "crypto/md5" // for requests that are signed badly
	"crypto/rsa"
	_ "crypto/sha1" // likewise
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"slices"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

const pkcs10Text = "RFC 7468, section 7"

func (in maker) pem() []Case {
	wrap := func(name string, want error, why, source string, wrap func(der []byte) []byte) Case {
		return in.csr("pem-"+name, is(want), why, source, csrtest.Wrapped(wrap))
	}
	others := csrtest.Good(in.keys.Main).With(csrtest.Names(csrtest.URI(admin))).PEM()
	return []Case{
		in.spec("request-absent", is(csr.ErrPEM), "There is no PKCS #10 request.", "", func(spec *cmapi.CertificateRequestSpec) { spec.Request = nil }),
		wrap("empty", csr.ErrPEM, "White space only.", rfc7468, func([]byte) []byte { return []byte("\n") }),
		wrap("der-only", csr.ErrPEM, "The DER encoding, without the text around it.", rfc7468, func(der []byte) []byte { return der }),
		wrap("base64-only", csr.ErrPEM, "Base64 text without the lines around it.", rfc7468, func(der []byte) []byte {
			return []byte(base64.StdEncoding.EncodeToString(der))
		}),
		wrap("text-before", csr.ErrPEM, "Text before the block, which some readers skip and others show to people.", "RFC 7468, section 5.2", func(der []byte) []byte {
			return concat("subject=/CN=harmless\n", csrtest.Block(der))
		}),
		wrap("text-after", csr.ErrPEM, "A letter behind the block.", rfc7468, func(der []byte) []byte { return concat(csrtest.Block(der), "x") }),
		wrap("nul-after", csr.ErrPEM, "A NUL behind the block, where C's strings end.", rfc7468, func(der []byte) []byte { return concat(csrtest.Block(der), "\x00") }),
		wrap("byte-order-mark", csr.ErrPEM, "A byte order mark before the block.", rfc7468, func(der []byte) []byte { return concat("\ufeff", csrtest.Block(der)) }),
		wrap("space-within", csr.ErrPEM, "A space within the base64 text.", "RFC 7468, section 3", func(der []byte) []byte {
			return bytes.Replace(csrtest.Block(der), []byte("-----\nM"), []byte("-----\n M"), 1)
		}),
		wrap("base64-url", csr.ErrPEM, "The other base64 alphabet, for URLs.", "RFC 4648, section 4", func(der []byte) []byte {
			first, rest, _ := bytes.Cut(csrtest.Block(der), []byte("\n"))
			rest, last, _ := bytes.Cut(rest, []byte("-----END"))
			rest = bytes.ReplaceAll(bytes.ReplaceAll(rest, []byte("+"), []byte("-")), []byte("/"), []byte("_"))
			return concat(first, "\n", rest, "-----END", last)
		}),
		in.csrBy(in.keys.ByName["ed25519"], "pem-base64-spare-bits", is(csr.ErrPEM), "The last character has bits set that no byte takes up: the same request, written in another way.", "RFC 4648, section 3.5", csrtest.Wrapped(spareBits)),
		wrap("dashes-unicode", csr.ErrPEM, "Dashes that look like hyphens.", rfc7468, func(der []byte) []byte {
			return bytes.ReplaceAll(csrtest.Block(der), []byte("-"), []byte("\u2010"))
		}),
		wrap("end-of-another-type", csr.ErrPEM, "The block ends as one of another type.", rfc7468, func(der []byte) []byte {
			return bytes.Replace(csrtest.Block(der), []byte("END CERTIFICATE REQUEST"), []byte("END CERTIFICATE"), 1)
		}),
		wrap("unfinished-block-before", csr.ErrPEM, "A first line without the rest, before the block: readers differ in what they make of it.", rfc7468, func(der []byte) []byte {
			return concat("-----BEGIN CERTIFICATE REQUEST-----\n", csrtest.Block(der))
		}),
		wrap("cut-short", csr.ErrPEM, "The last lines are missing.", rfc7468, func(der []byte) []byte { return csrtest.Block(der)[:200] }),
		wrap("too-large", csr.ErrTooLarge, "One byte more than is looked at. cert-manager reads little more.", "cert-manager v1.20, internal/pem", func(der []byte) []byte {
			block := csrtest.Block(der)
			return concat(block, bytes.Repeat([]byte("\n"), csr.MaxSize+1-len(block)))
		}),
		wrap("too-large-contents", csr.ErrTooLarge, "A block of 100 KB: whoever reads on pays for it.", "cert-manager v1.20, internal/pem", func([]byte) []byte {
			return csrtest.Block(make([]byte, 100<<10))
		}),
		wrap("two-blocks", csr.ErrPEMBlocks, "The same block twice.", pkcs10Text, func(der []byte) []byte { return concat(csrtest.Block(der), csrtest.Block(der)) }),
		wrap("two-blocks-second-for-another", csr.ErrPEMBlocks, "A good request, and behind it one for somebody else's ID: readers differ in which they take.", pkcs10Text,
			func(der []byte) []byte { return concat(csrtest.Block(der), others) }),
		wrap("two-blocks-first-for-another", csr.ErrPEMBlocks, "A request for somebody else's ID, and behind it a good one.", pkcs10Text,
			func(der []byte) []byte { return concat(others, csrtest.Block(der)) }),
		wrap("certificate-behind", csr.ErrPEMBlocks, "A block of another type behind the request.", pkcs10Text, func(der []byte) []byte {
			return concat(csrtest.Block(der), typed("CERTIFICATE")(der))
		}),
		wrap("type-new", csr.ErrPEMType, "The type that old programs write. Readers may take it; writers must not make it.", pkcs10Text, typed("NEW CERTIFICATE REQUEST")),
		wrap("type-certificate", csr.ErrPEMType, "A request that is called a certificate.", pkcs10Text, typed("CERTIFICATE")),
		wrap("type-private-key", csr.ErrPEMType, "A request that is called a private key.", pkcs10Text, typed("PRIVATE KEY")),
		wrap("type-lower-case", csr.ErrPEMType, "The type in lower case.", rfc7468, typed("certificate request")),
		wrap("type-empty", csr.ErrPEMType, "A block without type.", rfc7468, typed("")),
		wrap("headers", csr.ErrPEMHeaders, "A header within the block, where nothing of today has any.", rfc7468, withHeaders("Comment", "harmless")),
		wrap("headers-encrypted", csr.ErrPEMHeaders, "The header of RFC 1421 that says the contents are encrypted.", rfc7468, withHeaders("Proc-Type", "4,ENCRYPTED")),
	}
}

func withHeaders(key, value string) func([]byte) []byte {
	return func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Headers: map[string]string{key: value}, Bytes: der})
	}
}

// spareBits changes the last character before the padding, whose lower bits
// stand for nothing.
func spareBits(der []byte) []byte {
	text, end, padded := bytes.Cut(csrtest.Block(der), []byte("=\n-----END"))
	if !padded {
		panic("corpus: this request has a length that leaves no bits to spare")
	}
	before, pad := bytes.TrimRight(text, "="), text[len(bytes.TrimRight(text, "=")):]
	before[len(before)-1]++
	return concat(before, pad, "=\n-----END", end)
}

const (
	pkcs10     = "RFC 2986, section 4.2"
	pkcs10Info = "RFC 2986, section 4.1"
	derLength  = "X.690, section 10.1"
)

func (in maker) der() []Case {
	wrap := func(name, why, source string, wrap func(der []byte) []byte) Case {
		return in.csr("der-"+name, is(csr.ErrDER), why, source, csrtest.Wrapped(func(der []byte) []byte { return csrtest.Block(wrap(der)) }))
	}
	change := func(name, why, source string, change csrtest.Mutation) Case {
		return in.csr("der-"+name, is(csr.ErrDER), why, source, change)
	}
	return []Case{
		wrap("empty", "Nothing in the block.", pkcs10, func([]byte) []byte { return nil }),
		wrap("garbage", "Text in the block.", pkcs10, func([]byte) []byte { return []byte("this is no request") }),
		wrap("trailing-byte", "A byte behind the request, within the block.", pkcs10, func(der []byte) []byte { return concat(der, "\x00") }),
		wrap("trailing-request", "A second request behind the first, within the block.", pkcs10, func(der []byte) []byte { return concat(der, der) }),
		wrap("cut-short", "The last byte is missing.", pkcs10, func(der []byte) []byte { return der[:len(der)-1] }),
		wrap("indefinite-length", "BER's indefinite length, which DER does not have.", derLength, func(der []byte) []byte {
			return concat([]byte{0x30, 0x80}, contents(der), []byte{0, 0})
		}),
		wrap("length-not-minimal", "A length in more bytes than it needs.", derLength, func(der []byte) []byte {
			body := contents(der)
			return concat([]byte{0x30, 0x84, 0, 0, byte(len(body) >> 8), byte(len(body))}, body)
		}),
		wrap("length-of-four-gigabytes", "A length far beyond the end.", derLength, func(der []byte) []byte {
			return concat([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, contents(der))
		}),
		wrap("nested-deep", "Nothing but sequences within sequences: whoever descends runs out of stack.", pkcs10, nested),
		wrap("set-not-sequence", "A set where the request is a sequence.", pkcs10, func(der []byte) []byte { return concat([]byte{0x31}, der[1:]) }),
		change("subject-length-not-minimal", "An empty subject whose length is written in two bytes.", derLength, func(t *csrtest.Template) { t.Subject = []byte{0x30, 0x81, 0x00} }),
		change("subject-indefinite-length", "An empty subject of indefinite length.", derLength, func(t *csrtest.Template) { t.Subject = []byte{0x30, 0x80, 0, 0} }),
		change("subject-absent", "The subject is left out.", pkcs10Info, func(t *csrtest.Template) { t.Subject = nil }),
		change("subject-set", "A set where the subject is a sequence.", pkcs10Info, func(t *csrtest.Template) { t.Subject = csrtest.Set() }),
		change("key-absent", "The public key is left out.", pkcs10Info, func(t *csrtest.Template) { t.PublicKey = nil }),
		change("trailing-in-info", "An element behind the attributes: crypto/x509 passes over it.", pkcs10Info, func(t *csrtest.Template) { t.AfterInfo = asn1.NullBytes }),
		change("trailing-attributes", "A second list of attributes behind the first, with somebody else's ID.", pkcs10Info, func(t *csrtest.Template) {
			t.AfterInfo = csrtest.Element(0xa0, csrtest.ExtensionRequest([]pkix.Extension{csrtest.SAN(csrtest.URI(admin))}))
		}),
		change("trailing-in-whole", "An element behind the signature.", pkcs10, func(t *csrtest.Template) { t.AfterSignature = asn1.NullBytes }),
		in.csr("version-1", is(csr.ErrVersion), "Version 1, which is not defined.", pkcs10Info, func(t *csrtest.Template) { t.Version = 1 }),
		in.csr("version-2", is(csr.ErrVersion), "Version 2, that of X.509 certificates.", pkcs10Info, func(t *csrtest.Template) { t.Version = 2 }),
		in.csr("version-negative", is(csr.ErrVersion), "Version -1.", pkcs10Info, func(t *csrtest.Template) { t.Version = -1 }),
		in.reshaped("der-version-not-minimal", is(csr.ErrDER), "Version 0 in two bytes.", "X.690, section 8.3.2", func(info [][]byte) [][]byte {
			info[0] = []byte{0x02, 0x02, 0, 0}
			return info
		}),
		in.reshaped("der-version-absent", is(csr.ErrDER), "The version is left out.", pkcs10Info, func(info [][]byte) [][]byte { return info[1:] }),
		in.reshaped("der-attributes-absent", is(csr.ErrDER), "The attributes are left out, even their empty list.", pkcs10Info, func(info [][]byte) [][]byte { return info[:3] }),
		in.reshaped("der-attributes-tag-1", is(csr.ErrDER), "The attributes are tagged [1] and not [0].", pkcs10Info, func(info [][]byte) [][]byte {
			info[3][0] = 0xa1
			return info
		}),
		in.reshaped("der-attributes-primitive", is(csr.ErrDER), "The attributes' tag says that they are no structure.", pkcs10Info, func(info [][]byte) [][]byte {
			info[3][0] = 0x80
			return info
		}),
		in.reshaped("subject-and-key-swapped", is(csr.ErrSubject, csr.ErrKey), "Public key and subject have changed places.", pkcs10Info, func(info [][]byte) [][]byte {
			info[1], info[2] = info[2], info[1]
			return info
		}),
	}
}

// reshaped makes a case whose signed part is put together in another way, and
// signed again.
func (in maker) reshaped(name string, want []error, why, source string, reshape func(info [][]byte) [][]byte) Case {
	return in.csr(name, want, why, source, csrtest.Reshaped(reshape))
}

// contents returns what is in an element.
func contents(der []byte) []byte {
	var element asn1.RawValue
	must(asn1.Unmarshal(der, &element))
	return element.Bytes
}

func nested([]byte) []byte {
	der := bytes.Repeat([]byte{0x30, 0x80}, 4000)
	return append(der, bytes.Repeat([]byte{0, 0}, 4000)...)
}

const (
	proof    = "RFC 2986, section 3, and section 4.2, note 2"
	brokenBy = "RFC 9155, section 2; NIST SP 800-131A, section 9"
)

// signature has algorithms that are not allowed.
func (in maker) signature() []Case {
	wrong := is(csr.ErrSignatureAlgorithm)
	ec := func(name, why, source string, opts crypto.SignerOpts, identifier ...[]byte) Case {
		return in.csr("signature-"+name, wrong, why, source, csrtest.SignedWith(opts, identifier...))
	}
	rs := func(name, why, source string, opts crypto.SignerOpts, identifier ...[]byte) Case {
		return in.csrBy(in.keys.ByName["rsa-2048"], "signature-rsa-"+name, wrong, why, source, csrtest.SignedWith(opts, identifier...))
	}
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	sha256 := csrtest.OID(1, 2, 840, 10045, 4, 3, 2)
	return []Case{
		ec("ecdsa-sha1", "A digest with collisions: what is signed can be exchanged.", brokenBy, crypto.SHA1, csrtest.OID(1, 2, 840, 10045, 4, 1)),
		ec("ecdsa-sha224", "A digest shorter than any that is allowed.", "RFC 5758, section 3.2", crypto.SHA224, csrtest.OID(1, 2, 840, 10045, 4, 3, 1)),
		ec("ecdsa-sha3", "SHA-3, which cert-manager's library cannot verify.", "RFC 9688", crypto.SHA256, csrtest.OID(2, 16, 840, 1, 101, 3, 4, 3, 10)),
		ec("ecdsa-parameters", "Parameters, which must be absent.", "RFC 5758, section 3.2", crypto.SHA256, sha256, asn1.NullBytes),
		ec("algorithm-of-another-key", "Ed25519 is named; the key is ECDSA.", proof, crypto.SHA256, csrtest.OID(1, 3, 101, 112)),
		ec("algorithm-rsa-with-ecdsa-key", "RSA is named; the key is ECDSA.", proof, crypto.SHA256, csrtest.OID(1, 2, 840, 113549, 1, 1, 11), asn1.NullBytes),
		ec("algorithm-none", "An algorithm that stands for no signature (id-alg-noSignature).", "RFC 5272, section 3.3", crypto.SHA256, csrtest.OID(1, 3, 6, 1, 5, 5, 7, 6, 2)),
		ec("algorithm-unknown", "An algorithm that nobody knows.", proof, crypto.SHA256, csrtest.OID(1, 2, 3)),
		ec("algorithm-empty", "No algorithm is named.", proof, crypto.SHA256),
		rs("md5", "A digest with collisions.", brokenBy, crypto.MD5, csrtest.OID(1, 2, 840, 113549, 1, 1, 4), asn1.NullBytes),
		rs("sha1", "A digest with collisions.", brokenBy, crypto.SHA1, csrtest.OID(1, 2, 840, 113549, 1, 1, 5), asn1.NullBytes),
		rs("sha224", "A digest shorter than any that is allowed.", "RFC 8017, appendix A.2.4", crypto.SHA224, csrtest.OID(1, 2, 840, 113549, 1, 1, 14), asn1.NullBytes),
		rs("parameters", "Text in the place of the parameters, which must be NULL.", "RFC 8017, appendix A.2.4", crypto.SHA256, csrtest.OID(1, 2, 840, 113549, 1, 1, 11), csrtest.Element(0x04, []byte("hidden"))),
		rs("no-parameters", "The parameters are left out and must be NULL.", "RFC 8017, appendix A.2.4", crypto.SHA256, csrtest.OID(1, 2, 840, 113549, 1, 1, 11)),
		rs("pss", "RSA-PSS, which nothing that makes requests here uses.", "RFC 4055, section 3.1", pss, csrtest.OID(1, 2, 840, 113549, 1, 1, 10), csrtest.Sequence()),
	}
}

// signatureForms has signatures that do not verify, of an allowed algorithm.
func (in maker) signatureForms() []Case {
	bad := func(name, why, source string, changes ...csrtest.Mutation) Case {
		return in.csr("signature-"+name, is(csr.ErrSignature), why, source, changes...)
	}
	bits := func(name, why, source string, change func([]byte) []byte) Case {
		return bad(name, why, source, csrtest.Signature(change))
	}
	one := must(asn1.Marshal(1))
	return []Case{
		bad("bit-flipped", "One bit of the signature is another.", proof, func(t *csrtest.Template) { t.Spoil = true }),
		bad("by-another-key", "Signed by a key that is not the one to be certified: the requester need not have that.", proof, csrtest.SignedBy(in.keys.Other)),
		bad("by-another-kind-of-key", "Signed by a key of another curve.", proof, csrtest.SignedBy(in.keys.ByName["ecdsa-521"])),
		in.csr("signature-of-other-contents", is(csr.ErrSignature, policy.ErrIdentity), "The ID was exchanged after signing.", proof, csrtest.Wrapped(func(der []byte) []byte {
			return csrtest.Block(bytes.Replace(der, []byte("/sa/example-app"), []byte("/sa/example-aqq"), 1))
		})),
		bits("empty", "No signature.", proof, func([]byte) []byte { return nil }),
		bits("zeros", "Both numbers of the signature are 0, which a careless reader takes for good (CVE-2022-21449).", "FIPS 186-5, section 6.4.2", func([]byte) []byte {
			return csrtest.Sequence([]byte{2, 1, 0}, []byte{2, 1, 0})
		}),
		bits("ones", "Both numbers of the signature are 1.", "FIPS 186-5, section 6.4.2", func([]byte) []byte { return csrtest.Sequence(one, one) }),
		bits("trailing-byte", "A byte behind the signature, within the bit string.", "RFC 3279, section 2.2.3", func(signature []byte) []byte { return append(signature, 0) }),
		bits("trailing-number", "A third number in the signature.", "RFC 3279, section 2.2.3", func(signature []byte) []byte { return csrtest.Sequence(contents(signature), one) }),
		bits("length-not-minimal", "The signature in BER.", "RFC 3279, section 2.2.3", func(signature []byte) []byte {
			return concat([]byte{0x30, 0x81, byte(len(signature) - 2)}, signature[2:])
		}),
		in.csr("der-signature-unused-bits", is(csr.ErrDER), "A signature that is said to end within a byte.", pkcs10, csrtest.SignatureElement(func(bitString []byte) []byte {
			return concat([]byte{3, bitString[1], 1}, bitString[3:])
		})),
		in.csr("der-signature-octet-string", is(csr.ErrDER), "A signature that is an octet string.", pkcs10, csrtest.SignatureElement(func(bitString []byte) []byte {
			return concat([]byte{4}, bitString[1:])
		})),
		in.csrBy(in.keys.ByName["rsa-2048"], "signature-rsa-leading-zero", is(csr.ErrSignature), "A signature of one byte more than the modulus has.", "RFC 8017, section 8.2.2",
			csrtest.Signature(func(signature []byte) []byte { return concat("\x00", signature) })),
		in.csrBy(in.keys.ByName["ed25519"], "signature-ed25519-malleable", is(csr.ErrSignature), "The group's order is added to S: another text of the same signature.", "RFC 8032, section 5.1.7",
			csrtest.Signature(addOrder)),
	}
}

// addOrder adds the order of the group of Ed25519 to S, the second half of a
// signature, in little-endian order.
func addOrder(signature []byte) []byte {
	order := unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	sum, carry := slices.Clone(signature), 0
	for i, b := range order {
		carry += int(sum[32+i]) + int(b)
		sum[32+i] = byte(carry)
		carry >>= 8
	}
	return sum
}
