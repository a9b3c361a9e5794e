// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// decideOther decides about a request to an issuer that is not the one of
// SVIDs. It stands in for cert-manager's own approver, which approves whatever
// there is; but no SPIFFE ID gets past it.
//
// What is not approved is left alone, not denied: another approver may be there
// for that issuer, such as that of a second installation with a trust domain of
// its own, and a denial would be final.
func decideOther(spec cmapi.CertificateRequestSpec) Decision {
	if err := csr.CheckOther(spec.Request); err != nil {
		return Decision{Verdict: Ignore, Reasons: []error{fmt.Errorf("%w: %w", ErrRequest, err)}}
	}
	return Decision{Verdict: Approve}
}

// wasOurs reports whether a request is to the issuer of an earlier policy. The
// CA that signs SVIDs is not open to others as soon as the file names another.
func (r Rollout) wasOurs(spec cmapi.CertificateRequestSpec) bool {
	return slices.ContainsFunc(r.Earlier, func(p Policy) bool { return p.IssuerRef.Names(spec.IssuerRef) })
}
