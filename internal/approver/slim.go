// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"slices"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// slim returns of a request what a decision needs. Most of one, as it comes from
// the API server, is who owns which of its fields.
//
// What is left can be written back: an update of the status takes nothing but
// the status from what it is given.
func slim(request *cmapi.CertificateRequest) *cmapi.CertificateRequest {
	kept := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: request.Namespace, Name: request.Name, UID: request.UID,
			ResourceVersion: request.ResourceVersion, CreationTimestamp: request.CreationTimestamp,
			Labels: request.Labels, Annotations: request.Annotations, OwnerReferences: request.OwnerReferences,
		},
		Spec:   request.Spec,
		Status: request.Status,
	}
	kept.Spec.UID = ""
	if size := csr.MaxSize + 1; len(kept.Spec.Request) > size {
		// It is too large with this much of it already.
		kept.Spec.Request = slices.Clone(kept.Spec.Request[:size])
	}
	return kept
}

// isApprovedByOther reports whether a request was approved, and not by an approver
// of this kind.
func isApprovedByOther(request *cmapi.CertificateRequest) bool {
	approval := apiutil.GetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved)
	return approval != nil && approval.Status == cmmeta.ConditionTrue && approval.Reason != ConditionReason
}

// decided reports whether an approver has spoken, which is final.
func decided(request *cmapi.CertificateRequest) bool {
	return apiutil.CertificateRequestIsApproved(request) || apiutil.CertificateRequestIsDenied(request)
}
