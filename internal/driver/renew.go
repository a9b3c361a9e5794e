// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// renew gives a volume that is due a new key and certificate. The scheduler
// calls it, and has the slot back when the renewal has begun to wait for others.
// Whatever happens, the volume keeps a whole document, and it is due again, later.
func (d *Driver) renew(ctx context.Context, id string, giveBack func()) {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	if !state.renewing.CompareAndSwap(false, true) {
		// One is under way. It plans the next, but may have done so before this
		// one became due.
		d.schedule.ScheduleAfter(id, time.Second)
		return
	}
	defer state.renewing.Store(false)
	token, err := state.tokenForRenewal(time.Now())
	switch {
	case errors.Is(err, errNotLive):
		d.reissued(id)
		giveBack() // whoever publishes the volume at this moment may take long
		d.forgetUnasked(ctx, state)
		return
	case err != nil:
		d.log.Info("renewal waits for the kubelet to publish again", "volume", id, "reason", err)
		return
	}
	began, snapshot := state.becameDue(), d.config.Current()
	live := state.metadata()
	if live != nil && !d.isDue(snapshot, id, live, time.Now()) {
		d.plan(snapshot, state, live)
		return
	}
	failed := state.hasFailed()
	if failed {
		d.issuances.Retried(observe.Renewing)
	}
	var early *notYetValidError
	err = d.renewWith(ctx, snapshot, state, token, slot{giveBack, patience(live, failed)}, began)
	switch {
	case err == nil: // which it has told of
	case errors.Is(err, errNotLive), errors.Is(err, errUnpublished), d.life.Err() != nil:
	case errors.As(err, &early):
		d.deliverLater(state, early, err)
	case errors.Is(err, errReplaced): // the configuration has changed meanwhile
		if live := state.metadata(); live != nil {
			d.plan(d.config.Current(), state, live)
		}
	default:
		d.retryLater(state, err, time.Since(began))
	}
}

// isDue reports whether a document is to be replaced now. It is not if another
// renewal has just done so, which was under way when this one became due.
func (d *Driver) isDue(c *config.Config, id string, live *volume.Metadata, now time.Time) bool {
	const margin = time.Second // the two clocks differ a little
	return isOutdated(c, live, now) || !renewalTime(c, id, live).After(now.Add(margin))
}

func (d *Driver) renewWith(ctx context.Context, c *config.Config, state *volumeState, token manager.Token, slot slot, began time.Time) error {
	// A request that takes longer is collected by the next attempt, and people are
	// told meanwhile.
	ctx, cancel := context.WithTimeout(ctx, c.Driver.PublishTimeout)
	defer cancel()
	f := d.flight(state, d.order(c, state.id, token), ofLive, began)
	if f == nil {
		return errNotLive
	}
	if err := state.await(ctx, f, slot); err != nil {
		return err
	}
	if err := state.lock(ctx); err != nil {
		f.attempt.Fail(err)
		return err
	}
	defer state.unlock()
	return d.replace(c, state, f)
}

// replace puts a new document into a live volume. The caller holds the lock.
func (d *Driver) replace(c *config.Config, state *volumeState, f *flight) error {
	live := state.metadata()
	if live == nil {
		f.attempt.Fail(errNotLive)
		// If it was made when the volume was gone, nobody else knows of it.
		d.letGo(state, f.document.Request, issuance.PodOf(f.pod))
		return errNotLive
	}
	renewed := *live
	renewed.EarlyRenewals = earlyAfter(c, state.id, live, time.Now())
	if err := d.writeDocument(state, f, &renewed); err != nil {
		f.attempt.Fail(err)
		return err
	}
	d.setLive(state, &renewed)
	d.noteHealed(state)
	f.attempt.Succeed()
	d.log.Info("renewed", observe.LogFieldsOf(state.id, &renewed).KeysAndValues(f.attempt.Elapsed())...)
	d.dropPending(state, f.document.Request)
	d.discardOthers(state)
	d.warnOverlong(state, &renewed)
	d.warnSubPath(state, &renewed)
	return nil
}

// retryLater puts a renewal that failed off, the longer the more often it has
// failed.
func (d *Driver) retryLater(state *volumeState, err error, took time.Duration) {
	state.mu.Lock()
	state.failures++
	state.noteError(err)
	d.issuances.RenewalFailed()
	failures, live := state.failures, state.live
	state.mu.Unlock()
	if live == nil {
		return
	}
	wait := issuance.BackoffWithin(failures, lifetimeOf(live).longestRetry(time.Now()))
	d.log.Error("renewal failed", append(observe.LogFieldsOf(state.id, live).Failed(err).KeysAndValues(took),
		"failures", failures, "retryIn", wait, "error", err)...)
	d.schedule.ScheduleAfter(state.id, wait)
}

// noteDue notes since when a volume is due, for the renewal that is about to
// begin.
func (s *volumeState) noteDue(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dueSince = since
}

// becameDue returns since when the volume has been due, as far as that is known,
// else the present time.
func (s *volumeState) becameDue() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.dueSince
	s.dueSince = time.Time{}
	if since.IsZero() {
		return time.Now()
	}
	return since
}

// hasFailed reports whether the last renewal failed.
func (s *volumeState) hasFailed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures > 0
}

// tokenForRenewal returns the pod's token if the API server would still take
// it. Else the next token that comes from the kubelet makes the renewal due.
func (s *volumeState) tokenForRenewal(now time.Time) (manager.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		return manager.Token{}, errNotLive
	}
	if !s.token.Usable(now) {
		s.dueWithoutToken = true
		return manager.Token{}, errNoUsableToken
	}
	return s.token, nil
}
