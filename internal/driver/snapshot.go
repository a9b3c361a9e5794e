// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"iter"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
)

// What the core calls by names of its own.
var (
	errUnpublished   = observe.ErrUnpublished
	errReplaced      = observe.ErrReplaced
	errStopping      = observe.ErrStopping
	errNotLive       = observe.ErrNotLive
	errNoUsableToken = observe.ErrNoUsableToken
)

// errPending is why a volume that is being published has no document.
var errPending = errors.New("the volume is being published")

// snapshots are of all volumes, each of the moment at which it is asked for.
func (d *Driver) snapshots() iter.Seq[observe.Snapshot] {
	return func(yield func(observe.Snapshot) bool) {
		more := true
		d.volumes.each(func(state *volumeState) {
			more = more && yield(d.snapshot(state))
		})
	}
}

// snapshotOf is of a volume of which there may be nothing.
func (d *Driver) snapshotOf(id string) observe.Snapshot {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	return d.snapshot(state)
}

func (d *Driver) snapshot(state *volumeState) observe.Snapshot {
	s := state.snapshot()
	if s.Live != nil {
		s.RenewalDue, _ = d.schedule.Due(state.id)
		s.ToReissue, s.Outdated = d.reissue.has(state.id), d.fanOut.IsOutdated(state.id)
	}
	return s
}

func (s *volumeState) snapshot() observe.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot := observe.Snapshot{
		VolumeID: s.id, Live: s.live, Damage: s.damage, OpenRequest: s.claimed,
		Renewing: s.renewing.Load(), WaitsForToken: s.dueWithoutToken,
		Failures: s.failures, LastError: s.lastErr, LastErrorAt: s.lastErrAt, Unverified: s.unverified != "",
	}
	if s.live != nil {
		l := lifetimeOf(s.live)
		snapshot.Lifetime = observe.Lifetime{From: l.from(), Until: l.until(), Overlong: l.isOverlong()}
	}
	if s.hiddenBy != "" {
		snapshot.Shadowed = mounts.ShadowedNote(s.hiddenBy)
	}
	if s.subPath != "" {
		snapshot.SubPath = mounts.SubPathNote(s.subPath)
	}
	if f := s.flight; f != nil {
		snapshot.Issuance = &observe.Issuance{Policy: f.policy, Pod: f.pod, Progress: f.attempt.Progress()}
		if s.live == nil {
			snapshot.Issuance.Explanation = f.progress.Err(errPending).Error()
		}
	}
	return snapshot
}

// noteError keeps what went wrong with a renewal, for the list of volumes.
func (s *volumeState) noteError(err error) { s.lastErr, s.lastErrAt = err, time.Now() }

// logFieldsOfPublish are those of a volume of which there is a good request alone.
func logFieldsOfPublish(c *config.Config, request manager.PublishRequest) observe.LogFields {
	return observe.LogFieldsOfPod(request.VolumeID, c.Policy(), request.Token.PodToken)
}
