// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/util/pki"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

// Issuer makes certificates by the code that cert-manager's CA issuer runs.
// Source: cert-manager v1.20, pkg/controller/certificaterequests/ca, Sign, but
// for reading the CA from a Secret and the issuer's CRL and OCSP addresses.
type Issuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// NewIssuer makes an issuer with a self-signed CA of its own.
func NewIssuer() (*Issuer, error) {
	key := csrtest.ECDSAKey("issuer", elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: IssuerName},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &Issuer{certificate: certificate, key: key}, err
}

// Issue returns the certificate for a request, and those above it but for the
// root, PEM encoded. It asks nobody whether the request was approved.
func (i *Issuer) Issue(spec cmapi.CertificateRequestSpec) ([]byte, error) {
	template, err := pki.CertificateTemplateFromCertificateRequest(&cmapi.CertificateRequest{Spec: spec})
	if err != nil {
		return nil, err
	}
	bundle, err := pki.SignCSRTemplate([]*x509.Certificate{i.certificate}, i.key, template)
	return bundle.ChainPEM, err
}

// Bundle returns what a peer of the trust domain verifies certificates with.
func (i *Issuer) Bundle(trustDomain spiffeid.TrustDomain) *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(trustDomain, []*x509.Certificate{i.certificate})
}
