// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"math/big"
	"slices"
)

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
// messages or with all, and crypto/ed25519 accepts it, as RFC 8032 allows.
//
// A point's order divides 8 when y is 0, 1 or -1, or when the double of the
// point has y = 0, which on -x² + y² = 1 + dx²y² comes to dy⁴ + 2y² - 1 = 0.
// Here d is -121665/121666, and all is multiplied by 121666.
func checkEd25519(key ed25519.PublicKey) error {
	littleEndian := slices.Clone(key)
	littleEndian[len(littleEndian)-1] &= 0x7f // the sign of x
	slices.Reverse(littleEndian)
	y := new(big.Int).SetBytes(littleEndian)
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

	ySquared := new(big.Int).Mul(y, y)
	ySquared.Mod(ySquared, p)
	sum := new(big.Int).Mul(big.NewInt(-121665), new(big.Int).Mul(ySquared, ySquared))
	sum.Add(sum, new(big.Int).Mul(big.NewInt(2*121666), ySquared))
	sum.Sub(sum, big.NewInt(121666))

	one := big.NewInt(1)
	if ySquared.Sign() == 0 || ySquared.Cmp(one) == 0 || sum.Mod(sum, p).Sign() == 0 {
		return fmt.Errorf("%w: Ed25519 point of small order, for which anybody can sign", ErrKey)
	}
	return nil
}
