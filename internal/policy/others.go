// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// AnnotationTruncated marks a request that is too large to be kept whole. Its
// value names the fields that were cut. A request with this annotation is never
// approved, whether package certrequest or the requester has set it.
const AnnotationTruncated = "spiffe.csi.cert-manager.io/truncated"

// Why a request to another issuer is left alone.
var (
	// ErrFormerIssuer is for a request to an issuer that signed SVIDs before.
	ErrFormerIssuer = errors.New("its issuer has signed SVIDs")
	// ErrOtherCA is for a request for a certificate that may sign certificates or
	// revocation lists.
	ErrOtherCA = errors.New("its issuer is not in approver.approveCAs")
	// ErrTruncated is for a request that is too large to be judged.
	ErrTruncated = errors.New("it is too large to be judged")
)

// Others says which requests to issuers other than that of SVIDs are approved.
// The zero value approves none.
type Others struct {
	// Approve is set when such requests are approved, in the place of
	// cert-manager's own approver.
	Approve bool
	// CAs are the issuers that may sign CA certificates. A request to any other
	// issuer for a CA certificate is not approved.
	CAs []IssuerRef
	// Former are the issuers that signed SVIDs before. Their roots may still be in
	// trust bundles, where whoever has a CA certificate of theirs could make an
	// SVID for anybody. No request to them is approved.
	Former []IssuerRef
}

// Equal reports whether both approve the same requests, given the same lists in
// the same order.
func (o Others) Equal(other Others) bool {
	return o.Approve == other.Approve && slices.Equal(o.CAs, other.CAs) && slices.Equal(o.Former, other.Former)
}

// decideOther decides about a request to an issuer that is not the one of
// SVIDs. It replaces cert-manager's own approver, which approves every request, but
// it approves no request that holds a SPIFFE ID, and none for a CA certificate
// unless the configuration allows it.
//
// What is not approved is left alone, not denied: another approver may be there
// for that issuer, such as that of a second installation with a trust domain of
// its own, and a denial would be final.
func (r Rollout) decideOther(request *cmapi.CertificateRequest) Decision {
	spec := &request.Spec
	if !r.Others.Approve || slices.ContainsFunc(r.Earlier, func(p Policy) bool { return p.IssuerRef.Names(spec.IssuerRef) }) {
		return Decision{Verdict: Ignore}
	}
	named := func(ref IssuerRef) bool { return ref.Names(spec.IssuerRef) }
	d := Decision{Verdict: Ignore}
	if cut := request.Annotations[AnnotationTruncated]; truncatedForOthers(cut) {
		d.deny(fmt.Errorf("%w: %+.120q", ErrTruncated, cut))
	}
	if slices.ContainsFunc(r.Others.Former, named) {
		d.deny(fmt.Errorf("%w: approver.formerIssuers lists %+.320q", ErrFormerIssuer, IssuerRef(spec.IssuerRef)))
	}
	if err := csr.CheckForeign(spec.Request); err != nil {
		d.deny(fmt.Errorf("%w: %w", ErrRequest, err))
	} else if !slices.ContainsFunc(r.Others.CAs, named) {
		d.deny(checkNotCA(spec))
	}
	if len(d.Reasons) == 0 {
		d.Verdict = Approve
	}
	return d
}

// truncatedForOthers reports whether a field was cut that a decision about another
// issuer depends on. Such a decision does not depend on spec.groups, for example, which is
// cut for a user in very many groups.
func truncatedForOthers(fields string) bool {
	for field := range strings.SplitSeq(fields, ",") {
		switch field {
		case "", "metadata.labels", "metadata.annotations", "metadata.ownerReferences", "spec.username", "spec.groups", "spec.extra", "status.conditions":
		default:
			return true
		}
	}
	return false
}

// checkNotCA looks at both places from which issuers take what a certificate is
// for.
func checkNotCA(spec *cmapi.CertificateRequestSpec) error {
	switch {
	case spec.IsCA:
		return fmt.Errorf("%w: spec.isCA is true", ErrOtherCA)
	case slices.Contains(spec.Usages, cmapi.UsageCertSign), slices.Contains(spec.Usages, cmapi.UsageCRLSign):
		return fmt.Errorf("%w: spec.usages has %q or %q", ErrOtherCA, cmapi.UsageCertSign, cmapi.UsageCRLSign)
	}
	if err := csr.CheckNotCA(spec.Request); err != nil {
		return fmt.Errorf("%w: %w: %w", ErrOtherCA, ErrRequest, err)
	}
	return nil
}
