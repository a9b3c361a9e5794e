// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// maxWaiting is the size in bytes up to which a waiting request is kept whole. The
	// driver's requests have 1 to 2 KiB. Of a larger one only the name is kept until it is
	// decided, so that thousands of waiting requests take little memory.
	maxWaiting = 4 << 10
	// maxChain limits, in bytes, each of the two chains in the status. An undecided request
	// has none as a rule; a longer one is fetched again before a decision is written.
	maxChain = 16 << 10
)

// trimmed is what is kept of a request that waits.
type trimmed struct {
	*cmapi.CertificateRequest
	// partial is set if it is not all that a decision needs: see [Approver.fetch].
	partial bool
}

// trim returns of a request what a decision needs, or what is needed to fetch it then.
//
// What is kept can be written back: an update of the status takes nothing but
// the status from what it is given.
func trim(request *cmapi.CertificateRequest) trimmed {
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
	if sizeOf(kept) <= maxWaiting {
		return trimmed{kept, false}
	}
	kept.Labels, kept.Annotations, kept.OwnerReferences = nil, nil, nil
	kept.Spec = cmapi.CertificateRequestSpec{IssuerRef: request.Spec.IssuerRef}
	kept.Status = cmapi.CertificateRequestStatus{}
	return trimmed{kept, true}
}

// sizeOf is about how much memory a request takes beside what each one does.
func sizeOf(request *cmapi.CertificateRequest) (size int) {
	const (
		text      = 32 // what a string takes in a list or map beside its bytes
		owner     = 128
		condition = 128
	)
	for _, texts := range []map[string]string{request.Labels, request.Annotations} {
		for key, value := range texts {
			size += 2*text + len(key) + len(value)
		}
	}
	for _, o := range request.OwnerReferences {
		size += owner + len(o.APIVersion) + len(o.Kind) + len(o.Name) + len(o.UID)
	}
	spec, status := &request.Spec, &request.Status
	size += len(spec.Request) + len(spec.Username)
	for _, usage := range spec.Usages {
		size += text + len(usage)
	}
	for _, group := range spec.Groups {
		size += text + len(group)
	}
	for key, values := range spec.Extra {
		size += 2*text + len(key)
		for _, value := range values {
			size += text + len(value)
		}
	}
	size += len(status.Certificate) + len(status.CA)
	for _, c := range status.Conditions {
		size += condition + len(c.Type) + len(c.Status) + len(c.Reason) + len(c.Message)
	}
	return size
}

// isForeignApproval reports whether a request was approved, and not by an approver
// of this kind.
func isForeignApproval(request *cmapi.CertificateRequest) bool {
	approval := apiutil.GetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved)
	return approval != nil && approval.Status == cmmeta.ConditionTrue && approval.Reason != ConditionReason
}

// decided reports whether an approver has spoken, which is final.
func decided(request *cmapi.CertificateRequest) bool {
	return apiutil.CertificateRequestIsApproved(request) || apiutil.CertificateRequestIsDenied(request)
}
