// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// What becomes of requests when the approver stands in for cert-manager's own.
// The issuers former-ca (just now), listed-ca (approver.formerIssuers) and
// root-ca (approver.approveCAs) are beside that of SVIDs.
func TestRolloutDecidesOthers(t *testing.T) {
	t.Parallel()
	current, earlier := newPolicy(), newPolicy()
	earlier.IssuerRef.Name = "former-ca"
	issuer := func(name string) policy.IssuerRef { return policy.IssuerRef{Name: name, Kind: "ClusterIssuer"} }
	dns := request(csrtest.Names(csrtest.Element(0x82, []byte("example.org"))))
	caInCSR := request(csrtest.Names(csrtest.Element(0x82, []byte("example.org"))),
		csrtest.Extend(true, csrtest.Sequence([]byte{1, 1, 0xff}), 2, 5, 29, 19))
	to := func(issuer string, csrPEM []byte, changes ...func(*cmapi.CertificateRequest)) *cmapi.CertificateRequest {
		spec := newSpec(current, csrPEM)
		spec.IssuerRef.Name, spec.Username, spec.Usages, spec.Duration = issuer, "alice", nil, nil
		made := around(current, spec)
		for _, change := range changes {
			change(made)
		}
		return made
	}
	isCA := func(r *cmapi.CertificateRequest) { r.Spec.IsCA = true }
	tenYears := func(r *cmapi.CertificateRequest) { r.Spec.Duration = &metav1.Duration{Duration: 87600e9 * 3600} }
	usage := func(usage cmapi.KeyUsage) func(*cmapi.CertificateRequest) {
		return func(r *cmapi.CertificateRequest) { r.Spec.Usages = []cmapi.KeyUsage{cmapi.UsageServerAuth, usage} }
	}
	cutIn := func(fields string) func(*cmapi.CertificateRequest) {
		return func(r *cmapi.CertificateRequest) { r.Annotations[policy.AnnotationTruncated] = fields }
	}
	truncated := cutIn("spec.usages")
	const approve, ignore, deny = policy.Approve, policy.Ignore, policy.Deny
	for name, test := range map[string]struct {
		request *cmapi.CertificateRequest
		others  bool
		want    policy.Verdict
		reasons []error
	}{
		"other, switched off":                       {to("other", dns), false, ignore, nil},
		"other":                                     {to("other", dns), true, approve, nil},
		"other with SPIFFE ID":                      {to("other", request()), true, ignore, []error{csr.ErrCarriesSPIFFE}},
		"other that cannot be read":                 {to("other", []byte("?")), true, ignore, []error{csr.ErrPEM}},
		"other that was cut in groups":              {to("other", dns, cutIn("spec.groups,metadata.labels")), true, approve, nil},
		"other that was cut in two places":          {to("other", dns, cutIn("spec.groups,spec.isCA")), true, ignore, []error{policy.ErrTruncated}},
		"other that was cut somewhere":              {to("other", dns, cutIn("spec.new")), true, ignore, []error{policy.ErrTruncated}},
		"other that was cut":                        {to("other", dns, truncated), true, ignore, []error{policy.ErrTruncated}},
		"other, CA":                                 {to("other", dns, isCA), true, ignore, []error{policy.ErrOtherCA}},
		"other, CA in the CSR alone":                {to("other", caInCSR), true, ignore, []error{csr.ErrAsksForCA}},
		"other, cert sign":                          {to("other", dns, usage(cmapi.UsageCertSign)), true, ignore, []error{policy.ErrOtherCA}},
		"other, crl sign":                           {to("other", dns, usage(cmapi.UsageCRLSign)), true, ignore, []error{policy.ErrOtherCA}},
		"listed for CAs, CA":                        {to("root-ca", dns, isCA, usage(cmapi.UsageCertSign)), true, approve, nil},
		"listed for CAs, CA in the CSR":             {to("root-ca", caInCSR), true, approve, nil},
		"listed for CAs, switched off":              {to("root-ca", dns, isCA), false, ignore, nil},
		"listed for CAs, with SPIFFE ID":            {to("root-ca", request(), isCA), true, ignore, []error{csr.ErrCarriesSPIFFE}},
		"ours, right":                               {around(current, newSpec(current, request())), true, approve, nil},
		"ours, without SPIFFE ID":                   {to(current.IssuerRef.Name, dns), true, deny, nil},
		"to the issuer of just now":                 {to("former-ca", dns), true, ignore, nil},
		"right, to that of just now":                {around(earlier, newSpec(earlier, request())), true, approve, nil},
		"to a former issuer":                        {to("listed-ca", dns), true, ignore, []error{policy.ErrFormerIssuer}},
		"to a former issuer, CA, ten years":         {to("listed-ca", dns, isCA, tenYears), true, ignore, []error{policy.ErrFormerIssuer, policy.ErrOtherCA}},
		"to a former issuer that is listed for CAs": {to("both-ca", dns, isCA), true, ignore, []error{policy.ErrFormerIssuer}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rollout := policy.Rollout{Current: current, Earlier: []policy.Policy{earlier}, Others: policy.Others{
				Approve: test.others,
				CAs:     []policy.IssuerRef{issuer("root-ca"), issuer("both-ca")},
				Former:  []policy.IssuerRef{issuer("listed-ca"), issuer("both-ca")},
			}}
			d := rollout.Decide(false, test.request)
			if d.Verdict != test.want {
				t.Errorf("%s, want %s: %s", d.Verdict, test.want, d.Message())
			}
			if d.Verdict == ignore && !slices.EqualFunc(d.Reasons, test.reasons, errors.Is) {
				t.Errorf("reasons %v, want %v", d.Reasons, test.reasons)
			}
			for _, reason := range test.reasons {
				if !strings.Contains(d.Message(), reason.Error()) {
					t.Errorf("message %q does not say why", d.Message())
				}
			}
			requireFit(t, d.Message())
		})
	}
}
