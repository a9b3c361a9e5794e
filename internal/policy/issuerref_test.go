// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func TestEvaluateIssuerRef(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		ours policy.IssuerRef
		ref  cmmeta.IssuerReference
		want policy.Verdict
	}{
		{"same", policy.IssuerRef{Name: "ca", Kind: "ClusterIssuer", Group: "cert-manager.io"}, cmmeta.IssuerReference{Name: "ca", Kind: "ClusterIssuer", Group: "cert-manager.io"}, policy.Approve},
		{"group absent", policy.IssuerRef{Name: "ca", Kind: "ClusterIssuer", Group: "cert-manager.io"}, cmmeta.IssuerReference{Name: "ca", Kind: "ClusterIssuer"}, policy.Approve},
		{"kind absent, ours Issuer", policy.IssuerRef{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"}, cmmeta.IssuerReference{Name: "ca"}, policy.Approve},
		{"ours without kind and group", policy.IssuerRef{Name: "ca"}, cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"}, policy.Approve},
		{"kind absent, external group", policy.IssuerRef{Name: "ca", Kind: "Issuer", Group: "example.org"}, cmmeta.IssuerReference{Name: "ca", Group: "example.org"}, policy.Approve},
		{"external", policy.IssuerRef{Name: "ca", Kind: "Other", Group: "example.org"}, cmmeta.IssuerReference{Name: "ca", Kind: "Other", Group: "example.org"}, policy.Approve},
		{"kind absent, ours ClusterIssuer", policy.IssuerRef{Name: "ca", Kind: "ClusterIssuer", Group: "cert-manager.io"}, cmmeta.IssuerReference{Name: "ca"}, policy.Ignore},
		{"other name", policy.IssuerRef{Name: "ca", Kind: "Issuer"}, cmmeta.IssuerReference{Name: "ca2", Kind: "Issuer"}, policy.Ignore},
		{"other kind", policy.IssuerRef{Name: "ca", Kind: "Issuer"}, cmmeta.IssuerReference{Name: "ca", Kind: "ClusterIssuer"}, policy.Ignore},
		{"other group", policy.IssuerRef{Name: "ca", Kind: "Issuer"}, cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "example.org"}, policy.Ignore},
		{"name in other case", policy.IssuerRef{Name: "ca"}, cmmeta.IssuerReference{Name: "CA"}, policy.Ignore},
		{"kind in other case", policy.IssuerRef{Name: "ca"}, cmmeta.IssuerReference{Name: "ca", Kind: "issuer"}, policy.Ignore},
		{"name absent", policy.IssuerRef{Name: "ca"}, cmmeta.IssuerReference{}, policy.Ignore},
		{"both nameless", policy.IssuerRef{}, cmmeta.IssuerReference{}, policy.Ignore},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPolicy()
			p.IssuerRef = test.ours
			spec := newSpec(p, request())
			spec.IssuerRef = test.ref
			d := policy.Evaluate(p, around(p, spec))
			if d.Verdict != test.want {
				t.Errorf("got %s, want %s: %s", d.Verdict, test.want, d.Message())
			}
		})
	}
}

// Nothing else is looked at in a request to another issuer.
func TestEvaluateIgnoresWrongRequestToOthers(t *testing.T) {
	t.Parallel()
	d := policy.Evaluate(newPolicy(), &cmapi.CertificateRequest{Spec: cmapi.CertificateRequestSpec{
		IssuerRef: cmmeta.IssuerReference{Name: "other"}, Request: []byte("x"), IsCA: true, Username: username,
	}})
	if d.Verdict != policy.Ignore || d.Reasons != nil || !d.ID.IsZero() || !d.ServiceAccount.IsZero() {
		t.Errorf("got %+v", d)
	}
	if d.Message() == "" {
		t.Error("no message")
	}
}

func TestIssuerRefString(t *testing.T) {
	t.Parallel()
	if got, want := (policy.IssuerRef{Name: "ca"}).String(), "Issuer.cert-manager.io/ca"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
