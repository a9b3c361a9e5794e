// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto"
	"fmt"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// SVID is a pod's identity document, an X.509-SVID, with where it came
// from. How it is delivered, as which files, is not its concern.
type SVID struct {
	// X509 is the SPIFFE ID, the certificate chain, leaf first, and the key.
	X509 *x509svid.SVID
	// Request is the CertificateRequest that was signed.
	Request types.NamespacedName
	// Policy is the policy under which the document was requested.
	Policy policy.Policy
	// Obtained is when the certificate was signed, by this node's clock as far as
	// possible: when it was received, or, if the request was signed before anybody here
	// waited for it, when its condition Ready changed.
	Obtained time.Time
}

// NotBefore is the beginning of the certificate's validity. Intermediates do not count:
// whether an expired one matters depends on the trust bundles of the peers, which may have
// another certificate for its key.
func (d *SVID) NotBefore() time.Time { return d.X509.Certificates[0].NotBefore }

// NotAfter is the end of the certificate's validity.
func (d *SVID) NotAfter() time.Time { return d.X509.Certificates[0].NotAfter }

// Marshal returns the certificate chain and the PKCS #8 private key in PEM.
func (d *SVID) Marshal() (certificates, key []byte, err error) {
	return d.X509.Marshal()
}

// newSVID checks what the issuer signed against what was requested: the
// X.509-SVID rules (SPIFFE X.509-SVID section 5.2, leaf validation), the SPIFFE
// ID, that the certificate is for our key, has no other names and usages, and that
// the chain is one. The error wraps [ErrBadCertificate].
//
// A life longer than requested is none of its faults, nor that the certificate is not
// valid now: whoever gets the document decides what to do about those.
func (l *verifiedLinks) newSVID(id spiffeid.ID, key crypto.Signer, request *cmapi.CertificateRequest, under policy.Policy) (*SVID, error) {
	chain, err := parseChain(request.Status.Certificate)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	svid, err := l.verifyChain(chain, id, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	return &SVID{
		X509:     svid,
		Request:  types.NamespacedName{Namespace: request.Namespace, Name: request.Name},
		Policy:   under,
		Obtained: time.Now(),
	}, nil
}

// signedAt is when a request was signed: when its condition Ready changed. Issuers note
// that by their own clock, in whole seconds, so that it counts only within what is known
// here: not before since, if that is not zero, and not after now. All times are by the wall
// clock, which may have been set back after since. The result has no reading of the
// monotonic clock: it is compared with times in certificates.
func signedAt(request *cmapi.CertificateRequest, since, now time.Time) time.Time {
	since, now = since.Round(0), now.Round(0)
	if since.After(now) {
		since = now
	}
	ready := condition(request, cmapi.CertificateRequestConditionReady)
	if ready == nil || ready.LastTransitionTime == nil || ready.LastTransitionTime.After(now) {
		return now
	}
	if ready.LastTransitionTime.Time.Before(since) {
		return since
	}
	return ready.LastTransitionTime.Round(0)
}
