// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"testing"
	"time"

	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// The API server selects by one value of a field, while a request may leave out
// what has a default: a selector must let through all that the scope includes.
func TestSelector(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		ref  policy.IssuerRef
		want string
	}{
		{"ClusterIssuer", policy.IssuerRef{Name: "ca", Kind: "ClusterIssuer", Group: "cert-manager.io"}, "spec.issuerRef.name=ca,spec.issuerRef.kind=ClusterIssuer"},
		{"Issuer, which a request may leave out", policy.IssuerRef{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"}, "spec.issuerRef.name=ca,spec.issuerRef.kind!=ClusterIssuer"},
		{"external", policy.IssuerRef{Name: "ca", Kind: "VaultIssuer", Group: "example.org"}, "spec.issuerRef.name=ca,spec.issuerRef.kind=VaultIssuer,spec.issuerRef.group=example.org"},
		{"any", policy.IssuerRef{}, ""},
	} {
		if got := (scope{issuer: row.ref}).selector(); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestScopeIncludes(t *testing.T) {
	t.Parallel()
	issuer := scope{issuer: policy.IssuerRef{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"}}
	for _, row := range []struct {
		name  string
		scope scope
		ref   cmmeta.IssuerReference
		want  bool
	}{
		{"spelt out", issuer, cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"}, true},
		{"with defaults", issuer, cmmeta.IssuerReference{Name: "ca"}, true},
		{"another name", issuer, cmmeta.IssuerReference{Name: "cb"}, false},
		{"another kind", issuer, cmmeta.IssuerReference{Name: "ca", Kind: "ClusterIssuer"}, false},
		{"another group", issuer, cmmeta.IssuerReference{Name: "ca", Group: "example.org"}, false},
		{"any", scope{}, cmmeta.IssuerReference{Name: "cb", Kind: "x", Group: "y"}, true},
	} {
		if got := row.scope.includes(row.ref); got != row.want {
			t.Errorf("%s: %t, want %t", row.name, got, row.want)
		}
	}
}

// The issuers of earlier policies are watched for as long as those are honoured.
func TestScopesFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	start := time.Now()
	a := policy.Policy{IssuerRef: policy.IssuerRef{Name: "a", Kind: "ClusterIssuer", Group: "cert-manager.io"}, Duration: 1}
	b := a
	b.IssuerRef.Name = "b"
	var r rollout
	expect := func(step string, now time.Time, until time.Time, want ...scope) {
		t.Helper()
		got, ends := r.scopes(now)
		if len(got) != len(want) || !ends.Equal(until) {
			t.Fatalf("%s: %v until %v, want %v until %v", step, got, ends, want, until)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: %v, want %v", step, got, want)
			}
		}
	}
	r.change(a, policy.Others{Approve: false}, start, time.Minute)
	expect("at first", start, time.Time{}, scope{issuer: a.IssuerRef})
	r.change(b, policy.Others{Approve: false}, start, time.Minute)
	expect("after a change", start, start.Add(time.Minute), scope{issuer: a.IssuerRef}, scope{issuer: b.IssuerRef})
	r.change(b, policy.Others{Approve: true}, start, time.Minute)
	expect("with others", start, start.Add(time.Minute), scope{generation: 3})
	r.change(b, policy.Others{Approve: false}, start, time.Minute)
	expect("after the grace period", start.Add(time.Minute), time.Time{}, scope{issuer: b.IssuerRef})
}
