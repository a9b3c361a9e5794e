// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// requireFit checks what Message promises.
func requireFit(t *testing.T, message string) {
	t.Helper()
	if message == "" || len(message) > policy.MaxMessage {
		t.Errorf("message has %d characters", len(message))
	}
	if strings.ContainsFunc(message, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("message has characters that do not print: %q", message)
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	p := newPolicy()
	spec := newSpec(p, request())
	spec.IsCA, spec.Duration = true, nil
	got := policy.Evaluate(p, around(p, spec)).Message()
	want := "wrong spec.isCA: it is true, must be false; wrong spec.duration: it is absent, must be 1h0m0s"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Hostile values come out harmless, however long they are.
func TestMessageIsFit(t *testing.T) {
	t.Parallel()
	hostile := "\x1b[2J\r\nApproved: \u202eevil\x00\xff\U0001f600\u0301" + strings.Repeat("\U0001f600", 1000)
	p := newPolicy()
	spec := newSpec(p, request(
		csrtest.SubjectAttribute(strings.ToValidUTF8(hostile, ""), 2, 5, 4, 3),
		csrtest.Names(csrtest.URI(hostile), csrtest.Element(0x82, []byte(hostile))),
	))
	spec.Username = "system:serviceaccount:x:" + hostile
	spec.Usages[0] = "evil"
	d := policy.Evaluate(p, around(p, spec))
	requireFit(t, d.Message())
	if want := fmt.Sprintf("... (%d reasons in all)", len(d.Reasons)); !strings.HasSuffix(d.Message(), want) {
		t.Errorf("message does not end with %q: %s", want, d.Message())
	}
	direct := policy.Decision{Verdict: policy.Deny, Reasons: []error{errors.Join(errors.New(hostile), errors.New("b"))}}
	requireFit(t, direct.Message())
}

func TestVerdictString(t *testing.T) {
	t.Parallel()
	for verdict, want := range map[policy.Verdict]string{
		policy.Ignore: "Ignore", policy.Approve: "Approve", policy.Deny: "Deny", 7: "Verdict(7)",
	} {
		if got := verdict.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if (policy.Decision{}).Verdict == policy.Approve {
		t.Error("the zero Decision approves")
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	p := newPolicy()
	// A fixed value, because other versions of the product must get the same.
	if got, want := p.Hash(), "a5ecdacbfb3666d2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(p.Hash()) {
		t.Errorf("got %q, want 16 hexadecimal digits", p.Hash())
	}
	seen := map[string]string{p.Hash(): "the policy itself"}
	for name, change := range map[string]func(p *policy.Policy){
		"trust domain":  func(p *policy.Policy) { p.TrustDomain = spiffeid.RequireTrustDomainFromString("other") },
		"issuer name":   func(p *policy.Policy) { p.IssuerRef.Name = "other" },
		"issuer kind":   func(p *policy.Policy) { p.IssuerRef.Kind = "Issuer" },
		"issuer group":  func(p *policy.Policy) { p.IssuerRef.Group = "example.org" },
		"key algorithm": func(p *policy.Policy) { p.Key.Algorithm = policy.RSA },
		"key size":      func(p *policy.Policy) { p.Key.Size = 384 },
		"duration":      func(p *policy.Policy) { p.Duration++ },
		"annotations":   func(p *policy.Policy) { p.Annotations = policy.NewAnnotations(map[string]string{"a": "b"}) },
	} {
		other := p
		change(&other)
		if same, found := seen[other.Hash()]; found {
			t.Errorf("another %s has the hash of %s", name, same)
		}
		seen[other.Hash()] = name
	}
	ignoring := p
	ignoring.IgnoredAnnotations, ignoring.IgnoredLabels = policy.NewKeys([]string{"a"}), policy.NewKeys([]string{"a"})
	if ignoring.Hash() != p.Hash() {
		t.Error("what is ignored makes a difference to the hash, though the driver makes the same requests")
	}
	defaulted := p
	defaulted.IssuerRef.Group = ""
	if defaulted.Hash() != p.Hash() {
		t.Error("a default makes a difference to the hash")
	}
}

func TestCertificateRequestSpec(t *testing.T) {
	t.Parallel()
	p := newPolicy()
	spec := p.CertificateRequestSpec(spiffeid.RequireFromString(csrtest.ID), []byte("request"))
	if string(spec.Request) != "request" || spec.IsCA || spec.Duration.Duration != time.Hour || len(spec.Usages) != 4 {
		t.Errorf("got %+v", spec)
	}
	if spec.IssuerRef.Name != p.IssuerRef.Name || spec.IssuerRef.Kind != p.IssuerRef.Kind || spec.IssuerRef.Group != p.IssuerRef.Group {
		t.Errorf("issuerRef is %+v", spec.IssuerRef)
	}
	if spec.Username != "" || spec.UID != "" || spec.Groups != nil || spec.Extra != nil {
		t.Error("sets what the webhook sets")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := newPolicy().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(p *policy.Policy){
		"nothing":           func(p *policy.Policy) { *p = policy.Policy{} },
		"no trust domain":   func(p *policy.Policy) { p.TrustDomain = spiffeid.TrustDomain{} },
		"no issuer":         func(p *policy.Policy) { p.IssuerRef.Name = "" },
		"no key":            func(p *policy.Policy) { p.Key = policy.KeySpec{} },
		"no duration":       func(p *policy.Policy) { p.Duration = 0 },
		"negative duration": func(p *policy.Policy) { p.Duration = -1 },
	} {
		p := newPolicy()
		change(&p)
		if err := p.Validate(); !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("%s: error is %v, want ErrPolicy", name, err)
		}
	}
}

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
