// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/util/pki"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

// SVID is what a certificate must be.
type SVID struct {
	// ID is the one name in it.
	ID spiffeid.ID
	// Key is the private key that it is for.
	Key crypto.Signer
	// Duration is its lifetime, of whole seconds.
	Duration time.Duration
}

// CheckSVID returns nil if a chain of PEM blocks, the leaf first, is an SVID for
// go-spiffe, verifies with the bundle, and says nothing but what want says: one
// URI, no subject, no CA, the four usages. Names and usages are compared as DER,
// so that nothing can hide from a decoder.
func CheckSVID(chainPEM []byte, bundle x509bundle.Source, want SVID) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(want.Key)
	if err != nil {
		return err
	}
	svid, err := x509svid.Parse(chainPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	if err != nil {
		return fmt.Errorf("go-spiffe cannot read it with the key: %w", err)
	}
	id, _, err := x509svid.Verify(svid.Certificates, bundle)
	if err != nil {
		return fmt.Errorf("go-spiffe cannot verify it: %w", err)
	}
	if id != want.ID || svid.ID != want.ID {
		return fmt.Errorf("it is for %s and %s, must be for %s", id, svid.ID, want.ID)
	}
	leaf := svid.Certificates[0]
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	switch {
	case !bytes.Equal(leaf.RawSubject, csrtest.Sequence()):
		return fmt.Errorf("its subject is %x, must be empty", leaf.RawSubject)
	case leaf.IsCA || !leaf.BasicConstraintsValid:
		return errors.New("it may be that of a CA")
	case lifetime != want.Duration:
		return fmt.Errorf("it lasts %s, must last %s", lifetime, want.Duration)
	default:
		return checkExtensions(leaf, want.ID)
	}
}

func checkExtensions(leaf *x509.Certificate, id spiffeid.ID) error {
	critical := true
	// What may be in it: nil stands for any value.
	allowed := map[string]struct {
		critical bool
		values   [][]byte
	}{
		"2.5.29.17": {critical, [][]byte{csrtest.Sequence(csrtest.URI(id.String()))}},
		"2.5.29.15": {critical, [][]byte{keyUsages(5, 0xa0)}},
		"2.5.29.37": {!critical, [][]byte{csrtest.Sequence(serverAuth(), clientAuth()), csrtest.Sequence(clientAuth(), serverAuth())}},
		"2.5.29.19": {critical, [][]byte{csrtest.Sequence()}},
		"2.5.29.35": {!critical, nil},
	}
	for _, extension := range leaf.Extensions {
		rule, ok := allowed[extension.Id.String()]
		if !ok {
			return fmt.Errorf("it has extension %s, a second time or at all", extension.Id)
		}
		found := rule.values == nil
		for _, value := range rule.values {
			found = found || bytes.Equal(value, extension.Value)
		}
		if !found || extension.Critical != rule.critical {
			return fmt.Errorf("extension %s, critical %t, is %x, must be one of %x", extension.Id, extension.Critical, extension.Value, rule.values)
		}
		delete(allowed, extension.Id.String())
	}
	delete(allowed, "2.5.29.35") // only if the CA has a key identifier
	if len(allowed) > 0 {
		return fmt.Errorf("%d extensions are missing", len(allowed))
	}
	return nil
}

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
