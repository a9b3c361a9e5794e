// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"filippo.io/edwards25519"
)

// ErrKey is wrapped when a key, or the specification of one, is none that an
// SVID may have: see [KeySpec].
var ErrKey = errors.New("unsupported key")

// Algorithm is a kind of key, spelled as cert-manager's PrivateKeyAlgorithm is.
type Algorithm string

// The supported algorithms.
const (
	ECDSA   Algorithm = "ECDSA"
	RSA     Algorithm = "RSA"
	Ed25519 Algorithm = "Ed25519"
)

// KeySpec says which key an SVID has. Values are comparable.
type KeySpec struct {
	// Algorithm is ECDSA, RSA or Ed25519.
	Algorithm Algorithm
	// Size is in bits: for ECDSA 256, 384 or 521, naming the NIST curve; for
	// RSA 2048, 3072 or 4096, the length of the modulus; for Ed25519, which
	// has but one size, 0.
	Size int
}

// KeySpecs returns every KeySpec there is, the default (ECDSA 521) first.
func KeySpecs() []KeySpec {
	return []KeySpec{
		{ECDSA, 521},
		{ECDSA, 384},
		{ECDSA, 256},
		{RSA, 2048},
		{RSA, 3072},
		{RSA, 4096},
		{Ed25519, 0},
	}
}

// KeySpecOf describes a public key. The result need not be valid: a key of 1024
// bits gives {RSA, 1024}, and a key of an unknown kind gives the zero value.
func KeySpecOf(pub crypto.PublicKey) KeySpec {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		return KeySpec{ECDSA, key.Curve.Params().BitSize}
	case *rsa.PublicKey:
		return KeySpec{RSA, key.N.BitLen()}
	case ed25519.PublicKey:
		return KeySpec{Ed25519, 0}
	default:
		return KeySpec{}
	}
}

// Validate returns nil for the members of [KeySpecs]. For all else it returns
// an error that wraps [ErrKey] and says what is allowed.
func (k KeySpec) Validate() error {
	var sizes string
	switch k.Algorithm {
	case ECDSA:
		sizes = "256, 384 or 521"
	case RSA:
		sizes = "2048, 3072 or 4096"
	case Ed25519:
		sizes = "0: its keys have but one size"
	default:
		return fmt.Errorf("%w: algorithm %+.32q, must be ECDSA, RSA or Ed25519", ErrKey, string(k.Algorithm))
	}
	for _, known := range KeySpecs() {
		if k == known {
			return nil
		}
	}
	return fmt.Errorf("%w: size %d, must for %s be %s", ErrKey, k.Size, k.Algorithm, sizes)
}

// String returns "ECDSA 521", "RSA 2048", "Ed25519" and the like.
func (k KeySpec) String() string {
	switch {
	case k.Algorithm == "":
		return "unknown"
	case k.Size == 0:
		return string(k.Algorithm)
	default:
		return fmt.Sprintf("%s %d", string(k.Algorithm), k.Size)
	}
}

// Generate makes a new private key from the system's random source: an
// *ecdsa.PrivateKey, *rsa.PrivateKey or ed25519.PrivateKey. It fails with
// [ErrKey] when k is not valid. RSA 4096 takes a second or more.
func (k KeySpec) Generate() (crypto.Signer, error) {
	if err := k.Validate(); err != nil {
		return nil, err
	}
	switch k.Algorithm {
	case RSA:
		return rsa.GenerateKey(rand.Reader, k.Size)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return ecdsa.GenerateKey(k.curve(), rand.Reader)
	}
}

// Matches reports whether pub is a sound key of exactly this kind and size.
// It never does when k is not valid.
func (k KeySpec) Matches(pub crypto.PublicKey) bool {
	return KeySpecOf(pub) == k && checkKey(pub) == nil
}

func (k KeySpec) curve() elliptic.Curve {
	switch k.Size {
	case 256:
		return elliptic.P256()
	case 384:
		return elliptic.P384()
	default:
		return elliptic.P521()
	}
}

// rsaExponent is the one public exponent accepted: every common tool uses it,
// and it is the smallest that FIPS 186-5, section 5.4, allows.
const rsaExponent = 65537

// smallFactor is the bound below which no prime may divide an RSA modulus.
// Baseline Requirements of the CA/Browser Forum, section 6.1.6, following NIST
// SP 800-89, section 5.3.3: 752.
const smallFactor = 752

// checkKey looks at what costs little to see: kind and size, and what makes a
// key of that size worthless. That ECDSA points are on their curve has been
// seen to by crypto/x509.
func checkKey(pub crypto.PublicKey) error {
	spec := KeySpecOf(pub)
	if spec == (KeySpec{}) {
		return fmt.Errorf("%w: %T, must be of ECDSA, RSA or Ed25519", ErrKey, pub)
	}
	if err := spec.Validate(); err != nil {
		return err
	}
	switch key := pub.(type) {
	case *rsa.PublicKey:
		return checkRSA(key)
	case ed25519.PublicKey:
		return checkEd25519(key)
	default:
		return nil
	}
}

func checkRSA(key *rsa.PublicKey) error {
	if key.E != rsaExponent {
		return fmt.Errorf("%w: RSA exponent %d, must be %d", ErrKey, key.E, rsaExponent)
	}
	if key.N.Bit(0) == 0 {
		return fmt.Errorf("%w: RSA modulus is even", ErrKey)
	}
	remainder := new(big.Int)
	for factor := int64(3); factor < smallFactor; factor += 2 {
		if remainder.Mod(key.N, big.NewInt(factor)).Sign() == 0 {
			return fmt.Errorf("%w: RSA modulus is divisible by %d", ErrKey, factor)
		}
	}
	return nil
}

// checkEd25519 refuses points of small order. Anybody can sign for such a key:
// one signature, R the neutral element and S zero, verifies for it with many
// messages or with all, and crypto/ed25519 accepts it, as RFC 8032 allows. Points
// are decoded as crypto/ed25519 decodes them; bytes that are no point are left to
// it, for it verifies no signature with them.
func checkEd25519(key ed25519.PublicKey) error {
	point, err := new(edwards25519.Point).SetBytes(key)
	if err == nil && point.MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return fmt.Errorf("%w: Ed25519 point of small order, for which anybody can sign", ErrKey)
	}
	return nil
}
