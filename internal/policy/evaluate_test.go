// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// A policy that is not whole approves nothing, however good the request. What is
// wrong with requests is in testdata/requests; see TestEvaluateCorpus.
func TestEvaluateUnderPolicyThatIsNotWhole(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(p *policy.Policy, spec *cmapi.CertificateRequestSpec)
		want   []error
	}{
		"without trust domain": {
			func(p *policy.Policy, _ *cmapi.CertificateRequestSpec) { p.TrustDomain = spiffeid.TrustDomain{} },
			[]error{policy.ErrPolicy, policy.ErrUsername, policy.ErrTrustDomain, policy.ErrIdentity},
		},
		"without key": {
			func(p *policy.Policy, _ *cmapi.CertificateRequestSpec) { p.Key = policy.KeySpec{} },
			[]error{policy.ErrPolicy, policy.ErrKey},
		},
		"without duration": {
			func(p *policy.Policy, spec *cmapi.CertificateRequestSpec) { p.Duration, spec.Duration.Duration = 0, 0 },
			[]error{policy.ErrPolicy},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPolicy()
			spec := newSpec(p, request())
			if d := policy.Evaluate(p, around(p, spec)); d.Verdict != policy.Approve {
				t.Fatalf("denied before it was changed: %s", d.Message())
			}
			test.change(&p, &spec)
			d := policy.Evaluate(p, around(p, spec))
			requireDenied(t, d, test.want...)
			requireFit(t, d.Message())
		})
	}
}

func TestEvaluateUsagesInAnyOrder(t *testing.T) {
	t.Parallel()
	p := newPolicy()
	spec := newSpec(p, request())
	for range spec.Usages {
		spec.Usages = append(spec.Usages[1:], spec.Usages[0])
		if d := policy.Evaluate(p, around(p, spec)); d.Verdict != policy.Approve {
			t.Errorf("%q: %s", spec.Usages, d.Message())
		}
	}
}

// Whatever else is wrong is said in the same breath.
func TestEvaluateCollectsReasons(t *testing.T) {
	t.Parallel()
	p := newPolicy()
	p.Key = policy.KeySpec{Algorithm: policy.RSA, Size: 2048}
	spec := newSpec(p, request(
		csrtest.SubjectAttribute("system:masters", 2, 5, 4, 10),
		csrtest.Names(csrtest.URI("spiffe://x/ns/kube-system/sa/admin")),
		func(t *csrtest.Template) { t.Spoil = true },
	))
	spec.IsCA, spec.Duration, spec.Usages, spec.Username = true, nil, nil, "alice"
	requireDenied(t, policy.Evaluate(p, around(p, spec)),
		policy.ErrUsername, policy.ErrIsCA, policy.ErrDuration, policy.ErrUsages, csr.ErrSubject, csr.ErrSignature,
		policy.ErrKey, policy.ErrTrustDomain, policy.ErrIdentity)
}
