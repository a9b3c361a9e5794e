// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"errors"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// What becomes of requests when the approver stands in for cert-manager's own.
func TestRolloutDecidesOthers(t *testing.T) {
	t.Parallel()
	current, earlier := newPolicy(), newPolicy()
	earlier.IssuerRef.Name = "former-ca"
	dns := request(csrtest.Names(csrtest.Element(0x82, []byte("example.org"))))
	to := func(issuer string, csrPEM []byte) cmapi.CertificateRequestSpec {
		spec := newSpec(current, csrPEM)
		spec.IssuerRef.Name, spec.Username, spec.Usages, spec.Duration = issuer, "alice", nil, nil
		return spec
	}
	own := newSpec(current, request())
	for name, test := range map[string]struct {
		spec   cmapi.CertificateRequestSpec
		others bool
		want   policy.Verdict
		reason error
	}{
		"other, switched off":        {to("other", dns), false, policy.Ignore, nil},
		"other":                      {to("other", dns), true, policy.Approve, nil},
		"other with SPIFFE ID":       {to("other", request()), true, policy.Ignore, csr.ErrCarriesSPIFFE},
		"other that cannot be read":  {to("other", []byte("?")), true, policy.Ignore, csr.ErrPEM},
		"ours, right":                {own, true, policy.Approve, nil},
		"ours, without SPIFFE ID":    {to(current.IssuerRef.Name, dns), true, policy.Deny, nil},
		"to the issuer of just now":  {to("former-ca", dns), true, policy.Ignore, nil},
		"right, to that of just now": {newSpec(earlier, request()), true, policy.Approve, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rollout := policy.Rollout{Current: current, Earlier: []policy.Policy{earlier}, Others: test.others}
			d := rollout.Decide("unknown-stamp", false, test.spec)
			if d.Verdict != test.want {
				t.Errorf("%s, want %s: %s", d.Verdict, test.want, d.Message())
			}
			if test.reason != nil && (len(d.Reasons) != 1 || !errors.Is(d.Reasons[0], test.reason)) {
				t.Errorf("reasons %v, want %v", d.Reasons, test.reason)
			}
			if test.reason != nil && !strings.Contains(d.Message(), test.reason.Error()) {
				t.Errorf("message %q does not say why", d.Message())
			}
			requireFit(t, d.Message())
		})
	}
}
