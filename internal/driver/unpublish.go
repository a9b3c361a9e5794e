// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// unpublish takes the volume out of the pod and destroys all of it.
func (d *Driver) unpublish(ctx context.Context, id, target string) error {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	state.leave()
	// Whoever waits for a document under the lock ends, and lets go of it.
	state.abandon()
	if err := state.lock(ctx); err != nil {
		d.stay(state)
		return err
	}
	defer state.unlock()
	defer d.stay(state)
	return d.destroy(ctx, state, target)
}

// stay ends a call to unpublish a volume. One that is live all the same is renewed,
// until the kubelet tries again; while there is another call, that is left to it, for
// it may be about to destroy the volume.
func (d *Driver) stay(state *volumeState) {
	if live := state.stay(); live != nil {
		d.plan(d.config.Current(), state, live)
	}
}

// destroy is unpublish for whoever holds the lock.
func (d *Driver) destroy(ctx context.Context, state *volumeState, target string) error {
	id := state.id
	// It must not write anything when the volume is gone.
	if err := wait(ctx, state.abandon()); err != nil {
		return err
	}
	d.schedule.Cancel(id)
	if err := d.unmount(state, target); err != nil {
		return err
	}
	d.step("volume unmounted")
	if pending, err := d.readPending(id); err == nil {
		// The watch may not have shown it yet.
		defer d.discards.add(issuance.Ref{Name: pending.Request, Pod: pending.Pod}, id)
	}
	if err := d.store.Remove(id); err != nil {
		return err
	}
	state.forget()
	d.targets.ReleaseAll(id)
	d.reissued(id)
	d.compare(state)
	d.discardOthers(state)
	return nil
}

// unmount takes the volume out of its pod, and what else is at the target.
func (d *Driver) unmount(state *volumeState, target string) error {
	published := ""
	if live := state.metadata(); live != nil {
		published = live.TargetPath
	}
	return d.targets.Unmount(state.id, target, published)
}

// wait returns when the channel is closed, or nil, or ctx ends.
func wait(ctx context.Context, closed <-chan struct{}) error {
	if closed == nil {
		return nil
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave notes that a call to unpublish the volume has begun.
func (s *volumeState) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving++
}

// stay notes that such a call has ended, and returns what is live if it was the last.
func (s *volumeState) stay() *volume.Metadata {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving--
	if s.leaving > 0 {
		return nil
	}
	return s.live
}

// forget drops what is known of a volume that is gone.
func (s *volumeState) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastPod = s.podLocked()
	s.live, s.token, s.dueWithoutToken, s.failures, s.lastErr, s.claimed, s.hiddenBy, s.subPath = nil, manager.Token{}, false, 0, nil, noRequest, "", ""
	s.damage = nil
	s.inherited, s.unverified = false, ""
}
