// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"crypto"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// Keys are the same for all tests.
var keys = sync.OnceValue(csrtest.NewKeys)

const username = "system:serviceaccount:sandbox:example-app"

func newPolicy() policy.Policy {
	return policy.Policy{
		TrustDomain: spiffeid.RequireTrustDomainFromString("my.trust.domain"),
		IssuerRef:   policy.IssuerRef{Name: "csi-driver-spiffe-ca", Kind: "ClusterIssuer", Group: "cert-manager.io"},
		Key:         policy.KeySpec{Algorithm: policy.ECDSA, Size: 256},
		Duration:    time.Hour,
	}
}

// newSpec is a CertificateRequest as it is after cert-manager's webhook saw it.
func newSpec(p policy.Policy, csrPEM []byte) cmapi.CertificateRequestSpec {
	spec := p.CertificateRequestSpec(spiffeid.RequireFromString(csrtest.ID), csrPEM)
	spec.Username = username
	return spec
}

// around puts around a spec what the driver does, for a pod of the
// ServiceAccount in spec.username, and what the webhook notes of that.
func around(p policy.Policy, spec cmapi.CertificateRequestSpec) *cmapi.CertificateRequest {
	namespace, id := "sandbox", spiffeid.ID{}
	if sa, err := spiffe.ParseUsername(spec.Username); err == nil {
		namespace = sa.Namespace()
		id, _ = p.SPIFFEID(sa)
	}
	spec.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	spec.Extra = map[string][]string{policy.ExtraPodName: {"web-0"}, policy.ExtraPodUID: {"0-1-2"}}
	request := &cmapi.CertificateRequest{Spec: spec}
	request.Namespace, request.Name = namespace, "web-0-x2b4z"
	request.Labels = map[string]string{policy.LabelNode: "worker-1"}
	request.Annotations = p.RequestAnnotations(id)
	if id.IsZero() {
		delete(request.Annotations, policy.AnnotationIdentity)
	}
	request.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "web-0", UID: "0-1-2"}}
	return request
}

// request is the good request, changed.
func request(mutations ...csrtest.Mutation) []byte {
	return csrtest.Good(keys().Main).With(mutations...).PEM()
}

// What the driver asks for under a policy, the approver approves under it.
func TestEvaluateApprovesWhatIsBuilt(t *testing.T) {
	t.Parallel()
	for name, key := range keys().ByName {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPolicy()
			p.Key = csr.KeySpecOf(key.Public())
			sa, err := spiffe.ParseUsername(username)
			if err != nil {
				t.Fatal(err)
			}
			id, err := p.SPIFFEID(sa)
			if err != nil {
				t.Fatal(err)
			}
			built, err := csr.Build(id, key)
			if err != nil {
				t.Fatal(err)
			}
			d := policy.Evaluate(p, around(p, newSpec(p, built)))
			if d.Verdict != policy.Approve || d.ID != id || d.ServiceAccount != sa || d.Reasons != nil {
				t.Errorf("got %s: %s", d.Verdict, d.Message())
			}
			if !strings.Contains(d.Message(), id.String()) {
				t.Errorf("message does not say the ID: %s", d.Message())
			}
		})
	}
}

// A key of any other kind or size than the policy's is denied, however good.
func TestEvaluateDeniesOtherKeys(t *testing.T) {
	t.Parallel()
	id := spiffeid.RequireFromString(csrtest.ID)
	for demanded, demandedKey := range keys().ByName {
		for found, key := range keys().ByName {
			if demanded == found {
				continue
			}
			t.Run(found+" instead of "+demanded, func(t *testing.T) {
				t.Parallel()
				requireKeyDenied(t, csr.KeySpecOf(demandedKey.Public()), id, key)
			})
		}
	}
}

func requireKeyDenied(t *testing.T, demanded policy.KeySpec, id spiffeid.ID, key crypto.Signer) {
	t.Helper()
	built, err := csr.Build(id, key)
	if err != nil {
		t.Fatal(err)
	}
	p := newPolicy()
	p.Key = demanded
	d := policy.Evaluate(p, around(p, newSpec(p, built)))
	requireDenied(t, d, policy.ErrKey)
	for _, spec := range []policy.KeySpec{demanded, csr.KeySpecOf(key.Public())} {
		if !strings.Contains(d.Message(), spec.String()) {
			t.Errorf("message does not say %s: %s", spec, d.Message())
		}
	}
}

// requireDenied checks that there are these reasons, in this order, and no others.
func requireDenied(t *testing.T, d policy.Decision, want ...error) {
	t.Helper()
	if d.Verdict != policy.Deny || !slices.EqualFunc(d.Reasons, want, errors.Is) {
		t.Errorf("got %s with reasons %q, want Deny with %q", d.Verdict, d.Reasons, want)
	}
}

// Each request of testdata/requests gets the verdict of its name, for its own
// reasons and no other.
func TestEvaluateCorpus(t *testing.T) {
	t.Parallel()
	for _, file := range requests(t) {
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			d := policy.Evaluate(file.Policy, file.Request)
			if d.Verdict != file.Verdict || !slices.EqualFunc(d.Reasons, file.Want, errors.Is) {
				t.Errorf("got %s with reasons %q,\nwant %s with %q", d.Verdict, d.Reasons, file.Verdict, file.Want)
			}
			requireFit(t, d.Message())
		})
	}
}

func requests(t testing.TB) []corpus.File {
	t.Helper()
	files, err := corpus.Read("../../testdata/requests")
	if err != nil {
		t.Fatal(err)
	}
	return files
}
