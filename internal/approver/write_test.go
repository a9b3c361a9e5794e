// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

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
