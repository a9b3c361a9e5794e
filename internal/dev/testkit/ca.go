// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"time"
)

// CA is a CA's certificate, followed by those above it if it is no root, with
// its key.
type CA struct {
	CertificatePEM, KeyPEM []byte

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewCA makes a self-signed root that is valid for a day.
func NewCA(commonName string) (CA, error) { return newCA(commonName, nil) }

// NewIntermediate makes a CA whose certificate is signed by ca.
func (ca CA) NewIntermediate(commonName string) (CA, error) { return newCA(commonName, &ca) }

func newCA(commonName string, parent *CA) (CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return CA{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	above := CA{certificate: template, key: key}
	if parent != nil {
		above = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above.certificate, key.Public(), above.key)
	if err != nil {
		return CA{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return CA{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return CA{}, err
	}
	return CA{
		CertificatePEM: slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), above.CertificatePEM),
		KeyPEM:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		certificate:    certificate,
		key:            key,
	}, nil
}
