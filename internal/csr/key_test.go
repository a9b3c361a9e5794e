// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"crypto/rsa"
	"errors"
	"math/big"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
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
	odd := new(big.Int).SetBit(big.NewInt(1), 2047, 1)
	even := new(big.Int).Lsh(big.NewInt(1), 2047)
	if !rsa2048.Matches(&rsa.PublicKey{N: odd, E: 65537}) {
		t.Error("refuses modulus and exponent that look right")
	}
	for name, key := range map[string]any{
		"nil":                nil,
		"private key":        keys().ByName["rsa-2048"],
		"RSA exponent 3":     &rsa.PublicKey{N: odd, E: 3},
		"RSA exponent 65539": &rsa.PublicKey{N: odd, E: 65539},
		"RSA even modulus":   &rsa.PublicKey{N: even, E: 65537},
	} {
		if rsa2048.Matches(key) {
			t.Errorf("matches %s", name)
		}
	}
	if (csr.KeySpec{}).Matches(nil) {
		t.Error("the zero KeySpec matches no key at all")
	}
}
