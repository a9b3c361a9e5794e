// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki makes the certificates and keys of a devcluster.
//
// There is one [CA]. It issues the serving certificates of kube-apiserver and of
// cert-manager's webhook and the client certificate of the administrator. All
// keys are ECDSA P-256, which take no noticeable time to make. Nothing here
// outlives the cluster, so nothing can be renewed.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Lifetime is how long certificates are valid: longer than any devcluster runs.
const Lifetime = 365 * 24 * time.Hour

// clockSkew is how far back certificates begin, for clocks set meanwhile.
const clockSkew = time.Hour

// A CA is a certificate authority whose key lives in memory only.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a self-signed authority of the given common name. It cannot have
// subordinate authorities.
func NewCA(commonName string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := newTemplate(pkix.Name{CommonName: commonName})
	template.IsCA = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing CA certificate %q: %w", commonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// CertPEM is the authority's certificate, as one PEM block.
func (ca *CA) CertPEM() []byte { return certPEM(ca.cert.Raw) }

// A KeyPair is a certificate and its private key (PKCS #8), one PEM block each.
type KeyPair struct {
	CertPEM, KeyPEM []byte
}

// Server issues a certificate to serve with under the given DNS names and IP
// addresses.
func (ca *CA) Server(commonName string, dnsNames []string, ips []net.IP) (KeyPair, error) {
	template := newTemplate(pkix.Name{CommonName: commonName})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames, template.IPAddresses = dnsNames, ips
	return ca.issue(template)
}

// Client issues a certificate for a Kubernetes user, who is named by the common
// name and whose groups are the organizations of the subject.
func (ca *CA) Client(user string, groups ...string) (KeyPair, error) {
	template := newTemplate(pkix.Name{CommonName: user, Organization: groups})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return ca.issue(template)
}

func (ca *CA) issue(template *x509.Certificate) (KeyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return KeyPair{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return KeyPair{}, fmt.Errorf("signing certificate %q: %w", template.Subject.CommonName, err)
	}
	keyPEM, err := privateKeyPEM(key)
	return KeyPair{CertPEM: certPEM(der), KeyPEM: keyPEM}, err
}

// WriteFiles writes the pair to two files which only their owner can read.
func (p KeyPair) WriteFiles(certFile, keyFile string) error {
	return errors.Join(os.WriteFile(certFile, p.CertPEM, 0o600), os.WriteFile(keyFile, p.KeyPEM, 0o600))
}

// NewSigningKey makes a key to sign ServiceAccount tokens with, and the public
// key to verify them.
func NewSigningKey() (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	private, err = privateKeyPEM(key)
	return private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// newTemplate leaves the serial number out: x509.CreateCertificate makes a
// random one.
func newTemplate(subject pkix.Name) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:               subject,
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(Lifetime),
		BasicConstraintsValid: true,
	}
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func privateKeyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
