// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/requests"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// request is the CertificateRequest that a volume's next SVID comes from, from when it is
// asked for until the SVID is in the volume.
type request struct {
	name types.NamespacedName
	// policy and pod are what it was made for.
	policy policy.Policy
	pod    spiffe.PodToken
	// progress is how far it has come, for people. It follows the API server.
	progress *issuance.Progress
	// cancel ends it, and ctx is what it ends; nil while it is not being asked for.
	cancel context.CancelCauseFunc
	ctx    context.Context //nolint:containedctx // The worker has to know why it has ended.
	// svid is what it has brought.
	svid *issuance.SVID
}

// begin begins to measure how an SVID comes into the volume.
func (m *Manager) begin(r *record, a lifecycle.Begin) {
	since, op := a.Since, observe.Renewing
	if a.Purpose == lifecycle.Initial {
		op = observe.Publishing
	}
	if call := r.calls[a.Call]; call != nil {
		since = call.publish.Received
		if r.endPriority == nil {
			r.endPriority = m.publishes.begin()
		}
	}
	r.attempt, r.request, r.policy = m.issuances.Begin(op, since), nil, r.config.Policy()
}

// order is what the volume's pod asks for, under the policy that it was decided under.
func (m *Manager) order(r *record) issuance.Order {
	return issuance.Order{
		Policy: r.policy, Token: r.token.Secret, Pod: r.token.PodToken, Owner: m.Owner, VolumeID: r.id,
	}
}

// prepare makes a key and a request, and keeps both. Whenever the process is killed, the next
// one goes on with them, and asks for nothing twice.
func (m *Manager) prepare(r *record, a lifecycle.Prepare) lifecycle.Event {
	r.attempt.Enter(issuance.StagePrepare)
	order := m.order(r)
	if r.token.Pod() != a.Order.Pod { // no key is ever made for another pod
		return lifecycle.Prepared{Err: fmt.Errorf("%w: %s", lifecycle.ErrWrongPod, r.token.PodUID)}
	}
	pending, err := order.Prepare()
	if err != nil {
		return lifecycle.Prepared{Err: err}
	}
	m.Step("key made")
	data, err := pending.Marshal()
	if err == nil {
		err = m.Store.WritePending(r.id, data)
	}
	if err != nil {
		return lifecycle.Prepared{Err: err}
	}
	r.pending, r.lastPod = pending, pending.Pod
	return lifecycle.Prepared{Request: pending.Request.Name}
}

// issue asks for the SVID by the pending request. That is the one thing that is not done by
// the worker of the volume: it takes as long as approver and issuer do.
func (m *Manager) issue(r *record, a lifecycle.Issue) {
	order, pending := m.order(r), r.pending
	req := r.request
	if req == nil || req.name != pending.Request {
		req = &request{name: pending.Request, policy: order.Policy, pod: order.Pod, progress: &issuance.Progress{}}
		r.request = req
	}
	if r.token.Pod() != a.Order.Pod { // no token is ever used for another pod
		m.post(r, message{event: lifecycle.Refused{Err: fmt.Errorf("%w: %s", lifecycle.ErrWrongPod, r.token.PodUID)}})
		return
	}
	attempt := r.attempt
	attempt.SetBackingOff(false)
	attempt.Enter(issuance.StagePrepare)
	var cleared atomic.Bool
	req.progress.Step = func(stage issuance.Stage) {
		attempt.Enter(stage)
		switch stage {
		case issuance.StageClear, issuance.StageCreate:
			if stage == issuance.StageClear {
				cleared.Store(true)
			}
			m.post(r, message{event: lifecycle.Reached{Progress: lifecycle.Asking}})
		case issuance.StageApprove, issuance.StageSign:
			m.post(r, message{event: lifecycle.Reached{Progress: lifecycle.Created}})
		default: // it waits for nobody, or is over
		}
		m.Step(string(stage))
	}
	wants := m.requestsOf(r)
	if m.keeper.Retire(wants) > 0 {
		cleared.Store(true)
	}
	ctx, cancel := context.WithCancelCause(m.life)
	req.cancel, req.ctx = cancel, ctx
	m.goInBackground(func() {
		defer cancel(nil)
		svid, err := m.Requester.Issue(ctx, order, pending, req.progress)
		if err != nil && errors.Is(context.Cause(ctx), ErrStopping) {
			return // the next process goes on with it
		}
		if err == nil {
			m.post(r, message{svid: svid, event: lifecycle.Issued{SVID: svidOf(svid)}})
			return
		}
		refused := lifecycle.Refused{Reason: reasonOf(ctx, err), Err: err}
		if refused.Reason == lifecycle.QuotaExceeded && m.keeper.MakeRoom(ctx, wants) {
			cleared.Store(true)
		}
		refused.Cleared = cleared.Load()
		if seconds, asked := apierrors.SuggestsClientDelay(err); asked && seconds > 0 {
			refused.RetryAfter = time.Duration(seconds) * time.Second
		}
		m.post(r, message{event: refused})
	})
}

