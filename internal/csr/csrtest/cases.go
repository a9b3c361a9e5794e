// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csrtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"slices"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// Case is one certificate request and what must become of it.
type Case struct {
	// Name begins with "good-" or "bad-" and says what is the matter.
	Name string
	// PEM is the request as an approver would get it.
	PEM []byte
	// Want holds every sentinel error of package csr that the request must be
	// refused with, in the order of reading. It is empty for a good one.
	Want []error
}

// Keys are what the cases are made with. Making them takes a moment, so
// [NewKeys] is called once.
type Keys struct {
	// ByName has a key for each csr.KeySpec, called as in the names of cases.
	ByName map[string]crypto.Signer
	// Main is the ECDSA P-256 key of most cases; Other is one like it.
	Main, Other crypto.Signer
}

// NewKeys makes new keys.
func NewKeys() Keys {
	keys := Keys{ByName: map[string]crypto.Signer{}}
	for name, spec := range map[string]csr.KeySpec{
		"ecdsa-256": {Algorithm: csr.ECDSA, Size: 256},
		"ecdsa-384": {Algorithm: csr.ECDSA, Size: 384},
		"ecdsa-521": {Algorithm: csr.ECDSA, Size: 521},
		"rsa-2048":  {Algorithm: csr.RSA, Size: 2048},
		"rsa-3072":  {Algorithm: csr.RSA, Size: 3072},
		"rsa-4096":  {Algorithm: csr.RSA, Size: 4096},
		"ed25519":   {Algorithm: csr.Ed25519},
	} {
		keys.ByName[name] = must(spec.Generate())
	}
	keys.Main = keys.ByName["ecdsa-256"]
	keys.Other = must(csr.KeySpec{Algorithm: csr.ECDSA, Size: 256}.Generate())
	return keys
}

// Cases returns every case, sorted by name.
func Cases(keys Keys) []Case {
	cases := slices.Concat(goodCases(keys), pemCases(keys), derCases(keys), subjectCases(keys),
		keyCases(keys), signatureCases(keys), attributeCases(keys), extensionCases(keys), sanCases(keys), uriCases(keys))
	slices.SortFunc(cases, func(a, b Case) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return cases
}

// bad makes a case of the one good request, changed once.
func bad(keys Keys, name string, want error, mutation ...Mutation) Case {
	return Case{Name: "bad-" + name, PEM: Good(keys.Main).With(mutation...).PEM(), Want: []error{want}}
}

func good(keys Keys, name string, mutation ...Mutation) Case {
	return Case{Name: "good-" + name, PEM: Good(keys.Main).With(mutation...).PEM()}
}

func p224() []byte {
	key := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	return must(x509.MarshalPKIXPublicKey(key.Public()))
}

// rsaKey makes up a modulus: nobody has the private key, nor needs it, because
// readers must refuse such a key before they try the signature.
func rsaKey(bits, exponent int) []byte {
	n := must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits))))
	n.SetBit(n, bits-1, 1)
	n.SetBit(n, 0, 1)
	return must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: exponent}))
}
