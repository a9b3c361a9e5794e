// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// errNotLive means that a volume was unpublished while it was being renewed.
var errNotLive = errors.New("the volume is not published any more")

// errNoUsableToken means that the pod's token has expired, or has not come yet
// since the driver was started.
var errNoUsableToken = errors.New("no valid token of the pod is known")

// renew gives a volume that is due a new key and certificate. The scheduler
// calls it. Whatever happens, the volume keeps a whole document, and it is due
// again, later.
func (d *Driver) renew(ctx context.Context, id string) {
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
		d.forgetUnasked(ctx, state)
		return
	case err != nil:
		d.log.Info("renewal waits for the kubelet to publish again", "volume", id, "reason", err)
		return
	}
	began, snapshot := time.Now(), d.config.Current()
	if live := state.metadata(); live != nil && !d.isDue(snapshot, id, live, began) {
		d.plan(snapshot, state, live)
		return
	}
	err = d.renewWith(ctx, snapshot, state, token)
	switch {
	case err == nil:
		live := state.metadata()
		d.log.Info("renewed", "volume", id, "pod", live.Pod(), "spiffeID", live.SPIFFEID,
			"request", live.Request, "notAfter", live.NotAfter, "duration", time.Since(began))
	case errors.Is(err, errNotLive), errors.Is(err, errUnpublished), d.life.Err() != nil:
	case errors.Is(err, errReplaced): // the configuration has changed meanwhile
		if live := state.metadata(); live != nil {
			d.plan(d.config.Current(), state, live)
		}
	default:
		d.retryLater(state, err)
	}
}

// isDue reports whether a document is to be replaced now. It is not if another
// renewal has just done so, which was under way when this one became due.
func (d *Driver) isDue(c *config.Config, id string, live *volume.Metadata, now time.Time) bool {
	const margin = time.Second // the two clocks differ a little
	return isOutdated(c, live, now) || !renewalTime(c, id, live).After(now.Add(margin))
}

func (d *Driver) renewWith(ctx context.Context, c *config.Config, state *volumeState, token podToken) error {
	// A request that takes longer is collected by the next attempt. Without a
	// bound, a few that are never signed would hold up the renewals of all.
	ctx, cancel := context.WithTimeout(ctx, c.Driver.PublishTimeout)
	defer cancel()
	document, err := d.document(ctx, state, d.order(c, state.id, token), ofLive)
	if err != nil {
		return err
	}
	if err := state.lock(ctx); err != nil {
		return err
	}
	defer state.unlock()
	return d.replace(c, state, document)
}

// replace puts a new document into a live volume. The caller holds the lock.
func (d *Driver) replace(c *config.Config, state *volumeState, document *issuance.Document) error {
	live := state.metadata()
	if live == nil {
		return errNotLive
	}
	renewed := *live
	renewed.EarlyRenewals = earlyAfter(c, state.id, live, time.Now())
	if err := d.write(state.id, document, &renewed); err != nil {
		return err
	}
	d.setLive(c, state, &renewed)
	d.dropPending(state)
	d.discardOthers(state)
	return nil
}

// retryLater puts a renewal that failed off, the longer the more often it has
// failed.
func (d *Driver) retryLater(state *volumeState, err error) {
	state.mu.Lock()
	state.failures++
	state.noteError(err)
	d.renewalFailures.Add(1)
	failures, live := state.failures, state.live
	state.mu.Unlock()
	if live == nil {
		return
	}
	wait := min(issuance.Backoff(failures), longestWait(live))
	d.log.Error("renewal failed", "volume", state.id, "pod", live.Pod(), "spiffeID", live.SPIFFEID,
		"notAfter", live.NotAfter, "failures", failures, "retryIn", wait, "error", err)
	d.schedule.ScheduleAfter(state.id, wait)
}

// longestWait bounds a wait by a tenth of the document's lifetime: a short one
// should not have ended long before the next attempt.
func longestWait(live *volume.Metadata) time.Duration {
	return max(live.NotAfter.Sub(live.NotBefore)/10, time.Second)
}

// tokenForRenewal returns the pod's token if the API server would still take
// it. Else the next token that comes from the kubelet makes the renewal due.
func (s *volumeState) tokenForRenewal(now time.Time) (podToken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		return podToken{}, errNotLive
	}
	if !s.token.usable(now) {
		s.dueWithoutToken = true
		return podToken{}, errNoUsableToken
	}
	return s.token, nil
}
