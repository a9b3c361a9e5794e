// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// AnnotationHash is the annotation of a CertificateRequest that carries its
// stamp; see [Rollout.Decide].
const AnnotationHash = "spiffe.csi.cert-manager.io/policy-hash"

// Rollout is what an approver knows while a change of the policy spreads: a new
// file reaches the nodes over a minute or more, and a denial is final.
type Rollout struct {
	// Current is the policy in force.
	Current Policy
	// Earlier are those that were in force a short while ago, in any order.
	// What they allow is still approved, for the driver that made the request
	// may not have seen the change yet.
	Earlier []Policy
	// Others is set when requests to other issuers are approved as well, as
	// long as no SPIFFE ID is in them.
	Others bool
}

// Decide decides about a request that carries the stamp: the [Policy.Hash] of
// the policy that it was made under, as it claims, or nothing.
//
// A request that Current or one of Earlier approves is approved.
//
// A request to an issuer other than Current's is ignored otherwise. But if
// Others is set, and the issuer is not that of one of Earlier either, it is
// approved if it can be read and holds nothing that might be taken for a SPIFFE
// ID; if not, it is ignored with the reason.
//
// What is left is wrong as far as is known. It is denied, unless it has a stamp
// that is not known and patient is set: then the driver may have seen a change
// that has not arrived here, and the verdict is [Defer].
//
// The stamp is written by the requester. It can put a denial off, never cause
// an approval: approvals do not depend on it.
func (r Rollout) Decide(stamp string, patient bool, spec cmapi.CertificateRequestSpec) Decision {
	decision := Evaluate(r.Current, spec)
	if decision.Verdict == Approve {
		return decision
	}
	for _, earlier := range r.Earlier {
		if d := Evaluate(earlier, spec); d.Verdict == Approve {
			return d
		}
	}
	if decision.Verdict == Ignore && r.Others && !r.wasOurs(spec) {
		return decideOther(spec)
	}
	if decision.Verdict == Deny && patient && stamp != "" && !r.knows(stamp) {
		decision.Verdict = Defer
	}
	return decision
}

// knows reports whether a stamp is of one of the policies.
func (r Rollout) knows(stamp string) bool {
	return r.Current.Hash() == stamp ||
		slices.ContainsFunc(r.Earlier, func(p Policy) bool { return p.Hash() == stamp })
}
