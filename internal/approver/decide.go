// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

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
	again, err := a.decide(ctx, request)
	switch {
	case err != nil && ctx.Err() == nil:
		level := slog.LevelError
		if apierrors.IsConflict(err) { // somebody else wrote to it first
			level = slog.LevelDebug
		}
		a.log.Log(ctx, level, "deciding failed; it will be tried again", "request", key, "error", err)
		box.waiting.AddRateLimited(key)
		return true
	case again > 0:
		box.waiting.AddAfter(key, again)
	}
	box.waiting.Forget(key)
	return true
}

// decide asks the policy and carries out what it says. A decision that has to
// wait is to be made again after the returned time, or when the configuration
// changes.
func (a *Approver) decide(ctx context.Context, request *cmapi.CertificateRequest) (again time.Duration, err error) {
	now := time.Now()
	known, grace := a.rollout.at(now)
	// The clocks of API server and approver may differ.
	patience := min(request.CreationTimestamp.Add(grace).Sub(now), grace)
	decision := known.Decide(request.Annotations[policy.AnnotationHash], patience > 0, request.Spec)
	switch decision.Verdict {
	case policy.Ignore:
		return 0, nil
	case policy.Defer:
		a.log.Info("put off: made under a policy that is not known here; it may be on its way, or the driver is behind", "request", request.Namespace+"/"+request.Name,
			"user", request.Spec.Username, "atMost", patience, "message", decision.Message())
		return patience, nil
	default:
		return 0, a.carryOut(ctx, request, decision)
	}
}

// carryOut writes a decision into the request.
func (a *Approver) carryOut(ctx context.Context, request *cmapi.CertificateRequest, decision policy.Decision) error {
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
