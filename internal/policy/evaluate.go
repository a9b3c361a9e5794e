// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// Why [Evaluate] denies. Each reason wraps one of these or [ErrPolicy].
var (
	// ErrUsername is for a requester that is no ServiceAccount, or has no
	// SPIFFE ID in the trust domain.
	ErrUsername = errors.New("wrong spec.username")
	// ErrIsCA is for a request for a CA certificate.
	ErrIsCA = errors.New("wrong spec.isCA")
	// ErrDuration is for a duration that is absent or not the policy's.
	ErrDuration = errors.New("wrong spec.duration")
	// ErrUsages is for anything but the four [Usages], once each. That goes
	// for absent usages, too, and for cert-manager's "signing", though it is
	// another name for "digital signature".
	ErrUsages = errors.New("wrong spec.usages")
	// ErrRequest is for a spec.request that package csr finds fault with. The
	// reason wraps the sentinel error of that package as well.
	ErrRequest = errors.New("wrong spec.request")
	// ErrKey is for a key of another kind or size than the policy's.
	ErrKey = errors.New("wrong key in spec.request")
	// ErrTrustDomain is for a SPIFFE ID of another trust domain.
	ErrTrustDomain = errors.New("wrong trust domain in spec.request")
	// ErrIdentity is for a SPIFFE ID that is not the requester's own.
	ErrIdentity = errors.New("wrong SPIFFE ID in spec.request")
)

// Evaluate decides about the request under the policy.
//
// A request to an issuer other than the policy's is ignored. Any other is
// approved when it asks for an SVID just as [Policy.CertificateRequestSpec]
// does, for the SPIFFE ID of the ServiceAccount in spec.username and, as
// [csr.Parse] makes sure, for nothing else. Otherwise it is denied with every
// reason there is.
//
// spec.username is taken for the truth: cert-manager's admission webhook sets
// it to the authenticated user and keeps it from being changed.
func Evaluate(p Policy, spec cmapi.CertificateRequestSpec) Decision {
	if !p.IssuerRef.Names(spec.IssuerRef) {
		return Decision{Verdict: Ignore}
	}
	var d Decision
	d.deny(p.Validate())
	d.requester(p, spec.Username)
	if spec.IsCA {
		d.deny(fmt.Errorf("%w: it is true, must be false", ErrIsCA))
	}
	d.deny(checkDuration(p, spec.Duration))
	d.deny(checkUsages(spec.Usages))
	d.request(p, spec.Request)

	d.Verdict = Approve
	if len(d.Reasons) > 0 {
		d.Verdict = Deny
	}
	return d
}

// deny adds a reason, unless it is nil.
func (d *Decision) deny(reason error) {
	if reason != nil {
		d.Reasons = append(d.Reasons, reason)
	}
}

func (d *Decision) requester(p Policy, username string) {
	sa, err := spiffe.ParseUsername(username)
	if err != nil {
		d.deny(fmt.Errorf("%w: %w", ErrUsername, err))
		return
	}
	d.ServiceAccount = sa
	id, err := p.SPIFFEID(sa)
	if err != nil {
		d.deny(fmt.Errorf("%w: %w", ErrUsername, err))
		return
	}
	d.ID = id
}

func checkDuration(p Policy, duration *metav1.Duration) error {
	if duration == nil {
		return fmt.Errorf("%w: it is absent, must be %s", ErrDuration, p.Duration)
	}
	if duration.Duration != p.Duration {
		return fmt.Errorf("%w: it is %s, must be %s", ErrDuration, duration.Duration, p.Duration)
	}
	return nil
}

// checkUsages compares sorted lists, so that a repeated usage is a difference.
func checkUsages(usages []cmapi.KeyUsage) error {
	found, demanded := slices.Sorted(slices.Values(usages)), slices.Sorted(slices.Values(Usages()))
	if slices.Equal(found, demanded) {
		return nil
	}
	return fmt.Errorf("%w: %+.120q, must be %q, in any order", ErrUsages, list(found), list(demanded))
}

func list(usages []cmapi.KeyUsage) string {
	texts := make([]string, len(usages))
	for i, usage := range usages {
		texts[i] = string(usage)
	}
	return strings.Join(texts, ", ")
}

func (d *Decision) request(p Policy, csrPEM []byte) {
	request, faults := csr.Inspect(csrPEM)
	for _, fault := range faults {
		d.deny(fmt.Errorf("%w: %w", ErrRequest, fault))
	}
	if len(faults) == 0 || request.PublicKey != nil {
		d.key(p, request)
	}
	if len(faults) == 0 || !request.ID.IsZero() {
		d.identity(p, request.ID)
	}
}

func (d *Decision) key(p Policy, request csr.Request) {
	if found := csr.KeySpecOf(request.PublicKey); found != p.Key {
		d.deny(fmt.Errorf("%w: it is %s, must be %s", ErrKey, found, p.Key))
	}
}

func (d *Decision) identity(p Policy, id spiffeid.ID) {
	if !id.MemberOf(p.TrustDomain) {
		d.deny(fmt.Errorf("%w: it is %+.255q, must be %+.255q", ErrTrustDomain, id.TrustDomain(), p.TrustDomain))
	}
	switch {
	case d.ID.IsZero():
		d.deny(fmt.Errorf("%w: it is %+.380q, to which the requester has no right", ErrIdentity, id))
	case id != d.ID:
		d.deny(fmt.Errorf("%w: it is %+.380q, must be that of the requester, %+.380q", ErrIdentity, id, d.ID))
	}
}
