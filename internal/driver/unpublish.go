// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// pruneTimeout bounds the deletion of an unpublished volume's requests. It is
// done beside the call: a node must be able to let go of pods while the API
// server is away, and what is left goes with the pod that owns it.
const pruneTimeout = 10 * time.Second

// unpublish takes the volume out of the pod and destroys all of it.
func (d *Driver) unpublish(ctx context.Context, id, target string) error {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	// Whoever waits for a document under the lock ends, and lets go of it.
	state.abandon()
	if err := state.lock(ctx); err != nil {
		return err
	}
	defer state.unlock()
	state.abandon()
	d.schedule.Cancel(id)
	live := state.metadata()
	if live != nil && live.TargetPath != target {
		if err := volume.Unmount(live.TargetPath); err != nil {
			return err
		}
	}
	if err := volume.Unmount(target); err != nil {
		return err
	}
	if err := d.store.Remove(id); err != nil {
		return err
	}
	if live != nil {
		d.log.Info("unpublished", "volume", id, "pod", live.Pod(), "spiffeID", live.SPIFFEID)
	}
	state.forget()
	d.reissued(id)
	done := d.requester.Others(id, types.NamespacedName{})
	d.background.Go(func() {
		ctx, cancel := context.WithTimeout(d.life, pruneTimeout)
		defer cancel()
		d.prune(ctx, id, done)
	})
	return nil
}

// forget drops what is known of a volume that is gone.
func (s *volumeState) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.token, s.dueWithoutToken, s.failures = nil, podToken{}, false, 0
}
