// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csrtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"math/rand/v2"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// Keys are private keys for tests. They follow from their names and are the
// same in every process, so that what is made with them is, too: they are no
// secret, and nothing may trust them.
type Keys struct {
	// ByName has a key for each csr.KeySpec, called "ecdsa-256", "rsa-2048",
	// "ed25519" and so on.
	ByName map[string]crypto.Signer
	// Main is the ECDSA P-256 key that most requests are made with; Other is
	// one like it.
	Main, Other crypto.Signer
}

// NewKeys makes the keys.
func NewKeys() Keys {
	main := ecdsaKey("main", elliptic.P256())
	return Keys{
		ByName: map[string]crypto.Signer{
			"ecdsa-256": main,
			"ecdsa-384": ecdsaKey("ecdsa-384", elliptic.P384()),
			"ecdsa-521": ecdsaKey("ecdsa-521", elliptic.P521()),
			"rsa-2048":  rsaKey("rsa-2048", 2048, 150, 656),
			"rsa-3072":  rsaKey("rsa-3072", 3072, 1080, 580),
			"rsa-4096":  rsaKey("rsa-4096", 4096, 1276, 5858),
			"ed25519":   ed25519.NewKeyFromSeed(Bytes("ed25519", ed25519.SeedSize)),
		},
		Main: main, Other: ecdsaKey("other", elliptic.P256()),
	}
}

// Spec is the specification that the key of a name in ByName is for.
func (k Keys) Spec(name string) csr.KeySpec { return csr.KeySpecOf(k.ByName[name].Public()) }

// Of returns the private key of a public one, or nil if there is none.
func (k Keys) Of(pub crypto.PublicKey) crypto.Signer {
	for _, key := range k.ByName {
		if key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
			return key
		}
	}
	return nil
}

// MainKey is the Main of [NewKeys], for those who need no other.
func MainKey() crypto.Signer { return ecdsaKey("main", elliptic.P256()) }

// ECDSAKey makes a key that follows from its name, on any curve of package elliptic.
func ECDSAKey(name string, curve elliptic.Curve) crypto.Signer { return ecdsaKey(name, curve) }

// Bytes returns n bytes that look random and follow from the name.
func Bytes(name string, n int) []byte {
	b := make([]byte, n)
	must(rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b))
	return b
}

func ecdsaKey(name string, curve elliptic.Curve) *ecdsa.PrivateKey {
	size := curve.Params().BitSize
	scalar := Bytes(name, (size+7)/8)
	scalar[0] &= 0xff >> (len(scalar)*8 - size + 1) // well below the order of the group
	return must(ecdsa.ParseRawPrivateKey(curve, scalar))
}

// rsaKey makes a key of two primes. Looking for them takes seconds, so how far
// they are from the numbers that follow from the name is written down.
func rsaKey(name string, bits int, toP, toQ int64) *rsa.PrivateKey {
	p, q := Odd(name+" p", bits/2), Odd(name+" q", bits/2)
	p.Add(p, big.NewInt(toP))
	q.Add(q, big.NewInt(toQ))
	one := big.NewInt(1)
	totient := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	const exponent = 65537
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: exponent},
		D:         new(big.Int).ModInverse(big.NewInt(exponent), totient),
		Primes:    []*big.Int{p, q},
	}
	key.Precompute()
	return key
}

// Odd returns an odd number that follows from the name and has its two highest
// bits set, so that the product of two has all its bits.
func Odd(name string, bits int) *big.Int {
	n := new(big.Int).SetBytes(Bytes(name, (bits+7)/8))
	n.Rsh(n, uint((8-bits%8)%8))
	for _, bit := range []int{0, bits - 1, bits - 2} {
		n.SetBit(n, bit, 1)
	}
	return n
}
