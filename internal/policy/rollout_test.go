// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// rollout has policies that differ in one respect each.
func rollout() (current, earlier, unknown policy.Policy) {
	current, earlier, unknown = newPolicy(), newPolicy(), newPolicy()
	earlier.Duration = 2 * time.Hour
	unknown.Duration = 3 * time.Hour
	return current, earlier, unknown
}

// Every combination of whom a request satisfies, what it is stamped with, and
// whether there is patience left.
func TestRolloutDecide(t *testing.T) {
	t.Parallel()
	current, earlier, unknown := rollout()
	requests := map[string]cmapi.CertificateRequestSpec{
		"current": newSpec(current, request()), "earlier": newSpec(earlier, request()),
		"unknown": newSpec(unknown, request()), "foreign": newSpec(current, request()),
	}
	foreign := requests["foreign"]
	foreign.IssuerRef.Name = "another"
	requests["foreign"] = foreign
	demanded := map[string]policy.Policy{"current": current, "earlier": earlier, "unknown": unknown, "foreign": current}
	stamps := map[string]string{
		"none": "", "current": current.Hash(), "earlier": earlier.Hash(), "unknown": unknown.Hash(), "garbage": "\x00x",
	}
	for allowedBy, spec := range requests {
		for stampOf, stamp := range stamps {
			for _, patient := range []bool{true, false} {
				request := stamped(around(demanded[allowedBy], spec), stamp)
				t.Run(fmt.Sprintf("%s stamp %s patient %t", allowedBy, stampOf, patient), func(t *testing.T) {
					t.Parallel()
					want := policy.Deny
					switch {
					case allowedBy == "foreign":
						want = policy.Ignore
					case stampOf == "none", stampOf == "garbage": // no driver makes such a request
					case allowedBy == "current", allowedBy == "earlier":
						want = policy.Approve
					case patient && stampOf == "unknown":
						want = policy.Defer
					}
					got := policy.Rollout{Current: current, Earlier: []policy.Policy{earlier}}.Decide(patient, request)
					if got.Verdict != want {
						t.Errorf("%s, want %s: %s", got.Verdict, want, got.Message())
					}
					if hasReason := len(got.Reasons) > 0; hasReason != (want == policy.Deny || want == policy.Defer) {
						t.Errorf("%s with reasons %v", got.Verdict, got.Reasons)
					}
				})
			}
		}
	}
}

// An issuer that only an earlier policy names is not ours any more: what that
// policy allowed is approved, and the rest is somebody else's to decide.
func TestRolloutLeavesTheEarlierIssuerToOthers(t *testing.T) {
	t.Parallel()
	current, earlier := newPolicy(), newPolicy()
	earlier.IssuerRef.Name = "earlier"
	r := policy.Rollout{Current: current, Earlier: []policy.Policy{earlier}}
	good := newSpec(earlier, request())
	if d := r.Decide(true, around(earlier, good)); d.Verdict != policy.Approve {
		t.Errorf("a good request to the earlier issuer: %s", d.Message())
	}
	bad := good
	bad.IsCA = true
	if d := r.Decide(true, around(earlier, bad)); d.Verdict != policy.Ignore {
		t.Errorf("a bad request to the earlier issuer: %s %s", d.Verdict, d.Message())
	}
}

// Whatever the stamp, a request that no known policy allows is never approved,
// and one that a known policy allows always is.
func TestRolloutStampNeverApproves(t *testing.T) {
	t.Parallel()
	current, earlier, unknown := rollout()
	r := policy.Rollout{Current: current, Earlier: []policy.Policy{earlier}}
	random := rand.New(rand.NewPCG(1, 2))
	stamps := []string{"0123456789abcdef", current.Hash(), earlier.Hash(), unknown.Hash()}
	wrong, right := newSpec(unknown, request()), newSpec(earlier, request())
	for range 2000 {
		stamp := stamps[random.IntN(len(stamps))]
		if random.IntN(2) == 0 {
			stamp = fmt.Sprintf("%016x", random.Uint64())
		}
		patient := random.IntN(2) == 0
		if d := r.Decide(patient, stamped(around(current, wrong), stamp)); d.Verdict == policy.Approve || !errors.Is(d.Reasons[0], policy.ErrDuration) {
			t.Fatalf("stamp %q: %s %v", stamp, d.Verdict, d.Reasons)
		}
		if d := r.Decide(patient, stamped(around(current, right), stamp)); d.Verdict != policy.Approve {
			t.Fatalf("stamp %q: %s", stamp, d.Verdict)
		}
	}
}

// stamped puts another stamp on a request, or none.
func stamped(request *cmapi.CertificateRequest, stamp string) *cmapi.CertificateRequest {
	request.Annotations[policy.AnnotationHash] = stamp
	if stamp == "" {
		delete(request.Annotations, policy.AnnotationHash)
	}
	return request
}

func TestIdentityHash(t *testing.T) {
	t.Parallel()
	p := newPolicy()
	longer := p
	longer.Duration *= 2
	if p.IdentityHash() != longer.IdentityHash() {
		t.Error("the duration changes the identity hash")
	}
	annotated := p
	annotated.Annotations = policy.NewAnnotations(map[string]string{"a": "b"})
	if p.IdentityHash() != annotated.IdentityHash() {
		t.Error("annotations of the request change the identity hash")
	}
	other := p
	other.IssuerRef.Name = "another"
	if p.IdentityHash() == other.IdentityHash() {
		t.Error("the issuer does not change the identity hash")
	}
	if p.IdentityHash() == p.Hash() {
		t.Error("the identity hash is that of the whole policy")
	}
}
