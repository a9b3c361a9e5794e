// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// issue checks decisions by what becomes of them.
type issue struct{ *corpus.Issuer }

func newIssue(t testing.TB) issue {
	t.Helper()
	issuer, err := corpus.NewIssuer()
	if err != nil {
		t.Fatal(err)
	}
	return issue{issuer}
}

// requireSound decides about a request, and asserts what goes for any: ours is
// denied with reasons or approved without, another issuer's is ignored, and of
// an approved one cert-manager's issuer makes an SVID for the requester and for
// nothing else.
func (i issue) requireSound(t *testing.T, spec cmapi.CertificateRequestSpec) policy.Verdict {
	t.Helper()
	return i.requireSoundUnder(t, newPolicy(), spec)
}

func (i issue) requireSoundUnder(t *testing.T, p policy.Policy, spec cmapi.CertificateRequestSpec) policy.Verdict {
	t.Helper()
	d := policy.Evaluate(p, around(p, spec))
	requireFit(t, d.Message())
	group := spec.IssuerRef.Group
	ours := spec.IssuerRef.Name == p.IssuerRef.Name && spec.IssuerRef.Kind == p.IssuerRef.Kind && (group == "" || group == p.IssuerRef.Group)
	switch {
	case ours != (d.Verdict != policy.Ignore), (d.Verdict == policy.Deny) != (len(d.Reasons) > 0), d.Verdict == policy.Defer:
		t.Fatalf("%s with reasons %q of a request to %+v", d.Verdict, d.Reasons, spec.IssuerRef)
	case d.Verdict == policy.Approve:
		i.requireSVID(t, p, spec, d)
	}
	return d.Verdict
}

// requireSVID checks an approval by other means than those it came about by.
func (i issue) requireSVID(t *testing.T, p policy.Policy, spec cmapi.CertificateRequestSpec, d policy.Decision) {
	t.Helper()
	namespace, account, _ := strings.Cut(strings.TrimPrefix(spec.Username, "system:serviceaccount:"), ":")
	if id := "spiffe://my.trust.domain/ns/" + namespace + "/sa/" + account; d.ID.String() != id {
		t.Fatalf("approved %s for %s, which has %s", d.ID, spec.Username, id)
	}
	parsed, err := csr.Parse(spec.Request)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := i.Issue(spec)
	if err != nil {
		// The order of the purposes is the one thing that cert-manager minds and
		// nobody else does. Its webhook refuses such a request when it is made.
		if !strings.Contains(err.Error(), "[ 'client auth', 'server auth' ] do not match the expected ExtKeyUsages [ 'server auth', 'client auth' ]") &&
			!strings.Contains(err.Error(), "[ 'server auth', 'client auth' ] do not match the expected ExtKeyUsages [ 'client auth', 'server auth' ]") {
			t.Fatalf("approved what the issuer refuses: %v", err)
		}
		return
	}
	want := corpus.SVID{ID: d.ID, Key: keys().Of(parsed.PublicKey), Duration: p.Duration}
	if err := corpus.CheckSVID(chain, i.Bundle(p.TrustDomain), want); err != nil {
		t.Fatalf("of what was approved, the issuer makes a certificate that is wrong: %v\n%s", err, chain)
	}
}
