// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// ConditionReason is the reason in the conditions that this approver sets.
const ConditionReason = "spiffe.csi.cert-manager.io"

// work decides what is in the inbox, with the configured number of workers,
// until ctx ends, and returns when no decision is under way any more.
func (a *Approver) work(ctx context.Context, box *inbox) {
	defer context.AfterFunc(ctx, box.waiting.ShutDown)()
	var workers sync.WaitGroup
	defer workers.Wait()
	for range a.config.Current().Approver.Workers {
		workers.Go(func() {
			for a.workOne(ctx, box) {
			}
		})
	}
}

// workOne takes one request from the inbox. It returns false when there will be
// no more.
func (a *Approver) workOne(ctx context.Context, box *inbox) bool {
	key, closed := box.waiting.Get()
	if closed {
		return false
	}
	defer box.waiting.Done(key)
	request := box.get(key)
	if request == nil || decided(request) {
		box.waiting.Forget(key)
		return true
	}
	if err := a.decide(ctx, request); err != nil && ctx.Err() == nil {
		level := slog.LevelError
		if apierrors.IsConflict(err) { // somebody else wrote to it first
			level = slog.LevelDebug
		}
		a.log.Log(ctx, level, "deciding failed; it will be tried again", "request", key, "error", err)
		box.waiting.AddRateLimited(key)
		return true
	}
	box.waiting.Forget(key)
	return true
}

// decide asks the policy and carries out what it says.
func (a *Approver) decide(ctx context.Context, request *cmapi.CertificateRequest) error {
	decision := policy.Evaluate(a.config.Current().Policy(), request.Spec)
	if decision.Verdict == policy.Ignore {
		return nil
	}
	updated := request.DeepCopy()
	setCondition(updated, decision)
	_, err := a.certManager.CertmanagerV1().CertificateRequests(request.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: the approver needs the verb \"approve\" on signers.cert-manager.io for this issuer, and \"update\" on certificaterequests/status", err)
	case err != nil:
		return err
	}
	a.log.Info("decided", "request", request.Namespace+"/"+request.Name, "verdict", decision.Verdict.String(),
		"user", request.Spec.Username, "spiffeID", decision.ID.String(), "message", decision.Message())
	return nil
}

// setCondition writes the decision as cert-manager reads it.
func setCondition(request *cmapi.CertificateRequest, decision policy.Decision) {
	condition := cmapi.CertificateRequestConditionDenied
	if decision.Verdict == policy.Approve {
		condition = cmapi.CertificateRequestConditionApproved
	}
	apiutil.SetCertificateRequestCondition(request, condition, cmmeta.ConditionTrue, ConditionReason, decision.Message())
}
