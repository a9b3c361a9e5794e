// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Request is what a certificate request says.
type Request struct {
	// ID is the SPIFFE ID that is asked for: the only name in the request.
	ID spiffeid.ID
	// PublicKey is the key to be certified: an *ecdsa.PublicKey,
	// *rsa.PublicKey or ed25519.PublicKey.
	PublicKey crypto.PublicKey
}

// Parse reads a certificate request, PEM encoded, as strictly as the package
// comment says. When it returns no error, then the request asks for an SVID for
// its ID and for nothing else; whether the requester may have it is for others
// to say. Otherwise the error joins every fault that was found, each of which
// wraps a sentinel error of this package, and the Request is zero.
func Parse(pemBytes []byte) (Request, error) {
	req, faults := Inspect(pemBytes)
	if len(faults) > 0 {
		return Request{}, errors.Join(faults...)
	}
	return req, nil
}

// Inspect does what [Parse] does, for those who report faults one by one and
// look for more. The Request holds whatever could be read, in spite of the
// faults: with any fault it is good for messages only. ID is then zero and
// PublicKey nil when they could not be read.
func Inspect(pemBytes []byte) (Request, []error) {
	der, err := decodePEM(pemBytes)
	if err != nil {
		return Request{}, []error{err}
	}
	var in inspection
	in.certificationRequest(der)
	if len(in.faults) == 0 {
		in.secondOpinion(der)
	}
	return in.req, in.faults
}

// inspection goes once through a request, collecting what it says and what is
// wrong with it.
type inspection struct {
	req    Request
	faults []error
}

// fault notes something wrong; the format must begin with the %w of a sentinel.
func (in *inspection) fault(format string, args ...any) {
	in.faults = append(in.faults, fmt.Errorf(format, args...))
}

// secondOpinion makes sure that crypto/x509, which cert-manager's issuers read
// requests with, sees what was seen here. It should never find a difference.
func (in *inspection) secondOpinion(der []byte) {
	other, err := x509.ParseCertificateRequest(der)
	if err != nil {
		in.fault("%w: crypto/x509 cannot read it: %+.200q", ErrDER, err.Error())
		return
	}
	names := len(other.Subject.Names) + len(other.DNSNames) + len(other.EmailAddresses) + len(other.IPAddresses)
	if names != 0 || len(other.URIs) != 1 || other.URIs[0].String() != in.req.ID.String() {
		in.fault("%w: crypto/x509 reads other names in it than %s", ErrDER, in.req.ID)
	}
}
