// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

const (
	approved = cmapi.CertificateRequestConditionApproved
	denied   = cmapi.CertificateRequestConditionDenied
	ready    = cmapi.CertificateRequestConditionReady
)

// requestWith returns a request with one condition, or none.
func requestWith(kind cmapi.CertificateRequestConditionType, status cmmeta.ConditionStatus) *cmapi.CertificateRequest {
	request := &cmapi.CertificateRequest{}
	request.Namespace, request.Name, request.UID = "sandbox", "web-0-x2b4", "web-0-x2b4"
	if kind != "" {
		request.Status.Conditions = []cmapi.CertificateRequestCondition{{Type: kind, Status: status}}
	}
	return request
}

func TestDecided(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		kind   cmapi.CertificateRequestConditionType
		status cmmeta.ConditionStatus
		want   bool
	}{
		{"new", "", "", false},
		{"approved", approved, cmmeta.ConditionTrue, true},
		{"denied", denied, cmmeta.ConditionTrue, true},
		{"not approved", approved, cmmeta.ConditionFalse, false},
		{"not denied", denied, cmmeta.ConditionFalse, false},
		{"approval unknown", approved, cmmeta.ConditionUnknown, false},
		{"only ready", ready, cmmeta.ConditionTrue, false},
	} {
		if got := decided(requestWith(row.kind, row.status)); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

func TestSetCondition(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		decision policy.Decision
		kind     cmapi.CertificateRequestConditionType
	}{
		{"approve", policy.Decision{Verdict: policy.Approve}, approved},
		{"deny", policy.Decision{Verdict: policy.Deny, Reasons: []error{errors.New("one"), errors.New("two\nlines")}}, denied},
		{"deny for a great many reasons", policy.Decision{Verdict: policy.Deny, Reasons: many(1000)}, denied},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			request := requestWith(ready, cmmeta.ConditionFalse)
			setCondition(request, row.decision)
			conditions := request.Status.Conditions
			if len(conditions) != 2 || conditions[0].Type != ready {
				t.Fatalf("conditions %+v, want one more", conditions)
			}
			got := apiutil.GetCertificateRequestCondition(request, row.kind)
			if got == nil || got.Status != cmmeta.ConditionTrue || got.Reason != ConditionReason || got.LastTransitionTime == nil {
				t.Fatalf("condition %+v", got)
			}
			if got.Message != row.decision.Message() || got.Message == "" || len(got.Message) > 1024 || strings.Contains(got.Message, "\n") {
				t.Errorf("message %q", got.Message)
			}
			if !decided(request) {
				t.Error("it does not count as decided")
			}
		})
	}
}

func many(n int) []error {
	var out []error
	for range n {
		out = append(out, errors.New("a reason of some length"))
	}
	return out
}

// What becomes of a request when the API server answers to its decision.
func TestDecideOnWhatTheServerSays(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		answer answer
		is     func(error) bool // of the error; nil if there is to be none
		class  string
		waits  bool // whether the request is still to be decided
	}{
		{"done", answer{code: http.StatusOK}, nil, "", false},
		{"gone meanwhile", answer{code: http.StatusNotFound}, apierrors.IsNotFound, "other", false},
		{"changed meanwhile", answer{code: http.StatusConflict}, apierrors.IsConflict, "conflict", true},
		{"too many requests", answer{code: http.StatusTooManyRequests}, apierrors.IsTooManyRequests, "throttled", true},
		{"may not update", answer{code: http.StatusForbidden}, wraps(errMayNotUpdate), "missing_right", true},
		{
			"may not approve",
			answer{http.StatusForbidden, `status.conditions: Forbidden: user "x" does not have permissions to set approved/denied conditions for issuer {ca ClusterIssuer cert-manager.io}`},
			wraps(errMayNotApprove), "missing_right", true,
		},
		{"no such kind of issuer", answer{http.StatusForbidden, "spec.issuerRef: Forbidden: referenced signer resource does not exist: {ca Foo bar}"}, wraps(errNoSigner), "no_signer", true},
		{"webhook away", answer{http.StatusInternalServerError, `failed calling webhook "webhook.cert-manager.io": connection refused`}, wraps(errWebhook), "webhook", true},
		{"broken", answer{code: http.StatusInternalServerError}, apierrors.IsInternalError, "other", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			approver := newApprover(t, &api{answers: []answer{row.answer}})
			approver.see(t, named("ours", "ca"))
			e, _ := approver.undecided.get("ours")
			_, err := approver.decide(t.Context(), e, newQueue(2))
			if row.is == nil {
				check(t, err)
			} else if err == nil || !row.is(err) {
				t.Errorf("got %v", err)
			}
			if err != nil && failureClass(err) != row.class {
				t.Errorf("class %s, want %s", failureClass(err), row.class)
			}
			if _, waits := approver.undecided.get("ours"); waits != row.waits {
				t.Errorf("waits: %t, want %t", waits, row.waits)
			}
		})
	}
}

