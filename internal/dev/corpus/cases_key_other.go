// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

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
