// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// Rollout is what an approver knows while a change of the policy spreads: a new
// file reaches the nodes over a minute or more, and a denial is final.
type Rollout struct {
	// Current is the policy in force.
	Current Policy
	// Earlier are those that were in force a short while ago, in any order.
	// What they allow is still approved, for the driver that made the request
	// may not have seen the change yet.
	Earlier []Policy
	// Others says which requests to other issuers are approved as well.
	Others Others
}

// Decide decides about a request.
//
// A request that Current or one of Earlier approves is approved.
//
// A request to an issuer other than Current's is ignored otherwise, unless
// [Others] has it approved.
//
// What is left is wrong as far as is known. It is denied, unless it has the stamp
// of a policy that is not known and patient is set: then the driver may have seen
// a change that has not arrived here, and the verdict is [Defer].
//
// The stamp, in [AnnotationHash], is written by the requester. It can delay a
// denial, never cause an approval: approvals do not depend on it.
func (r Rollout) Decide(patient bool, request *cmapi.CertificateRequest) Decision {
	decision := Evaluate(r.Current, request)
	if decision.Verdict == Approve {
		return decision
	}
	for _, earlier := range r.Earlier {
		if d := Evaluate(earlier, request); d.Verdict == Approve {
			return d
		}
	}
	if decision.Verdict == Ignore {
		return r.decideOther(request)
	}
	if stamp := request.Annotations[AnnotationHash]; patient && IsStamp(stamp) && !r.knows(stamp) {
		decision.Verdict = Defer
	}
	return decision
}

// knows reports whether a stamp is of one of the policies.
func (r Rollout) knows(stamp string) bool {
	return r.Current.Hash() == stamp ||
		slices.ContainsFunc(r.Earlier, func(p Policy) bool { return p.Hash() == stamp })
}
