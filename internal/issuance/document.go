// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Document is a pod's identity document, an X.509-SVID, with where it came
// from. How it is delivered, as which files, is not its concern.
type Document struct {
	// SVID is the SPIFFE ID, the certificate chain, leaf first, and the key.
	SVID *x509svid.SVID
	// Request is the CertificateRequest that was signed.
	Request types.NamespacedName
	// Policy is the policy under which the document was requested.
	Policy policy.Policy
}

// NotBefore is the beginning of the certificate's validity.
func (d *Document) NotBefore() time.Time { return d.SVID.Certificates[0].NotBefore }

// NotAfter is the end of the certificate's validity.
func (d *Document) NotAfter() time.Time { return d.SVID.Certificates[0].NotAfter }

// Marshal returns the certificate chain and the PKCS #8 private key in PEM.
func (d *Document) Marshal() (certificates, key []byte, err error) {
	return d.SVID.Marshal()
}

// newDocument checks what the issuer signed against what was asked for: the
// X.509-SVID rules (SPIFFE X.509-SVID section 5.2, leaf validation), the SPIFFE
// ID, and that the certificate is for our key.
func newDocument(id spiffeid.ID, key crypto.Signer, request *cmapi.CertificateRequest, under policy.Policy) (*Document, error) {
	chain, err := parseChain(request.Status.Certificate)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	svid, err := newSVID(chain, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	if svid.ID != id {
		return nil, fmt.Errorf("%w: it is for %s, asked for was %s", ErrBadCertificate, svid.ID, id)
	}
	return &Document{
		SVID:    svid,
		Request: types.NamespacedName{Namespace: request.Namespace, Name: request.Name},
		Policy:  under,
	}, nil
}

// parseChain reads a chain of certificates in PEM.
func parseChain(chain []byte) ([]*x509.Certificate, error) {
	var der []byte
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block of type %q in the chain", block.Type)
		}
		der = append(der, block.Bytes...)
	}
	if len(der) == 0 {
		return nil, errors.New("no PEM certificate in its status")
	}
	return x509.ParseCertificates(der)
}
