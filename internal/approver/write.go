// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"fmt"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// fetch returns a request of which only the name was kept, as it is now. It returns nil if
// there is nothing to decide any more, with an error or without.
func (a *Approver) fetch(ctx context.Context, kept *cmapi.CertificateRequest) (found *cmapi.CertificateRequest, err error) {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	// A list of one, for which the approver has the right already.
	_, err = a.requests.List(ctx, kept.Namespace, onlyNamed(kept), func(request *cmapi.CertificateRequest) runtime.Object {
		if request.UID == kept.UID {
			found = request
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetching CertificateRequest %s/%s, of which only the name was kept because it is large: %w", kept.Namespace, kept.Name, err)
	case found == nil || decided(found):
		a.undecided.drop(kept.UID)
		return nil, nil
	}
	return found, nil
}

// onlyNamed selects the request of a name.
func onlyNamed(request *cmapi.CertificateRequest) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, request.Name).String()}
}

// write writes a decision into the version of a request that was judged.
func (a *Approver) write(ctx context.Context, judged *cmapi.CertificateRequest, decision policy.Decision) error {
	updated := judged.DeepCopy()
	if certrequest.StatusTruncated(judged) {
		// What others have written there must not be lost. Such a status is large, so that only
		// one is in memory at a time.
		select {
		case a.largeStatus <- struct{}{}:
			defer func() { <-a.largeStatus }()
		case <-ctx.Done():
			return ctx.Err()
		}
		list, err := a.certManager.CertmanagerV1().CertificateRequests(judged.Namespace).List(ctx, onlyNamed(judged))
		if err != nil {
			return err
		}
		if len(list.Items) != 1 || list.Items[0].UID != judged.UID || list.Items[0].ResourceVersion != judged.ResourceVersion {
			return apierrors.NewConflict(cmapi.Resource("certificaterequests"), judged.Name, errChanged)
		}
		updated.Status = list.Items[0].Status
	}
	delete(updated.Annotations, certrequest.AnnotationTruncated)
	setCondition(updated, decision)
	return a.requests.UpdateStatus(ctx, updated)
}

// setCondition writes the decision as cert-manager reads it.
func setCondition(request *cmapi.CertificateRequest, decision policy.Decision) {
	condition := cmapi.CertificateRequestConditionDenied
	if decision.Verdict == policy.Approve {
		condition = cmapi.CertificateRequestConditionApproved
	}
	apiutil.SetCertificateRequestCondition(request, condition, cmmeta.ConditionTrue, ConditionReason, decision.Message())
}
