// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Each row is an approved request and policy with one change.
func TestEvaluateDenies(t *testing.T) {
	t.Parallel()
	type change = func(p *policy.Policy, spec *cmapi.CertificateRequestSpec)
	specChange := func(f func(spec *cmapi.CertificateRequestSpec)) change {
		return func(_ *policy.Policy, spec *cmapi.CertificateRequestSpec) { f(spec) }
	}
	usages := func(usages ...cmapi.KeyUsage) change {
		return specChange(func(spec *cmapi.CertificateRequestSpec) { spec.Usages = usages })
	}
	duration := func(d time.Duration) change {
		return specChange(func(spec *cmapi.CertificateRequestSpec) { spec.Duration = &metav1.Duration{Duration: d} })
	}
	user := func(name string) change {
		return specChange(func(spec *cmapi.CertificateRequestSpec) { spec.Username = name })
	}
	uri := func(uri string) change {
		return specChange(func(spec *cmapi.CertificateRequestSpec) { spec.Request = request(csrtest.Names(csrtest.URI(uri))) })
	}
	four := policy.Usages()
	for name, test := range map[string]struct {
		change change
		want   []error
	}{
		"user missing":             {user(""), []error{policy.ErrUsername, policy.ErrIdentity}},
		"user a person":            {user("alice"), []error{policy.ErrUsername, policy.ErrIdentity}},
		"user the driver":          {user("system:serviceaccount:cert-manager:csi-driver-spiffe"), []error{policy.ErrIdentity}},
		"user of other namespace":  {user("system:serviceaccount:other:example-app"), []error{policy.ErrIdentity}},
		"user of other name":       {user("system:serviceaccount:sandbox:example"), []error{policy.ErrIdentity}},
		"user with a path":         {user("system:serviceaccount:sandbox:x/../example-app"), []error{policy.ErrUsername, policy.ErrIdentity}},
		"CA":                       {specChange(func(spec *cmapi.CertificateRequestSpec) { spec.IsCA = true }), []error{policy.ErrIsCA}},
		"duration absent":          {specChange(func(spec *cmapi.CertificateRequestSpec) { spec.Duration = nil }), []error{policy.ErrDuration}},
		"duration zero":            {duration(0), []error{policy.ErrDuration}},
		"duration 1 ns longer":     {duration(time.Hour + 1), []error{policy.ErrDuration}},
		"duration 1 ns shorter":    {duration(time.Hour - 1), []error{policy.ErrDuration}},
		"duration negative":        {duration(-time.Hour), []error{policy.ErrDuration}},
		"usages absent":            {usages(), []error{policy.ErrUsages}},
		"usages empty":             {usages([]cmapi.KeyUsage{}...), []error{policy.ErrUsages}},
		"usages without one":       {usages(four[:3]...), []error{policy.ErrUsages}},
		"usages with one more":     {usages(append(four, cmapi.UsageCertSign)...), []error{policy.ErrUsages}},
		"usages with one repeated": {usages(append(four, four[0])...), []error{policy.ErrUsages}},
		"usages one instead":       {usages(four[0], four[1], four[2], four[2]), []error{policy.ErrUsages}},
		"usages signing":           {usages(cmapi.UsageSigning, four[1], four[2], four[3]), []error{policy.ErrUsages}},
		"usages upper-case":        {usages("Digital Signature", four[1], four[2], four[3]), []error{policy.ErrUsages}},
		"request absent":           {specChange(func(spec *cmapi.CertificateRequestSpec) { spec.Request = nil }), []error{csr.ErrPEM}},
		"other ServiceAccount":     {uri("spiffe://my.trust.domain/ns/sandbox/sa/admin"), []error{policy.ErrIdentity}},
		"other namespace":          {uri("spiffe://my.trust.domain/ns/kube-system/sa/example-app"), []error{policy.ErrIdentity}},
		"ID longer":                {uri(csrtest.ID + "/x"), []error{policy.ErrIdentity}},
		"ID shorter":               {uri("spiffe://my.trust.domain/ns/sandbox/sa"), []error{policy.ErrIdentity}},
		"path upper-case":          {uri("spiffe://my.trust.domain/ns/Sandbox/sa/example-app"), []error{policy.ErrIdentity}},
		"other trust domain":       {uri("spiffe://other.domain/ns/sandbox/sa/example-app"), []error{policy.ErrTrustDomain, policy.ErrIdentity}},
		"trust domain longer":      {uri("spiffe://my.trust.domain.evil/ns/sandbox/sa/example-app"), []error{policy.ErrTrustDomain, policy.ErrIdentity}},
		"policy without trust domain": {
			func(p *policy.Policy, _ *cmapi.CertificateRequestSpec) { p.TrustDomain = spiffeid.TrustDomain{} },
			[]error{policy.ErrPolicy, policy.ErrUsername, policy.ErrTrustDomain, policy.ErrIdentity},
		},
		"policy without key": {
			func(p *policy.Policy, _ *cmapi.CertificateRequestSpec) { p.Key = policy.KeySpec{} },
			[]error{policy.ErrPolicy, policy.ErrKey},
		},
		"policy without duration": {
			func(p *policy.Policy, spec *cmapi.CertificateRequestSpec) { p.Duration, spec.Duration.Duration = 0, 0 },
			[]error{policy.ErrPolicy},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPolicy()
			spec := newSpec(p, request())
			if d := policy.Evaluate(p, spec); d.Verdict != policy.Approve {
				t.Fatalf("denied before it was changed: %s", d.Message())
			}
			test.change(&p, &spec)
			d := policy.Evaluate(p, spec)
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
		if d := policy.Evaluate(p, spec); d.Verdict != policy.Approve {
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
	requireDenied(t, policy.Evaluate(p, spec),
		policy.ErrUsername, policy.ErrIsCA, policy.ErrDuration, policy.ErrUsages, csr.ErrSubject, csr.ErrSignature,
		policy.ErrKey, policy.ErrTrustDomain, policy.ErrIdentity)
}
