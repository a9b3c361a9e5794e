// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"fmt"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
)

// outcome reads the conditions of a request: the stage it has reached, whether
// it is done, and if it is done in vain, why.
func outcome(request *cmapi.CertificateRequest) (stage Stage, done bool, err error) {
	if denied := condition(request, cmapi.CertificateRequestConditionDenied); isTrue(denied) {
		return StageApprove, true, fmt.Errorf("%w: %s", ErrDenied, denied.Message)
	}
	if invalid := condition(request, cmapi.CertificateRequestConditionInvalidRequest); isTrue(invalid) {
		return StageSign, true, fmt.Errorf("%w: %s", ErrFailed, invalid.Message)
	}
	ready := condition(request, cmapi.CertificateRequestConditionReady)
	if ready != nil && ready.Reason == cmapi.CertificateRequestReasonFailed {
		return StageSign, true, fmt.Errorf("%w: %s", ErrFailed, ready.Message)
	}
	if isTrue(ready) && certrequest.Truncated(request, certrequest.FieldCertificate) {
		return StageVerify, true, fmt.Errorf("%w: the chain in its status is longer than %d bytes, or no base64; the issuer has to return fewer certificates", ErrBadCertificate, certrequest.MaxCertificate)
	}
	if isTrue(ready) && len(request.Status.Certificate) > 0 {
		return StageVerify, true, nil
	}
	if !apiutil.CertificateRequestIsApproved(request) {
		return StageApprove, false, nil
	}
	return StageSign, false, nil
}

// progress says what a request waits for, for the person who wonders why the
// pod does not start.
func progress(request *cmapi.CertificateRequest, stage Stage) error {
	ref := request.Spec.IssuerRef
	if stage == StageApprove {
		return fmt.Errorf("no approver has decided; is csi-driver-spiffe-approver running, with the same configuration as the driver (issuerRef %s %s/%s)?", ref.Kind, ref.Group, ref.Name)
	}
	message := "it has said nothing yet"
	if ready := condition(request, cmapi.CertificateRequestConditionReady); ready != nil {
		message = ready.Message
	}
	return fmt.Errorf("%s %s/%s has not signed: %s", ref.Kind, ref.Group, ref.Name, message)
}

func condition(request *cmapi.CertificateRequest, kind cmapi.CertificateRequestConditionType) *cmapi.CertificateRequestCondition {
	return apiutil.GetCertificateRequestCondition(request, kind)
}

func isTrue(condition *cmapi.CertificateRequestCondition) bool {
	return condition != nil && condition.Status == cmmeta.ConditionTrue
}
