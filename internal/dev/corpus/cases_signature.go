// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bytes"
	"crypto"
	_ "crypto/md5" // for requests that are signed badly
	"crypto/rsa"
	_ "crypto/sha1" // likewise
	"encoding/asn1"
	"slices"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

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
