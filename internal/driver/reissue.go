// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// reissue is the set of live volumes whose document is not what the present
// configuration asks for.
type reissue struct {
	mu      sync.Mutex
	waiting map[string]struct{}
}

func (r *reissue) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[string]struct{}{}
	}
	r.waiting[id] = struct{}{}
}

func (r *reissue) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.waiting[id]
	return known
}

// remove reports whether the volume was the last in the set.
func (r *reissue) remove(id string) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.waiting[id]; !known {
		return false
	}
	delete(r.waiting, id)
	return len(r.waiting) == 0
}

func (r *reissue) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

// VolumesToReissue returns how many live volumes have a document that is not
// what the configuration asks for now: of another trust domain, issuer or kind
// of key, or one that lasts longer than a new one would.
func (d *Driver) VolumesToReissue() int { return d.reissue.count() }

// follow takes up changes of the configuration until ctx ends.
func (d *Driver) follow(ctx context.Context) {
	changes, cancel := d.config.Subscribe()
	defer cancel()
	for {
		d.takeConfig(d.config.Current())
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
	}
}

// takeConfig plans the renewal of every live volume for which the configuration
// makes a difference, and gives up requests that were made under another policy.
func (d *Driver) takeConfig(c *config.Config) {
	before := d.planned
	d.planned = c
	d.followBundle(c)
	retimed := before != nil && (before.Certificate.RenewBefore != c.Certificate.RenewBefore ||
		before.Certificate.RenewBeforePercentage != c.Certificate.RenewBeforePercentage)
	fewer := before != nil && before.CertificateRequests.HistoryLimit > c.CertificateRequests.HistoryLimit
	d.volumes.each(func(state *volumeState) {
		state.abandonOther(c.Policy())
		if fewer {
			d.discardOthers(state)
		}
		live := state.metadata()
		if live == nil {
			return
		}
		d.compare(state)
		// What is planned already keeps its moment, be it a re-issue or the next
		// attempt after a failure: edits must not put it off, nor bring it on.
		outdated, waiting := isOutdated(c, live, time.Now()), d.reissue.has(state.id)
		if outdated != waiting || retimed && !outdated {
			d.plan(c, state, live)
		}
	})
	if waiting := d.reissue.count(); waiting > 0 {
		d.log.Info("the configuration asks for other documents: live volumes are re-issued", "volumes", waiting, "window", c.Rollout.ReissueWindow)
	}
}

// plan sets when a live volume is due: when its document has to be renewed, or
// within the re-issue window if the configuration asks for another one.
func (d *Driver) plan(c *config.Config, state *volumeState, live *volume.Metadata) {
	state.forgetDue()
	due := renewalTime(c, state.id, live)
	if isOutdated(c, live, time.Now()) {
		d.reissue.add(state.id)
		if moment := time.Now().Add(spread(c.Rollout.ReissueWindow, state.id)); moment.Before(due) {
			due = moment
		}
	} else {
		d.reissued(state.id)
	}
	d.schedule.Schedule(state.id, due)
}

// reissued notes that a volume has the document that is asked for, or is gone.
func (d *Driver) reissued(id string) {
	if d.reissue.remove(id) {
		d.log.Info("no live volume has to be re-issued any more")
	}
}

// isOutdated reports whether a document is not what is asked for now. That a
// shorter lifetime is asked for makes it so only if it would outlast a new one;
// a longer one waits for the next renewal. What counts is what was asked for, so
// that an issuer which signs for something else is not asked again and again.
func isOutdated(c *config.Config, live *volume.Metadata, now time.Time) bool {
	asked := c.Certificate.Duration
	return live.IdentityHash != c.Policy().IdentityHash() || live.Duration > asked && live.NotAfter.Sub(now) > asked
}

// spread picks a volume's moment in the window, the same in every process.
func spread(window time.Duration, id string) time.Duration {
	sum := sha256.Sum256([]byte(id))
	return time.Duration(float64(window) * float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32))
}
