// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// publishOrHeal publishes a volume that is not known to be published. If it is
// there all the same, published by an earlier process and damaged since, it is
// given a new document; should that fail, what is there stays, and the next
// call of the kubelet tries again.
func (d *Driver) publishOrHeal(ctx context.Context, c *config.Config, state *volumeState, request publishRequest) error {
	there, err := d.store.Mounted(state.id, request.targetPath)
	if err != nil {
		return err
	}
	if live := state.metadata(); live != nil && time.Now().Before(live.NotAfter) {
		_, _, err := d.readVolume(state.id)
		if err == nil {
			return d.mountAgain(state, live, request)
		}
		d.log.Warn("a live volume has lost its files, and gets others", "volume", state.id, "pod", live.Pod(), "error", err)
	}
	err = d.publishFirst(ctx, c, state, request)
	switch {
	case err == nil:
		return nil
	case there:
		d.log.Warn("a damaged volume could not be given a new document; it stays as it is", "volume", state.id, "error", err)
		return nil
	default:
		return d.discard(state, request, err)
	}
}

// isThere reports whether a volume has been published at a target. Whatever is
// wrong with a request, a volume that is there is not failed because of it:
// older kubelets tear a volume down on an error.
func (d *Driver) isThere(id, target string) bool {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	return d.isMounted(state, target)
}

// isMounted reports whether a volume that was published at a target is there.
func (d *Driver) isMounted(state *volumeState, target string) bool {
	live := state.metadata()
	if live == nil || live.TargetPath != target {
		return false
	}
	mounted, err := d.store.Mounted(state.id, target)
	return err == nil && mounted
}

// mountAgain mounts a volume that has its document and is not mounted: a
// process was killed between the two, or somebody unmounted it.
func (d *Driver) mountAgain(state *volumeState, live *volume.Metadata, request publishRequest) error {
	if err := d.mount(state, live, request.targetPath); err != nil {
		return err
	}
	moved := *live
	moved.TargetPath = request.targetPath
	state.setMetadata(&moved)
	d.log.Info("mounted again", entryOf(state.id, &moved).fields(time.Since(request.received))...)
	return nil
}

// discard undoes a first publish that failed half-way and leaves nothing behind:
// after most errors the kubelet does not call unpublish. A volume that was live
// before stays. So does a request that is under way; should nobody ask for the
// volume any more, that ends too.
func (d *Driver) discard(state *volumeState, request publishRequest, cause error) error {
	if state.metadata() != nil {
		return cause
	}
	err := volume.Unmount(request.targetPath)
	if err == nil { // files must not go from under a mount
		err = d.store.RemoveData(state.id)
	}
	if err != nil {
		d.log.Warn("cleaning up after a failed publish", "volume", state.id, "error", err)
	}
	if state.hasRequest() {
		d.schedule.ScheduleAfter(state.id, unaskedAge)
	}
	return cause
}

// unaskedAge is after how long a request that nobody has collected is given up.
// The kubelet asks every two minutes or so for as long as there is the pod.
const unaskedAge = 10 * time.Minute

// forgetUnasked ends what goes on for a volume that is not published, if the
// kubelet has not asked for it for long.
func (d *Driver) forgetUnasked(ctx context.Context, state *volumeState) {
	if state.lock(ctx) != nil {
		return
	}
	defer state.unlock()
	if !state.hasRequest() {
		return
	}
	if left := unaskedAge - time.Since(state.asked()); left > 0 {
		d.schedule.ScheduleAfter(state.id, left)
		return
	}
	// By its name, which is known whatever has become of the file.
	request, _ := state.requests()
	if wait(ctx, state.abandon()) != nil {
		return
	}
	d.log.Info("nobody asks for a volume any more; its request is given up", "volume", state.id, "request", request)
	d.letGo(state, request)
}

// hasRequest reports whether the volume is not published, and is to be by a
// request.
func (s *volumeState) hasRequest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live == nil && (s.flight != nil || s.claimed != noRequest)
}

// asked is when the kubelet last asked for the volume.
func (s *volumeState) asked() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.askedAt
}
