// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

const (
	rfc5480 = "RFC 5480, section 2.2"
	rfc8410 = "RFC 8410, section 3"
)

// key has sound keys of another kind or size than the policy's.
func (in maker) key() []Case {
	var cases []Case
	for name, key := range in.keys.ByName {
		if name == "ecdsa-256" {
			continue
		}
		c := in.csrBy(key, "key-"+name+"-instead", is(policy.ErrKey), "A sound key, but not the one that the policy demands: "+in.keys.Spec(name).String()+" and not ECDSA 256.", "")
		c.Key = csr.KeySpec{}
		cases = append(cases, c)
		c = in.csr("key-ecdsa-256-instead-of-"+name, is(policy.ErrKey), "A sound key, but the policy demands "+in.keys.Spec(name).String()+".", "")
		c.Key = in.keys.Spec(name)
		cases = append(cases, c)
	}
	p224 := csrtest.ECDSAKey("p224", elliptic.P224())
	return append(cases,
		in.csr("key-ecdsa-224", is(csr.ErrKey, policy.ErrKey), "P-224, a curve that no KeySpec has. The signature is good.", "NIST SP 800-57 part 1, section 5.6.1.1",
			csrtest.PublicKey(must(x509.MarshalPKIXPublicKey(p224.Public()))), csrtest.SignedBy(p224)),
	)
}

