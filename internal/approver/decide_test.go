// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"errors"
	"strings"
	"testing"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

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
	request.Namespace, request.Name = "sandbox", "web-0-x2b4"
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
