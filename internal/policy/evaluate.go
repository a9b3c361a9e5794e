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
)

// Why [Evaluate] denies. Each reason wraps one of these or [ErrPolicy].
var (
	// ErrUsername is for a requester that is no ServiceAccount, or has no
	// SPIFFE ID in the trust domain.
	ErrUsername = errors.New("wrong spec.username")
	// ErrNamespace is for a request outside of the namespace of the requester's
	// ServiceAccount.
	ErrNamespace = errors.New("wrong metadata.namespace")
	// ErrGroups is for a requester without the groups of every ServiceAccount of
	// the namespace.
	ErrGroups = errors.New("wrong spec.groups")
	// ErrExtra is for a requester whose token is not bound to a pod: [ExtraPodName]
	// or [ExtraPodUID] is missing or has several values.
	ErrExtra = errors.New("wrong spec.extra")
	// ErrOwner is for a request that is not owned by the requester's pod, and by
	// that alone.
	ErrOwner = errors.New("wrong metadata.ownerReferences")
	// ErrAnnotations is for annotations other than those that the policy demands
	// or ignores, and the driver's own.
	ErrAnnotations = errors.New("wrong metadata.annotations")
	// ErrLabels is for labels other than the driver's and those that the policy ignores.
	ErrLabels = errors.New("wrong metadata.labels")
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
// approved when it is just as the driver makes it: in the namespace of the
// ServiceAccount in spec.username, made with a token bound to a pod, owned by
// that pod, with the annotations and labels of the policy, the spec of
// [Policy.CertificateRequestSpec], and a CSR for the SPIFFE ID of that
// ServiceAccount and, as [csr.Parse] makes sure, for nothing else. Otherwise it
// is denied with every reason there is.
//
// spec.username, uid, groups and extra are taken for the truth: cert-manager's
// admission webhook sets them from the authenticated user and keeps them from
// being changed. The owner reference is the requester's claim; that it names the
// pod of the token makes it true.
func Evaluate(p Policy, request *cmapi.CertificateRequest) Decision {
	spec := &request.Spec
	if !p.IssuerRef.Names(spec.IssuerRef) {
		return Decision{Verdict: Ignore}
	}
	var d Decision
	d.deny(p.Validate())
	d.requester(p, request)
	d.deny(checkTruncated(request.Annotations))
	d.deny(checkAnnotations(p, request.Annotations, d.ID))
	d.deny(checkLabels(p, request.Labels))
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
