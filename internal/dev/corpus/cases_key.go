// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strconv"

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

const (
	rfc3279Key = "RFC 3279, section 2.3.1"
	fips186    = "FIPS 186-5, section 5.1"
)

// keyRSA has RSA keys that no KeySpec allows. Where only the size is in
// question, moduli are made up: nobody has the private key, nor needs it,
// because readers must refuse such a key before they try the signature. The
// policy demands RSA 2048.
func (in maker) keyRSA() []Case {
	good := in.keys.ByName["rsa-2048"].Public().(*rsa.PublicKey)
	with := func(name, why, source string, want []error, key []byte) Case {
		return in.csrBy(in.keys.ByName["rsa-2048"], "key-rsa-"+name, want, why, source, csrtest.PublicKey(key))
	}
	var cases []Case
	for _, bits := range []int{512, 1024, 2040, 2047, 2049, 2056, 8192, 16384} {
		key := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: csrtest.Odd("modulus", bits), E: 65537}))
		cases = append(cases, with(strconv.Itoa(bits), fmt.Sprintf("A modulus of %d bits: sizes are 2048, 3072 and 4096.", bits), fips186, is(csr.ErrKey, policy.ErrKey), key))
	}
	for _, exponent := range []int{3, 17, 65539, 1<<31 - 1} {
		key := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: good.N, E: exponent}))
		cases = append(cases, with(fmt.Sprintf("exponent-%d", exponent), "An unusual public exponent.", "FIPS 186-5, section 5.4", is(csr.ErrKey), key))
	}
	even := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).Sub(good.N, big.NewInt(1)), E: 65537}))
	multiple := new(big.Int).Mul(csrtest.Odd("factor", 2046), big.NewInt(3)) // of 2048 bits
	return append(cases,
		with("exponent-1", "Exponent 1, with which a signature is the message: anybody can sign.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(1))),
		with("exponent-2", "An even exponent.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(2))),
		with("exponent-0", "Exponent 0.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(0))),
		with("exponent-negative", "A negative exponent.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(-65537))),
		with("exponent-of-33-bits", "2^32+1, which is another number where integers have 32 bits.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(1<<32+1))),
		with("exponent-of-256-bits", "An exponent as long as a digest.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, csrtest.Odd("exponent", 256))),
		with("modulus-even", "An even modulus: one of its factors is 2.", fips186, is(csr.ErrKey), even),
		with("modulus-divisible-by-3", "A modulus with a factor of 3: anybody can work out the private key.", "NIST SP 800-89, section 5.3.3", is(csr.ErrKey),
			must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: multiple, E: 65537}))),
		with("modulus-zero", "Modulus 0.", fips186, is(csr.ErrKey), rawRSA(big.NewInt(0), big.NewInt(65537))),
		with("modulus-negative", "A negative modulus.", fips186, is(csr.ErrKey), rawRSA(new(big.Int).Neg(good.N), big.NewInt(65537))),
		with("modulus-not-minimal", "A modulus with a zero byte more than it needs.", "X.690, section 8.3.2", is(csr.ErrKey), spki(rsaID(1), asn1.NullBytes,
			csrtest.Sequence(csrtest.Element(0x02, []byte{0, 0}, good.N.Bytes()), must(asn1.Marshal(65537))))),
		with("no-parameters", "The parameters are left out and must be NULL.", rfc3279Key, is(csr.ErrKey), spki(rsaID(1), nil, x509.MarshalPKCS1PublicKey(good))),
		with("hidden-parameters", "Text in the place of the parameters, which must be NULL.", rfc3279Key, is(csr.ErrKey),
			spki(rsaID(1), csrtest.Element(0x04, []byte("hidden")), x509.MarshalPKCS1PublicKey(good))),
		with("trailing-element", "A third number behind modulus and exponent.", rfc3279Key, is(csr.ErrKey), spki(rsaID(1), asn1.NullBytes,
			csrtest.Sequence(must(asn1.Marshal(good.N)), must(asn1.Marshal(65537)), must(asn1.Marshal(1))))),
		with("pss", "A key that is for RSA-PSS only (id-RSASSA-PSS): readers differ in whether they know it.", "RFC 4055, section 1.2", is(csr.ErrKey),
			spki(rsaID(10), nil, x509.MarshalPKCS1PublicKey(good))),
		with("pss-parameters", "A key that is for RSA-PSS with SHA-1.", "RFC 4055, section 3.1", is(csr.ErrKey), spki(rsaID(10), csrtest.Sequence(), x509.MarshalPKCS1PublicKey(good))),
		with("oaep", "A key that is for encryption only (id-RSAES-OAEP).", "RFC 4055, section 4", is(csr.ErrKey), spki(rsaID(7), csrtest.Sequence(), x509.MarshalPKCS1PublicKey(good))),
	)
}

func rsaID(last int) []byte { return csrtest.OID(1, 2, 840, 113549, 1, 1, last) }

// rawRSA encodes keys that crypto/rsa has no value for.
func rawRSA(modulus, exponent *big.Int) []byte {
	return spki(rsaID(1), asn1.NullBytes, csrtest.Sequence(must(asn1.Marshal(modulus)), must(asn1.Marshal(exponent))))
}

// otherKeys are real keys that Go's crypto does not make, as openssl does with
// "openssl genpkey … | openssl pkey -pubout". The private keys were thrown away:
// readers must refuse such a key before they try the signature.
const (
	keyP192      = "MEkwEwYHKoZIzj0CAQYIKoZIzj0DAQEDMgAEq3swEFrFf7jtM8IZcEuAVnS3a3GkWK6QxVAFROUlBw2rniI5YBntZFPrkt7xzKc4"
	keySecp256k1 = "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEgSOISCy6o976zeT9TSdmryZUimhUTTP+xDEfSuVmiXaF+lV4Mncseky3qc6ITcanXjqCYugA2kGC4ZRVywxv2A=="
	keyBrainpool = "MFowFAYHKoZIzj0CAQYJKyQDAwIIAQEHA0IABIxciIT5WJZLfcQPTOkSXzfitFY3T3tyHU4sAjtmr5GEqGpnkhRogMeVHX5wv6xT0hRWbKP+uMjVVmF1PWLVjCE="
	keyBrain384  = "MHowFAYHKoZIzj0CAQYJKyQDAwIIAQELA2IABCxOAYSfjpoV+BEN9dB7jHSqPURwBcdlzj5QgRBSq9P4jCXVufr2SASCqS69oyorVmtYtiYLb/r2taB8UoZy8OSYdkBaH5zcXYlQT/fZz6rVIGvsEwmb+Mh+M8Y31LmXkQ=="
	keyBrain512  = "MIGbMBQGByqGSM49AgEGCSskAwMCCAEBDQOBggAERMAf/1MQXg28FUZSTndErNq5KvzbS2kTWV+fHO4+ivxxg/56xBb5mzw3Kylk1+VZPvVNriF3B07PKDw9VRSdg4zjVLVMMDNclwk3f5y/ec0yLEyRzMNV0ap8aLEyT/6vVwOJY9StWjbIA697iO6zO+gmkV+azxzWvBtAscgNcHg="
	keySect283r1 = "MF4wEAYHKoZIzj0CAQYFK4EEABEDSgAEATvhQuhH8C+EBt+NXv0JPwcUWnIdhEd6sxTyq9Jp0UEihIGoAfiqoXqO2aMDo0F645v5cWGA3kgTVd1Dt3nLzfJM83+CqB0M"
	keySM2       = "MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAE+de5I5xzEQS12OrUroKKjkchBSdtewgyQxPd7RLnVPBtRlEkaTEFR5d3RwLtsxAoX2TjiKEhPPLaVAtdHyerLw=="
	keyX448      = "MEIwBQYDK2VvAzkAbtd7fNI7pzTXV6yifR33m6OnpsdhoLHkFx6FoP9pDPGKJ9WPNynVD2/qi1Q8QfsNQ9kMrgVq/6w="
	keyEd448     = "MEMwBQYDK2VxAzoAbhqHwWtQ0amV8EJBkNtZV7D0bvG9uuB9rqkyjVKTBAUGMDAbsErX2C516pQkC9GCd1aGZO9VZjqA"
	keyX25519    = "MCowBQYDK2VuAyEANMlBFOV4fiu7FkLENSEw5R+pOcZYSK5kBlB4e4K75wc="
	keyDSA       = "MIIBwDCCATQGByqGSM44BAEwggEnAoGBAN0NpMiLzfYD/GA5YxjoVXUox49GZPRF9sCLA8Ld2aP10RpQCyZbRJ40d+cMbmYXZlBzYQ1/tVZ4JhD7oJW3P1AMqKTtSrg8iM4b7WINQCDfUX54pfYoQ0GuGe/63BilZlAaJU2lcNT+3F+IeMQOt06aFrlrTAEcLeimudAEVjabAh0A4cKHcWHU0Z1V/iY92ywfWaGXF4vLS5Fxm6kvdQKBgQDGJDGy8Yr7zaDKfy1U++x0S7P8SYVbUOzQ1ayZfqOfifPVC7IXdeTiAi136osr8jGgUSZecHUORPk5+ZVB0z837tfIfCGvgoZgR4re8l8yRAFfzVdH964xesh+0nrtqaFrO9w/m4yZ3pyfHOeo9rNnUUkJsFrY6YfYeaR2dMyecAOBhQACgYEAqwKPSQ17oV9p+/zUdQOMtDEPsMJfEOpOZDZRN8Phx4j0Bn5HvOtP0MJ2nm2xUMA/06pWHmjvajwocWUNCB7bqkNR165kazp7ZOD/4FyExhQCFI4ZWs15GGGMEK1bMIyxLzZT9yfds9qgKMp4T/lyVRWsboiJFA5u9BvxGLq1vhI="
)

// keyOfOtherKind has keys of kinds and curves that no KeySpec has. Where
// crypto/x509 knows the kind, that it is not the policy's is said as well.
func (in maker) keyOfOtherKind() []Case {
	other := func(name, why, source, key string, want ...error) Case {
		return in.csr("key-"+name, want, why, source, csrtest.PublicKey(must(base64.StdEncoding.DecodeString(key))))
	}
	mldsa := csrtest.Sequence(csrtest.Sequence(csrtest.OID(2, 16, 840, 1, 101, 3, 4, 3, 17)), csrtest.Element(0x03, []byte{0}, csrtest.Bytes("ml-dsa-44", 1312)))
	return []Case{
		other("ecdsa-192", "P-192, too small.", "NIST SP 800-57 part 1, section 5.6.1.1", keyP192, csr.ErrKey),
		other("ecdsa-secp256k1", "secp256k1, as long as P-256 and another curve.", "", keySecp256k1, csr.ErrKey),
		other("ecdsa-brainpool-256", "brainpoolP256r1, as long as P-256 and another curve.", "RFC 5639", keyBrainpool, csr.ErrKey),
		other("ecdsa-brainpool-384", "brainpoolP384r1.", "RFC 5639", keyBrain384, csr.ErrKey),
		other("ecdsa-brainpool-512", "brainpoolP512r1.", "RFC 5639", keyBrain512, csr.ErrKey),
		other("ecdsa-sect283r1", "A curve over a binary field, B-283.", "", keySect283r1, csr.ErrKey),
		other("sm2", "SM2, as long as P-256 and another curve.", "", keySM2, csr.ErrKey),
		other("x25519", "A key that is for key agreement only, and cannot sign.", "RFC 8410, section 5", keyX25519, csr.ErrKey, policy.ErrKey),
		other("x448", "A key that is for key agreement only, and cannot sign.", "RFC 8410, section 5", keyX448, csr.ErrKey),
		other("ed448", "Ed448, which no KeySpec has.", rfc8410, keyEd448, csr.ErrKey),
		other("dsa", "DSA, no longer approved for signing.", "FIPS 186-5, section 1", keyDSA, csr.ErrKey, policy.ErrKey),
		in.csr("key-ml-dsa-44", is(csr.ErrKey), "ML-DSA-44, which no KeySpec has yet.", "RFC 9881", csrtest.PublicKey(mldsa)),
		in.csr("key-unknown-algorithm", is(csr.ErrKey), "An algorithm that nobody knows.", "", csrtest.PublicKey(
			csrtest.Sequence(csrtest.Sequence(csrtest.OID(1, 2, 3)), csrtest.Element(0x03, []byte{0, 1})))),
	}
}

func ecdsaID() []byte   { return csrtest.OID(1, 2, 840, 10045, 2, 1) }
func curveID() []byte   { return csrtest.OID(1, 2, 840, 10045, 3, 1, 7) }
func ed25519ID() []byte { return csrtest.OID(1, 3, 101, 112) }

// spki encodes a SubjectPublicKeyInfo (RFC 5280, section 4.1).
func spki(algorithm, parameters, key []byte) []byte {
	return csrtest.Sequence(csrtest.Sequence(algorithm, parameters), csrtest.Element(0x03, []byte{0}, key))
}

// explicitP256 encodes the parameters of P-256 as ECParameters (RFC 3279,
// section 2.3.5).
func explicitP256() []byte {
	curve := elliptic.P256().Params()
	a := new(big.Int).Sub(curve.P, big.NewInt(3))
	return csrtest.Sequence(
		must(asn1.Marshal(1)),
		csrtest.Sequence(csrtest.OID(1, 2, 840, 10045, 1, 1), must(asn1.Marshal(curve.P))),
		csrtest.Sequence(csrtest.Element(0x04, a.Bytes()), csrtest.Element(0x04, curve.B.Bytes())),
		csrtest.Element(0x04, []byte{4}, curve.Gx.Bytes(), curve.Gy.Bytes()),
		must(asn1.Marshal(curve.N)), must(asn1.Marshal(1)),
	)
}

func unhex(text string) []byte { return must(hex.DecodeString(text)) }
