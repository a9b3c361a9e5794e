// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto"
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// signatureScheme is a way of signing that is allowed. Its identifier is
// compared as DER, so that nothing can hide in the parameters.
type signatureScheme struct {
	key        Algorithm
	algorithm  x509.SignatureAlgorithm
	hash       crypto.Hash // 0 for Ed25519, which hashes by itself
	identifier []byte
}

// signatureSchemes returns what is allowed: PKCS #1 v1.5 and ECDSA with the
// SHA-2 family, and Ed25519. Identifiers: RFC 8017, appendix A.2.4; RFC 5758,
// section 3.2; RFC 8410, section 3. RSA-PSS is left out because nothing that
// makes requests here uses it.
func signatureSchemes() []signatureScheme {
	pkcs1 := func(last byte) []byte {
		return []byte{0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last, 0x05, 0x00}
	}
	ecdsa := func(last byte) []byte {
		return []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last}
	}
	return []signatureScheme{
		{RSA, x509.SHA256WithRSA, crypto.SHA256, pkcs1(0x0b)},
		{RSA, x509.SHA384WithRSA, crypto.SHA384, pkcs1(0x0c)},
		{RSA, x509.SHA512WithRSA, crypto.SHA512, pkcs1(0x0d)},
		{ECDSA, x509.ECDSAWithSHA256, crypto.SHA256, ecdsa(0x02)},
		{ECDSA, x509.ECDSAWithSHA384, crypto.SHA384, ecdsa(0x03)},
		{ECDSA, x509.ECDSAWithSHA512, crypto.SHA512, ecdsa(0x04)},
		{Ed25519, x509.PureEd25519, 0, []byte{0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70}},
	}
}

// signature checks that the key in the request signed it. That takes a key that
// was found good: a modulus of a hundred thousand bits would keep us busy.
func (in *inspection) signature(info, identifier cryptobyte.String, signature []byte) {
	key := in.req.PublicKey
	if key == nil || checkKey(key) != nil {
		return
	}
	algorithm := KeySpecOf(key).Algorithm
	for _, scheme := range signatureSchemes() {
		if scheme.key == algorithm && bytes.Equal(scheme.identifier, identifier) {
			in.verify(scheme.algorithm, info, signature)
			return
		}
	}
	in.fault("%w: %s with an %s key; allowed are SHA-2 with ECDSA or with RSA (PKCS #1 v1.5), and Ed25519",
		ErrSignatureAlgorithm, signatureName(identifier), algorithm)
}

func (in *inspection) verify(algorithm x509.SignatureAlgorithm, info, signature []byte) {
	signed := x509.CertificateRequest{
		RawTBSCertificateRequest: info,
		SignatureAlgorithm:       algorithm,
		Signature:                signature,
		PublicKey:                in.req.PublicKey,
	}
	if err := signed.CheckSignature(); err != nil {
		in.fault("%w with the key in the request: %+.120q", ErrSignature, err.Error())
	}
}

func signatureName(identifier cryptobyte.String) string {
	var fields cryptobyte.String
	if !identifier.ReadASN1(&fields, asn1.SEQUENCE) {
		return "undecodable"
	}
	return readOID(&fields)
}
