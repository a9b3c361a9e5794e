// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"math/big"
	"slices"
	"strconv"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

func TestKeySpec(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		spec csr.KeySpec
		text string
		ok   bool
	}{
		{csr.KeySpec{Algorithm: csr.ECDSA, Size: 256}, "ECDSA 256", true},
		{csr.KeySpec{Algorithm: csr.ECDSA, Size: 384}, "ECDSA 384", true},
		{csr.KeySpec{Algorithm: csr.ECDSA, Size: 521}, "ECDSA 521", true},
		{csr.KeySpec{Algorithm: csr.RSA, Size: 2048}, "RSA 2048", true},
		{csr.KeySpec{Algorithm: csr.RSA, Size: 3072}, "RSA 3072", true},
		{csr.KeySpec{Algorithm: csr.RSA, Size: 4096}, "RSA 4096", true},
		{csr.KeySpec{Algorithm: csr.Ed25519}, "Ed25519", true},
		{csr.KeySpec{}, "unknown", false},
		{csr.KeySpec{Algorithm: csr.ECDSA}, "ECDSA", false},
		{csr.KeySpec{Algorithm: csr.ECDSA, Size: 224}, "ECDSA 224", false},
		{csr.KeySpec{Algorithm: csr.ECDSA, Size: 512}, "ECDSA 512", false},
		{csr.KeySpec{Algorithm: csr.RSA, Size: 1024}, "RSA 1024", false},
		{csr.KeySpec{Algorithm: csr.RSA, Size: 2047}, "RSA 2047", false},
		{csr.KeySpec{Algorithm: csr.RSA, Size: 8192}, "RSA 8192", false},
		{csr.KeySpec{Algorithm: csr.RSA, Size: -2048}, "RSA -2048", false},
		{csr.KeySpec{Algorithm: csr.Ed25519, Size: 256}, "Ed25519 256", false},
		{csr.KeySpec{Algorithm: "ecdsa", Size: 256}, "ecdsa 256", false},
		{csr.KeySpec{Algorithm: "DSA", Size: 2048}, "DSA 2048", false},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			if got := test.spec.String(); got != test.text {
				t.Errorf("String() = %q", got)
			}
			err := test.spec.Validate()
			if test.ok && err != nil {
				t.Errorf("Validate() = %v", err)
			}
			if test.ok {
				return
			}
			if !errors.Is(err, csr.ErrKey) {
				t.Errorf("Validate() = %v, want ErrKey", err)
			}
			if key, err := test.spec.Generate(); key != nil || !errors.Is(err, csr.ErrKey) {
				t.Errorf("Generate() = %v, %v, want ErrKey", key, err)
			}
		})
	}
}

func TestKeySpecMatches(t *testing.T) {
	t.Parallel()
	for made, signer := range keys().ByName {
		matches := 0
		for _, spec := range csr.KeySpecs() {
			if spec.Matches(signer.Public()) {
				matches++
			}
		}
		if matches != 1 {
			t.Errorf("%s matches %d specifications, want 1", made, matches)
		}
	}
	rsa2048 := csr.KeySpec{Algorithm: csr.RSA, Size: 2048}
	odd := keys().ByName["rsa-2048"].Public().(*rsa.PublicKey).N
	even := new(big.Int).Lsh(big.NewInt(1), 2047)
	divisible := new(big.Int).Mul(csrtest.Odd("factor", 2038), big.NewInt(751))
	if !rsa2048.Matches(&rsa.PublicKey{N: odd, E: 65537}) {
		t.Error("refuses modulus and exponent that look right")
	}
	for name, key := range map[string]any{
		"nil":                nil,
		"private key":        keys().ByName["rsa-2048"],
		"RSA exponent 3":     &rsa.PublicKey{N: odd, E: 3},
		"RSA exponent 65539": &rsa.PublicKey{N: odd, E: 65539},
		"RSA even modulus":   &rsa.PublicKey{N: even, E: 65537},
		"RSA small factor":   &rsa.PublicKey{N: divisible, E: 65537},
	} {
		if rsa2048.Matches(key) {
			t.Errorf("matches %s", name)
		}
	}
	if (csr.KeySpec{}).Matches(nil) {
		t.Error("the zero KeySpec matches no key at all")
	}
}

// All eight points of small order are refused, however they are written. The
// neutral element and the points of order 2 and 4 follow from the curve's
// equation; those of order 8 are the ones that libsodium and others list.
func TestKeySpecRefusesPointsOfSmallOrder(t *testing.T) {
	t.Parallel()
	ed25519Spec := csr.KeySpec{Algorithm: csr.Ed25519}
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	order8, _ := new(big.Int).SetString("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", 16)
	for name, y := range map[string]*big.Int{
		"neutral element": big.NewInt(1), "p + 1": new(big.Int).Add(p, big.NewInt(1)),
		"order 2": new(big.Int).Sub(p, big.NewInt(1)), "order 4": big.NewInt(0), "order 4 as p": p,
		"order 8": order8, "order 8, the other y": new(big.Int).Sub(p, order8),
	} {
		for _, sign := range []byte{0, 0x80} {
			point := y.FillBytes(make([]byte, ed25519.PublicKeySize))
			slices.Reverse(point)
			point[31] |= sign
			if ed25519Spec.Matches(ed25519.PublicKey(point)) {
				t.Errorf("%s, sign %x: accepted", name, sign)
			}
		}
	}
	for seed := range 200 {
		key := ed25519.NewKeyFromSeed(csrtest.Bytes(strconv.Itoa(seed), ed25519.SeedSize)).Public()
		if !ed25519Spec.Matches(key) {
			t.Errorf("key %x is refused", key)
		}
	}
}
