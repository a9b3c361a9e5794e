// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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

// ConditionReason is the reason in the conditions that this approver sets.
const ConditionReason = "spiffe.csi.cert-manager.io"

const (
	// updateTimeout is how long writing a decision may take. An admission
	// webhook may take 30 s.
	updateTimeout = 40 * time.Second
	// afterConflict is when a request that somebody else has written to is looked
	// at again at the latest. The watch will most likely have brought it by then.
	afterConflict = time.Second
)

// work decides what waits, with the configured number of workers, until ctx
// ends, and returns when no decision is under way any more.
func (a *Approver) work(ctx context.Context) {
	a.metrics.leader.Set(1)
	defer a.metrics.leader.Set(0)
	count := a.config.Current().Approver.Workers
	waiting := newQueue(count)
	defer a.undecided.feed(waiting)()
	defer context.AfterFunc(ctx, waiting.ShutDown)()
	var workers sync.WaitGroup
	defer workers.Wait()
	for range count {
		workers.Go(func() {
			for a.workOne(ctx, waiting) {
			}
		})
	}
}

// workOne takes one request from the queue. It returns false when there will be
// no more.
func (a *Approver) workOne(ctx context.Context, waiting *queue) bool {
	next, closed := waiting.Get()
	if closed {
		return false
	}
	defer waiting.Done(next)
	if ctx.Err() != nil { // What is left is for the next leader.
		return true
	}
	e, ok := a.undecided.get(next.uid)
	if !ok { // It has been decided, or is gone.
		waiting.Forget(next)
		return true
	}
	again, err := a.decide(ctx, e, waiting)
	switch {
	case apierrors.IsConflict(err):
		again = afterConflict
	case apierrors.IsNotFound(err): // It is gone.
	case err != nil && ctx.Err() == nil:
		a.logFailure(e.request, err)
		a.undecided.postpone(next.uid, time.Now().Add(lastRetry))
		waiting.AddRateLimited(next)
		return true
	}
	// If it is parked, it is due from now on.
	a.undecided.postpone(next.uid, time.Now().Add(again))
	if again > 0 {
		waiting.AddAfter(next, again)
	}
	waiting.Forget(next)
	return true
}

// decide asks the policy and carries out what it says. A decision that has to
// wait is to be made again after the returned time, or when the configuration
// changes.
func (a *Approver) decide(ctx context.Context, e waitingRequest, waiting *queue) (again time.Duration, err error) {
	request, now := e.request, time.Now()
	kind, name := signer(request)
	// Judging takes longer than anything else here: only what has a permit is judged.
	permit, after := a.webhookThrottle.acquire(kind, name, e.item(), now)
	if permit == nil { // If after is zero, it comes back when another is through.
		return after, nil
	}
	became := failed
	defer func() {
		for _, parked := range permit.release(became, time.Now()) {
			waiting.Add(parked)
		}
	}()
	if e.partial {
		if request, err = a.fetch(ctx, e.request); request == nil {
			return 0, err
		}
		e.request = request
	}
	known, grace := a.rollout.at(now)
	// The clocks of API server and approver may differ.
	patience := min(request.CreationTimestamp.Add(grace).Sub(now), grace)
	decision := known.Decide(patience > 0, request)
	switch decision.Verdict {
	case policy.Ignore:
		a.reportIgnored(request, decision)
		a.undecided.shelve(request.UID)
		return 0, nil
	case policy.Defer:
		a.metrics.decisions.WithLabelValues(outcomeDeferred).Inc()
		a.log.Info("put off: made under a policy that is not known here; it may be on its way, or the driver is behind",
			append(logFields(request, decision), "atMost", patience)...)
		return patience, nil
	default:
		if !e.other {
			waiting.judged(request.Namespace, decision.Verdict == policy.Deny)
		}
		err := a.carryOut(ctx, e, decision)
		became = outcomeOf(err)
		if e.other { // It would be approved. Its issuer need not exist.
			waiting.judged(request.Namespace, became == refused)
		}
		return 0, err
	}
}

// outcomeOf says what the webhook throttle is to make of an error.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return written
	case errors.Is(err, errMayNotApprove) || errors.Is(err, errNoSigner) || errors.Is(err, errWebhook):
		return refused
	default:
		return failed
	}
}

// carryOut writes a decision into the request, and tells of it.
func (a *Approver) carryOut(ctx context.Context, e waitingRequest, decision policy.Decision) error {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	err := a.write(ctx, e.request, decision)
	switch {
	case apierrors.IsNotFound(err):
		a.undecided.drop(e.request.UID)
		return err
	case err != nil:
		err = explainUpdate(e.request, err)
		a.metrics.failures.WithLabelValues(failureClass(err)).Inc()
		return err
	default:
		a.report(e, decision)
	}
	a.undecided.drop(e.request.UID)
	return nil
}

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
