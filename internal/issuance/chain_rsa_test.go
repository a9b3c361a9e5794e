// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"strings"
	"testing"
)

// An issuer that returns an RSA key as large as fits costs no CPU time to speak of.
func TestSignatureOfAnOversizedKeyIsNotVerified(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		bits int
		want string
	}{
		{"the largest that is taken", 8192, rsa.ErrVerification.Error()},
		{"one bit more", 8193, "its RSA key is longer than 8192 bits"},
		{"as large as fits", 760_000, "its RSA key is longer than 8192 bits"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			modulus := new(big.Int).Lsh(big.NewInt(1), uint(row.bits))
			modulus.Sub(modulus, big.NewInt(1))
			parent := &x509.Certificate{
				IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
				PublicKeyAlgorithm: x509.RSA, PublicKey: &rsa.PublicKey{N: modulus, E: 1<<31 - 1},
			}
			child := &x509.Certificate{SignatureAlgorithm: x509.SHA256WithRSA, Signature: make([]byte, (row.bits+7)/8)}
			err := new(verifiedLinks).checkLink(child, parent, false)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
			if errors.Is(err, rsa.ErrVerification) != (row.bits == longestRSA) {
				t.Errorf("verified: %v", err)
			}
		})
	}
}
