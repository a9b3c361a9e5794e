// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// The texts are what people read in the events of their pods.
func TestErrorTexts(t *testing.T) {
	t.Parallel()
	request := types.NamespacedName{Namespace: "sandbox", Name: "web-0-x2b4"}
	for _, row := range []struct {
		name string
		err  *issuance.Error
		want string
	}{
		{
			"no request yet",
			&issuance.Error{Stage: issuance.StagePrepare, Err: errors.New("no entropy")},
			"preparing the request: no entropy",
		},
		{
			"not created",
			&issuance.Error{Request: request, Stage: issuance.StageCreate, Err: errors.New("forbidden")},
			"creating a CertificateRequest as the pod's ServiceAccount in namespace sandbox: forbidden",
		},
		{
			"denied",
			&issuance.Error{Request: request, Stage: issuance.StageApprove, Err: fmt.Errorf("%w: duration is 2h", issuance.ErrDenied)},
			"CertificateRequest sandbox/web-0-x2b4 denied by approver: duration is 2h",
		},
		{
			"failed",
			&issuance.Error{Request: request, Stage: issuance.StageSign, Err: fmt.Errorf("%w: no CA", issuance.ErrFailed)},
			"CertificateRequest sandbox/web-0-x2b4 failed: no CA",
		},
		{
			"deleted",
			&issuance.Error{Request: request, Stage: issuance.StageSign, Err: issuance.ErrDeleted},
			"CertificateRequest sandbox/web-0-x2b4 deleted before it was signed",
		},
		{
			"waiting",
			&issuance.Error{Request: request, Stage: issuance.StageApprove, Err: context.DeadlineExceeded},
			"CertificateRequest sandbox/web-0-x2b4: waiting for approval: context deadline exceeded",
		},
		{
			"not what was asked for",
			&issuance.Error{Request: request, Stage: issuance.StageVerify, Err: fmt.Errorf("%w: it is a CA", issuance.ErrBadCertificate)},
			"CertificateRequest sandbox/web-0-x2b4: verifying the certificate: issuer returned a certificate that is not the SVID that was asked for: it is a CA",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if got := row.err.Error(); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			if !errors.Is(row.err, row.err.Err) {
				t.Error("it does not wrap its cause")
			}
		})
	}
}

func TestIsQuotaExceeded(t *testing.T) {
	t.Parallel()
	requests := schema.GroupResource{Group: "cert-manager.io", Resource: "certificaterequests"}
	exceeded := errors.New("exceeded quota: requests, requested: count/certificaterequests.cert-manager.io=1, " +
		"used: count/certificaterequests.cert-manager.io=2, limited: count/certificaterequests.cert-manager.io=2")
	for name, row := range map[string]struct {
		err  error
		want bool
	}{
		"exceeded": {&issuance.Error{Stage: issuance.StageCreate, Err: apierrors.NewForbidden(requests, "web-0", exceeded)}, true},
		"not counted yet": {&issuance.Error{
			Stage: issuance.StageCreate,
			Err:   apierrors.NewForbidden(requests, "web-0", errors.New("status unknown for quota: requests, resources: count/certificaterequests.cert-manager.io")),
		}, false},
		"no right":           {&issuance.Error{Stage: issuance.StageCreate, Err: apierrors.NewForbidden(requests, "web-0", errors.New("no"))}, false},
		"not the API server": {&issuance.Error{Stage: issuance.StageCreate, Err: exceeded}, false},
		"of another call":    {&issuance.Error{Stage: issuance.StageClear, Err: apierrors.NewForbidden(requests, "web-0", exceeded)}, false},
		"no call":            {exceeded, false},
		"none":               {nil, false},
	} {
		if got := issuance.IsQuotaExceeded(row.err); got != row.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
