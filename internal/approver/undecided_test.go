// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"maps"
	"slices"
	"testing"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func ours() scope {
	return scope{issuer: policy.IssuerRef{Name: "ca", Kind: "ClusterIssuer", Group: "cert-manager.io"}}
}

// kept are the requests that a store holds, sorted.
func (s *watchStore) kept() []types.UID { return slices.Sorted(maps.Keys(s.waiting)) }

func TestWatchStoreKeepsWhatWaitsAndNothingElse(t *testing.T) {
	t.Parallel()
	v := newUndecidedRequests(ours().includes).openStore(ours())
	a, b := named("a", "ca"), named("b", "ca")
	for _, request := range []*cmapi.CertificateRequest{a, b, named("theirs", "other"), decidedNow(named("old", "ca"))} {
		check(t, v.Add(request))
	}
	if got := v.kept(); !slices.Equal(got, []types.UID{"a", "b"}) {
		t.Errorf("kept %q", got)
	}
	check(t, v.Update(decidedNow(a)))
	check(t, v.Delete(b))
	check(t, v.Delete(named("never-seen", "ca")))
	if got := v.kept(); len(got) != 0 {
		t.Errorf("kept %q, want nothing", got)
	}
	if v.hasSynced() {
		t.Error("it has synced before the first list")
	}
}

// That another approver lets a request for an SVID pass is told, once; that it
// denies one, that it approves what is not for us to decide, and that we have
// decided ourselves is not.
func TestWatchStoreTellsOfAnotherApprover(t *testing.T) {
	t.Parallel()
	var told []string
	box := newUndecidedRequests(ours().includes)
	box.onForeignApproval = func(request *cmapi.CertificateRequest) { told = append(told, request.Name) }
	v := box.openStore(scope{})
	decide := func(name, issuer string, kind cmapi.CertificateRequestConditionType, reason string) {
		request := named(name, issuer)
		check(t, v.Add(request))
		request = request.DeepCopy()
		apiutil.SetCertificateRequestCondition(request, kind, cmmeta.ConditionTrue, reason, "")
		check(t, v.Update(request))
		check(t, v.Update(request)) // when it is signed
	}
	decide("passed", "ca", cmapi.CertificateRequestConditionApproved, "cert-manager.io")
	decide("denied", "ca", cmapi.CertificateRequestConditionDenied, "policy.cert-manager.io")
	decide("theirs", "other", cmapi.CertificateRequestConditionApproved, "cert-manager.io")
	decide("ours", "ca", cmapi.CertificateRequestConditionApproved, ConditionReason)
	if !slices.Equal(told, []string{"passed"}) {
		t.Errorf("told of %q", told)
	}
}

func TestWatchStoreReplace(t *testing.T) {
	t.Parallel()
	v := newUndecidedRequests(ours().includes).openStore(ours())
	gone, stays := named("gone", "ca"), named("stays", "ca")
	check(t, v.Add(gone))
	check(t, v.Add(stays))
	seen := v.waiting["stays"].seen
	transform := v.Transformer()
	var objects []any
	for _, request := range []*cmapi.CertificateRequest{stays, named("new", "ca"), named("theirs", "other"), decidedNow(named("old", "ca"))} {
		object, err := transform(request)
		check(t, err)
		objects = append(objects, object)
	}
	if objects[2] != (unwanted{}) || objects[3] != (unwanted{}) {
		t.Errorf("of requests that are not kept, %v and %v are", objects[2], objects[3])
	}
	check(t, v.Replace(objects, "7"))
	if got := v.kept(); !slices.Equal(got, []types.UID{"new", "stays"}) {
		t.Errorf("kept %q", got)
	}
	if !v.waiting["stays"].seen.Equal(seen) {
		t.Error("a request counts as seen for the first time again")
	}
	if !v.hasSynced() {
		t.Error("it has not synced")
	}
}

// A request that is made again under the same name is another one.
func TestWatchStoreTellsRequestsOfOneNameApart(t *testing.T) {
	t.Parallel()
	box := newUndecidedRequests(ours().includes)
	v := box.openStore(ours())
	first, second := named("web-0", "ca"), named("web-0", "ca")
	second.UID = "another"
	check(t, v.Add(second))
	check(t, v.Delete(first))
	if _, ok := box.get("another"); !ok {
		t.Error("the deletion of the first one took the second away")
	}
}

func TestWatchStoreRefusesOtherObjects(t *testing.T) {
	t.Parallel()
	v := newUndecidedRequests(ours().includes).openStore(ours())
	for name, err := range map[string]error{"Add": v.Add("x"), "Update": v.Update(nil), "Delete": v.Delete(7)} {
		if err == nil {
			t.Errorf("%s takes what is no CertificateRequest", name)
		}
	}
}

// A store that was closed while its watch was still writing is not looked at.
func TestClosedViewIsForgotten(t *testing.T) {
	t.Parallel()
	box := newUndecidedRequests(ours().includes)
	before := box.openStore(ours())
	after := box.openStore(ours()) // the issuer has been configured again
	box.closeStore(before)
	check(t, before.Add(named("late", "ca")))
	check(t, after.Add(named("ours", "ca")))
	if _, ok := box.get("late"); ok {
		t.Error("a request of a closed store waits")
	}
	if _, ok := box.get("ours"); !ok {
		t.Error("closing the old store closed the new one")
	}
}

func TestTrimKeepsWhatADecisionNeeds(t *testing.T) {
	t.Parallel()
	request := named("ours", "ca")
	request.Annotations = map[string]string{policy.AnnotationHash: "0123456789abcdef", "other": "x"}
	request.Labels = map[string]string{"a": "b"}
	request.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "x"}}
	request.OwnerReferences = []metav1.OwnerReference{{Name: "x"}}
	request.ResourceVersion = "7"
	request.Spec.Request, request.Spec.Username, request.Spec.Groups = []byte("pem"), "system:serviceaccount:a:b", []string{"x"}
	request.Spec.IsCA, request.Spec.Usages = true, policy.Usages()
	request.Spec.Duration = &metav1.Duration{Duration: 1}
	request.Status.Conditions = []cmapi.CertificateRequestCondition{{Type: ready, Status: cmmeta.ConditionFalse}}
	got := trim(request)
	if got.ManagedFields != nil || got.partial {
		t.Errorf("kept more, or less: %+v", got)
	}
	if len(got.Labels) != 1 || len(got.OwnerReferences) != 1 || len(got.Annotations) != 2 || len(got.Spec.Groups) != 1 {
		t.Errorf("lost what is judged: %+v", got)
	}
	if got.Name != request.Name || got.Namespace != request.Namespace || got.UID != request.UID || got.ResourceVersion != "7" ||
		got.Annotations[policy.AnnotationHash] != "0123456789abcdef" || len(got.Status.Conditions) != 1 {
		t.Errorf("lost of the object: %+v", got)
	}
	want, spec := request.Spec, got.Spec
	if spec.Username != want.Username || string(spec.Request) != "pem" || !spec.IsCA || len(spec.Usages) != 4 ||
		spec.Duration.Duration != 1 || spec.IssuerRef != want.IssuerRef {
		t.Errorf("lost of the spec: %+v", spec)
	}
	if request.Labels == nil || request.Spec.Groups == nil {
		t.Error("the request itself was changed")
	}
}