// svidOf is what decisions need to know of an SVID.
func svidOf(svid *issuance.SVID) lifecycle.SVID {
	return lifecycle.SVID{
		Lifetime: lifecycle.Lifetime{
			NotBefore: svid.NotBefore(), NotAfter: svid.NotAfter(), Obtained: svid.Obtained.Round(0), Requested: svid.Policy.Duration,
		},
		Identity: svid.Policy.IdentityHash(), Request: svid.Request.Name,
	}
}

// reasonOf says why a request has brought no SVID.
func reasonOf(ctx context.Context, err error) lifecycle.Reason {
	switch {
	case ctx.Err() != nil:
		return lifecycle.Cancelled
	case errors.Is(err, issuance.ErrNotOurs):
		return lifecycle.NameTaken
	case issuance.IsQuotaExceeded(err):
		return lifecycle.QuotaExceeded
	case issuance.IsTransient(err):
		return lifecycle.Unavailable
	default:
		return lifecycle.Rejected
	}
}

// requestEnded notes that the request is not being asked for any more.
func (m *Manager) requestEnded(r *record, err error) {
	r.request.cancel = nil
	if phase, _ := r.state.Issuance(); phase == lifecycle.Cancelling { // nobody wants what it has brought
		r.attempt.Fail(errOr(err, lifecycle.ErrReplaced))
		return
	}
	if err == nil {
		r.attempt.RequestEnded(nil)
	}
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// abandon has the request end soon.
func (m *Manager) abandon(r *record, why error) {
	if r.request.cancel == nil { // it was about to be asked for again
		r.attempt.Fail(why)
		return
	}
	r.request.cancel(why)
	if errors.Is(context.Cause(r.request.ctx), ErrStopping) { // it has ended, and said nothing
		m.post(r, message{event: lifecycle.Refused{Reason: lifecycle.Cancelled, Err: why}})
	}
}

// closeRequest forgets the pending request, with its key.
func (m *Manager) closeRequest(r *record, a lifecycle.Close) {
	if r.uncorrected && !a.Discard { // the next process needs it to tell where the SVID is from
		r.pending = nil
		return
	}
	if err := m.Store.RemovePending(r.id); err != nil {
		m.Log.Warn("could not delete a pending request's file", "volume", r.id, "error", err)
	}
	if r.pending == nil {
		return
	}
	if a.Discard {
		m.publishView(r)
		if r.request != nil && r.request.svid != nil {
			r.attempt.Abandon()
		}
		m.keeper.Discard(issuance.Ref{Name: r.pending.Request, Pod: r.pending.Pod}, r.id)
	}
	r.pending = nil
}

// retire has earlier requests of the volume deleted. What the volume wants now has to be
// seen by then.
func (m *Manager) retire(r *record) {
	r.followVolume()
	m.publishView(r)
	m.keeper.Retire(m.requestsOf(r))
}

// requestsOf is what the volume wants of its requests.
func (m *Manager) requestsOf(r *record) requests.Volume {
	return requestsWanted(r.id, &r.state, r.live, r.pod())
}

// volumeOfLabel returns what the volume wants whose requests have a label.
func (m *Manager) volumeOfLabel(label string) (requests.Volume, bool) {
	m.mu.Lock()
	r := m.labels[label]
	m.mu.Unlock()
	if r == nil {
		return requests.Volume{}, false
	}
	v := r.view.Load()
	return requestsWanted(r.id, &v.state, v.live, v.pod), true
}

func requestsWanted(id string, state *lifecycle.State, live *volume.Metadata, pod issuance.Pod) requests.Volume {
	v := requests.Volume{ID: id, Pod: pod}
	if open, ok := state.Open(); ok {
		v.Next = types.NamespacedName{Namespace: open.Order.Pod.Namespace, Name: open.Request}
	}
	if live != nil {
		v.Present = types.NamespacedName{Namespace: live.PodNamespace, Name: live.Request}
	}
	return v
}

// unusable is what lifecycle says of a certificate, as an error of the issuer.
func unusable(request types.NamespacedName, err error) error {
	return &issuance.Error{Request: request, Stage: issuance.StageVerify, Err: fmt.Errorf("%w: %w", issuance.ErrBadCertificate, err)}
}