func wraps(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// The message names the very rule that is missing.
func TestMissingRightIsNamed(t *testing.T) {
	t.Parallel()
	refused := errors.New("user does not have permissions to set approved/denied conditions")
	for _, row := range []struct{ kind, group, want string }{
		{"ClusterIssuer", "cert-manager.io", "resourceNames: [clusterissuers.cert-manager.io/ca]"},
		{"Issuer", "cert-manager.io", "resourceNames: [issuers.cert-manager.io/sandbox.ca]"},
		{"", "", "resourceNames: [issuers.cert-manager.io/sandbox.ca]"},
		{"VaultIssuer", "example.org", "resourceNames: [vaultissuers.example.org/ca]"},
	} {
		request := named("ours", "ca")
		request.Spec.IssuerRef.Kind, request.Spec.IssuerRef.Group = row.kind, row.group
		want := "the approver's ClusterRole lacks, or cert-manager's webhook could not ask the API server about, the rule {apiGroups: [cert-manager.io], resources: [signers], verbs: [approve], " + row.want + "}"
		if err := explainUpdate(request, refused); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", row.kind, err)
		}
	}
}

// large returns a request that is not kept while it waits.
func large(name string) *cmapi.CertificateRequest {
	request := named(name, "ca")
	request.ResourceVersion = "7"
	request.Annotations = map[string]string{"example.com/large": strings.Repeat("x", maxWaiting)}
	return request
}

// Of a large request only the name is kept; it is judged as the API server has it when its
// turn has come.
func TestLargeRequestIsFetchedForItsDecision(t *testing.T) {
	t.Parallel()
	newer, another := large("ours"), large("ours")
	newer.ResourceVersion, another.UID = "8", "another"
	for _, row := range []struct {
		name    string
		found   []*cmapi.CertificateRequest
		updated string // the version that is written to, if any
	}{
		{"as it was", []*cmapi.CertificateRequest{large("ours")}, "7"},
		{"changed meanwhile", []*cmapi.CertificateRequest{newer}, "8"},
		{"decided meanwhile", []*cmapi.CertificateRequest{decidedNow(large("ours"))}, ""},
		{"gone", nil, ""},
		{"another of the name", []*cmapi.CertificateRequest{another}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := &api{large: row.found}
			approver := newApprover(t, a)
			approver.see(t, large("ours"))
			e, _ := approver.undecided.get("ours")
			if !e.partial || len(e.request.Annotations) != 0 {
				t.Fatalf("kept %+v of it", e.request)
			}
			_, err := approver.decide(t.Context(), e, newQueue(2))
			check(t, err)
			var updated string
			if len(a.updates) == 1 {
				updated = a.updates[0].ResourceVersion
			}
			if len(a.updates) > 1 || updated != row.updated {
				t.Errorf("%d updates, of version %q, want %q", len(a.updates), updated, row.updated)
			}
			if _, waits := approver.undecided.get("ours"); waits {
				t.Error("it still waits")
			}
		})
	}
}

// What others have written into a status is written back as a whole, also where it is
// too large to be kept, and only into the version that was judged.
func TestLargeStatusIsNotLost(t *testing.T) {
	t.Parallel()
	const many = 1000
	request := large("ours")
	for i := range many {
		request.Status.Conditions = append(request.Status.Conditions, cmapi.CertificateRequestCondition{
			Type: cmapi.CertificateRequestConditionType(fmt.Sprintf("example.com/%d", i)), Status: cmmeta.ConditionTrue,
		})
	}
	a := &api{large: []*cmapi.CertificateRequest{request}}
	approver := newApprover(t, a)
	approver.see(t, request)
	e, _ := approver.undecided.get("ours")
	_, err := approver.decide(t.Context(), e, newQueue(2))
	check(t, err)
	if len(a.updates) != 1 || len(a.updates[0].Status.Conditions) != many+1 {
		t.Fatalf("%d updates", len(a.updates))
	}
	if _, marked := a.updates[0].Annotations[certrequest.AnnotationTruncated]; marked {
		t.Error("the mark was sent to the API server")
	}
	judged := request.DeepCopy()
	judged.ResourceVersion = "6"
	judged.Annotations[certrequest.AnnotationTruncated] = certrequest.FieldConditions
	if err := approver.write(t.Context(), judged, policy.Decision{Verdict: policy.Deny}); !apierrors.IsConflict(err) {
		t.Errorf("writing to another version than was judged: %v, want a conflict", err)
	}

	// While another worker has such a status in memory, a decision does not wait beyond its time.
	approver.largeStatus <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := approver.write(ctx, judged, policy.Decision{Verdict: policy.Deny}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the decision is given up", err)
	}
}

// However many large requests wait, little is kept of them.
func TestWaitingRequestsTakeLittle(t *testing.T) {
	t.Parallel()
	request := large("ours")
	request.Spec.Request = make([]byte, 1<<15)
	request.Labels = map[string]string{"a": strings.Repeat("x", 4096)}
	if kept := trim(request); sizeOf(kept.CertificateRequest) != 0 || !kept.partial || kept.UID != request.UID || kept.Spec.IssuerRef != request.Spec.IssuerRef {
		t.Errorf("kept %+v", kept)
	}
	small := named("ours", "ca")
	small.Spec.Request = make([]byte, 2048)
	if kept := trim(small); kept.partial || len(kept.Spec.Request) != 2048 {
		t.Errorf("an ordinary request is not kept: %+v", kept)
	}
}