// keyForms are ECDSA and Ed25519 keys of the right size that are malformed, or
// written in an unusual way.
func (in maker) keyForms() []Case {
	point := must(in.keys.Main.Public().(*ecdsa.PublicKey).Bytes()) // 04, x, y
	p256 := elliptic.P256().Params()
	bit := func(name, why, source string, want []error, point []byte) Case {
		return in.csr("key-ecdsa-"+name, want, why, source, csrtest.PublicKey(spki(ecdsaID(), curveID(), point)))
	}
	odd := point[64] & 1
	edwards := func(name, why, source string, want []error, point, signature []byte) Case {
		c := in.csrBy(in.keys.ByName["ed25519"], "key-ed25519-"+name, want, why, source, csrtest.PublicKey(spki(ed25519ID(), nil, point)))
		if signature != nil {
			c.Spec.Request = csrtest.Good(in.keys.ByName["ed25519"]).With(csrtest.PublicKey(spki(ed25519ID(), nil, point)),
				csrtest.Signature(func([]byte) []byte { return signature })).PEM()
		}
		return c
	}
	neutral := append([]byte{1}, make([]byte, 31)...)
	zeroSignature := slices.Concat(neutral, make([]byte, 32))
	ed25519Key := must(x509.MarshalPKIXPublicKey(in.keys.ByName["ed25519"].Public()))[12:]
	return []Case{
		bit("not-on-curve", "A point that is not on the curve: what is computed with it may give away the private key.", "NIST SP 800-56A, section 5.6.2.3.3", is(csr.ErrKey), flipped(point)),
		bit("at-infinity", "The point at infinity, which is nobody's key.", "SEC 1, section 3.2.2.1", is(csr.ErrKey), []byte{0}),
		bit("origin", "The point (0, 0), which is not on the curve.", "SEC 1, section 3.2.2.1", is(csr.ErrKey), concat([]byte{4}, make([]byte, 64))),
		bit("coordinates-too-large", "Coordinates that are no elements of the field.", "SEC 1, section 2.3.6", is(csr.ErrKey), concat([]byte{4}, p256.P.Bytes(), p256.P.Bytes())),
		bit("compressed", "The same key with x and the sign of y alone: readers may take it, and crypto/x509 does not.", rfc5480, is(csr.ErrKey), concat([]byte{2 + odd}, point[1:33])),
		bit("hybrid", "The same key in the hybrid form, which must not be used.", rfc5480, is(csr.ErrKey), concat([]byte{6 + odd}, point[1:])),
		bit("empty", "No point at all.", rfc5480, is(csr.ErrKey), nil),
		bit("cut-short", "A point whose last byte is missing.", rfc5480, is(csr.ErrKey), point[:64]),
		bit("trailing-byte", "A byte behind the point.", rfc5480, is(csr.ErrKey), concat(point, "\x00")),
		in.csr("key-ecdsa-explicit-parameters", is(csr.ErrKey), "The curve's parameters are spelled out, which must not be used: they can be those of another curve (CVE-2020-0601).",
			"RFC 5480, section 2.1.1", csrtest.PublicKey(spki(ecdsaID(), explicitP256(), point))),
		in.csr("key-ecdsa-no-parameters", is(csr.ErrKey), "No curve is named.", "RFC 5480, section 2.1.1", csrtest.PublicKey(spki(ecdsaID(), nil, point))),
		in.csr("key-ecdsa-null-parameters", is(csr.ErrKey), "The curve is NULL, to be inherited from the issuer, which must not be used.", "RFC 5480, section 2.1.1", csrtest.PublicKey(spki(ecdsaID(), asn1.NullBytes, point))),
		in.csr("key-ecdsa-point-of-another-curve", is(csr.ErrKey), "The point is of P-384, the curve named is P-256.", rfc5480,
			csrtest.PublicKey(spki(ecdsaID(), curveID(), must(in.keys.ByName["ecdsa-384"].Public().(*ecdsa.PublicKey).Bytes())))),
		in.csr("key-ecdh", is(csr.ErrKey), "A key that is for key agreement only (id-ecDH).", "RFC 5480, section 2.1.2", csrtest.PublicKey(spki(csrtest.OID(1, 3, 132, 1, 12), curveID(), point))),
		in.csr("key-trailing-element", is(csr.ErrKey), "An element behind the key: crypto/x509 passes over it.", "RFC 5280, section 4.1", func(t *csrtest.Template) {
			t.PublicKey = csrtest.Sequence(contents(t.PublicKey), asn1.NullBytes)
		}),
		in.csr("key-unused-bits", is(csr.ErrKey), "A key that is said to end within a byte.", "RFC 5280, section 4.1", csrtest.PublicKey(
			csrtest.Sequence(csrtest.Sequence(ecdsaID(), curveID()), csrtest.Element(0x03, []byte{4}, point)))),
		edwards("cut-short", "31 bytes.", rfc8410, is(csr.ErrKey), ed25519Key[:31], nil),
		edwards("too-long", "33 bytes.", rfc8410, is(csr.ErrKey), concat(ed25519Key, "\x00"), nil),
		edwards("neutral-element", "The neutral element. One signature verifies for it with every message, so anybody holds this key; crypto/ed25519 accepts it.",
			"RFC 8032, section 8.4; FIPS 186-5, appendix B.1", is(csr.ErrKey), neutral, zeroSignature),
		edwards("order-2", "A point of order 2.", "FIPS 186-5, appendix B.1", is(csr.ErrKey), concat([]byte{0xec}, slices.Repeat([]byte{0xff}, 30), []byte{0x7f}), zeroSignature),
		edwards("order-4", "A point of order 4: y is 0.", "FIPS 186-5, appendix B.1", is(csr.ErrKey), make([]byte, 32), zeroSignature),
		edwards("order-8", "A point of order 8.", "FIPS 186-5, appendix B.1", is(csr.ErrKey), unhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), zeroSignature),
		edwards("not-canonical", "The neutral element, with y written as p + 1.", "RFC 8032, section 5.1.3", is(csr.ErrKey), concat([]byte{0xee}, slices.Repeat([]byte{0xff}, 30), []byte{0x7f}), zeroSignature),
		edwards("not-a-point", "32 bytes that are no point: nothing verifies with them.", "RFC 8032, section 5.1.3", is(csr.ErrSignature), append([]byte{2}, make([]byte, 31)...), nil),
		in.csrBy(in.keys.ByName["ed25519"], "key-ed25519-null-parameters", is(csr.ErrKey), "Parameters, which must be absent.", rfc8410, csrtest.PublicKey(spki(ed25519ID(), asn1.NullBytes, ed25519Key))),
	}
}

func flipped(point []byte) []byte {
	other := slices.Clone(point)
	other[len(other)-1] ^= 1
	return other
}
