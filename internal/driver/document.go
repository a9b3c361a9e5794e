// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// flight is one request to cert-manager. It outlives the call of the kubelet
// that began it: the kubelet gives up after two minutes and asks again, and
// then collects what has been signed meanwhile instead of asking anew.
type flight struct {
	began    time.Time
	policy   policy.Policy
	pod      spiffe.PodToken
	cancel   context.CancelCauseFunc
	progress issuance.Progress
	attempt  *observe.Attempt
	// asking is reached when the API server is asked for something, and created
	// when the request is known to be there, or a quota has no room for it.
	asking, created milestone
	// cleared is set when earlier requests of the volume are deleted, so that a quota may
	// have room for this one soon. It belongs to the goroutine of the request.
	cleared  bool
	landed   chan struct{}
	landedAt time.Time
	document *issuance.SVID
	err      error
	// abandoned is set, under the lock of the volume, when nobody will collect it.
	abandoned bool
}

// isFor reports whether the request is what would be asked for now. A volume ID
// belongs to one pod, but a document must not go to another even if it did not.
func (f *flight) isFor(order issuance.Order) bool {
	return f.policy == order.Policy && f.pod.PodUID == order.Pod.PodUID && f.pod.ServiceAccount == order.Pod.ServiceAccount
}

// abandon ends the request because of why, and if it has brought a document
// already nobody will collect that.
func (f *flight) abandon(why error) {
	f.abandoned = true
	f.cancel(why)
	f.attempt.Abandon()
}

// order is the request for a pod under the present configuration.
func (d *Driver) order(c *config.Config, volumeID string, token manager.Token) issuance.Order {
	return issuance.Order{
		Policy:   c.Policy(),
		Token:    token.Secret,
		Pod:      token.PodToken,
		Owner:    d.owner,
		VolumeID: volumeID,
	}
}

// whose says for which volumes a request is begun.
type whose bool

const (
	// ofAny is for a volume that is about to be published.
	ofAny whose = false
	// ofLive is for a renewal: a volume that is being unpublished, or was, must not
	// come back to life with another key.
	ofLive whose = true
)

func (w whose) operation() observe.Operation {
	if w == ofLive {
		return observe.Renewing
	}
	return observe.Publishing
}

// collect returns a request that has brought a document for a volume that is about
// to be published: the one that is under way if there is one, else a new one, which
// the volume has been in want of since began. The error is that of await. Whoever
// collects a document ends the attempt.
func (d *Driver) collect(ctx context.Context, state *volumeState, order issuance.Order, began time.Time) (*flight, error) {
	f := d.flight(state, order, ofAny, began)
	return f, state.await(ctx, f, slot{})
}

// flight returns the request that is under way for the volume, beginning one if
// there is none, or if the one there is was made for another pod or policy. The
// next one begins when the one before has ended: a volume never has two. It
// returns nil if none may be begun.
func (d *Driver) flight(state *volumeState, order issuance.Order, whose whose, began time.Time) *flight {
	ctx, cancel := context.WithCancelCause(d.life)
	f := &flight{
		began: time.Now(), policy: order.Policy, pod: order.Pod, cancel: cancel, attempt: d.issuances.Begin(whose.operation(), began),
		asking: newMilestone(), created: newMilestone(), landed: make(chan struct{}),
	}
	f.progress.Step = func(stage issuance.Stage) { f.reach(stage); d.step(string(stage)) }
	present, before := state.begin(f, order, whose)
	if present != f {
		cancel(nil)
		return present
	}
	state.hold()
	d.background.Go(func() {
		defer d.volumes.release(state)
		defer cancel(nil)
		defer close(f.landed)
		if before != nil {
			<-before
		}
		f.attempt.Enter(issuance.StagePrepare)
		f.document, f.err = d.obtain(ctx, state, f, order)
		f.landedAt = time.Now()
		f.attempt.RequestEnded(f.err)
	})
	return f
}

// begin makes f the request of the volume, unless there is one for the order, and
// returns the one that is under way then. The channel is closed when the one
// before has ended; it is nil if there was none.
func (s *volumeState) begin(f *flight, order issuance.Order, whose whose) (present *flight, before <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if whose == ofLive && (s.live == nil || s.leaving > 0) {
		return nil, nil
	}
	if s.flight != nil {
		if s.flight.isFor(order) && !s.flight.isStale(time.Now()) {
			return s.flight, nil
		}
		s.flight.abandon(errReplaced)
	}
	before = s.landing
	s.flight, s.landing = f, f.landed
	return f, before
}

// collected ends a flight that has landed.
func (s *volumeState) collected(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == f {
		s.flight = nil
	}
}

// abandon cancels the request that is under way, if there is one. The channel is
// closed when it has ended, or nil if there was none.
func (s *volumeState) abandon() (landed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		s.flight.abandon(errUnpublished)
		s.flight = nil
	}
	return s.landing
}

// abandonOther cancels the request that is under way if it was made under
// another policy: if the policy comes back, so does a new request.
func (s *volumeState) abandonOther(current policy.Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil && s.flight.policy != current {
		s.flight.abandon(errReplaced)
	}
}

// explain says what the volume waits for, when waiting for it ended with err.
func (s *volumeState) explain(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil {
		return err
	}
	return s.flight.progress.Err(err)
}

// claim notes the request that the volume is to get its document from.
func (s *volumeState) claim(request *issuance.Pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claimed, s.lastPod = request.Request, request.Pod
}

// unclaim notes that the volume has got its document from a request, or will get none,
// and reports whether it is not another one that it is to get one from now.
func (s *volumeState) unclaim(request types.NamespacedName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claimed != request {
		return false
	}
	s.claimed = noRequest
	return true
}

// requests returns the request that the volume is to get its next document from,
// and the one that it has its present document from.
func (s *volumeState) requests() (next, present types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimed, requestOf(s.live)
}
