// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"errors"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// set returns a condition of a request.
func set(kind cmapi.CertificateRequestConditionType, status cmmeta.ConditionStatus, reason, message string) cmapi.CertificateRequestCondition {
	return cmapi.CertificateRequestCondition{Type: kind, Status: status, Reason: reason, Message: message}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	const approved, denied = cmapi.CertificateRequestConditionApproved, cmapi.CertificateRequestConditionDenied
	const ready, invalid = cmapi.CertificateRequestConditionReady, cmapi.CertificateRequestConditionInvalidRequest
	const yes, no, unknown = cmmeta.ConditionTrue, cmmeta.ConditionFalse, cmmeta.ConditionUnknown
	type conditions = []cmapi.CertificateRequestCondition
	certificate := []byte("certificate")
	for _, row := range []struct {
		name        string
		conditions  conditions
		certificate []byte
		stage       Stage
		done        bool
		err         error
	}{
		{"new", nil, nil, StageApprove, false, nil},
		{"approved", conditions{set(approved, yes, "", "")}, nil, StageSign, false, nil},
		{"approval unknown", conditions{set(approved, unknown, "", "")}, nil, StageApprove, false, nil},
		{"not approved", conditions{set(approved, no, "", "")}, nil, StageApprove, false, nil},
		{"denied", conditions{set(denied, yes, "", "why not")}, nil, StageApprove, true, ErrDenied},
		{"not denied", conditions{set(denied, no, "", "")}, nil, StageApprove, false, nil},
		{
			"denied, which cert-manager then calls not ready",
			conditions{set(denied, yes, "", "why not"), set(ready, no, cmapi.CertificateRequestReasonDenied, "denied")},
			nil, StageApprove, true, ErrDenied,
		},
		{
			"denied and signed",
			conditions{set(denied, yes, "", "why not"), set(ready, yes, cmapi.CertificateRequestReasonIssued, "")},
			certificate, StageApprove, true, ErrDenied,
		},
		{
			"pending",
			conditions{set(approved, yes, "", ""), set(ready, no, cmapi.CertificateRequestReasonPending, "soon")},
			nil, StageSign, false, nil,
		},
		{
			"failed",
			conditions{set(approved, yes, "", ""), set(ready, no, cmapi.CertificateRequestReasonFailed, "why not")},
			nil, StageSign, true, ErrFailed,
		},
		{
			"invalid",
			conditions{set(approved, yes, "", ""), set(invalid, yes, "", "why not")},
			nil, StageSign, true, ErrFailed,
		},
		{"not invalid", conditions{set(approved, yes, "", ""), set(invalid, no, "", "")}, nil, StageSign, false, nil},
		{
			"signed",
			conditions{set(approved, yes, "", ""), set(ready, yes, cmapi.CertificateRequestReasonIssued, "")},
			certificate, StageVerify, true, nil,
		},
		{
			"ready before the certificate is there",
			conditions{set(approved, yes, "", ""), set(ready, yes, "", "")},
			nil, StageSign, false, nil,
		},
		{
			"a certificate before it is ready",
			conditions{set(approved, yes, "", ""), set(ready, no, cmapi.CertificateRequestReasonPending, "")},
			certificate, StageSign, false, nil,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			request := &cmapi.CertificateRequest{}
			request.Status.Conditions, request.Status.Certificate = row.conditions, row.certificate
			stage, done, err := outcome(request)
			if stage != row.stage || done != row.done || !errors.Is(err, row.err) || (err == nil) != (row.err == nil) {
				t.Errorf("got %q, %v, %v, want %q, %v, %v", stage, done, err, row.stage, row.done, row.err)
			}
			if err != nil && !strings.HasSuffix(err.Error(), ": why not") {
				t.Errorf("%q does not say why", err)
			}
		})
	}
}

func TestProgressSaysWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	request := &cmapi.CertificateRequest{}
	request.Spec.IssuerRef = cmmeta.IssuerReference{Name: "ca", Kind: "ClusterIssuer", Group: "cert-manager.io"}
	want := "no approver has decided; is csi-driver-spiffe-approver running, with the same configuration as the driver (issuerRef ClusterIssuer cert-manager.io/ca)?"
	if got := progress(request, StageApprove).Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	want = "ClusterIssuer cert-manager.io/ca has not signed: it has said nothing yet"
	if got := progress(request, StageSign).Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	request.Status.Conditions = []cmapi.CertificateRequestCondition{
		set(cmapi.CertificateRequestConditionReady, cmmeta.ConditionFalse, cmapi.CertificateRequestReasonPending, "referenced issuer not found"),
	}
	want = "ClusterIssuer cert-manager.io/ca has not signed: referenced issuer not found"
	if got := progress(request, StageSign).Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
