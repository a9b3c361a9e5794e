// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// publishOrHeal publishes a volume that is not known to be published. If something
// is mounted at its target all the same, then the pod may run and see that: the
// volume was published by an earlier process and damaged since, or by another
// driver. It is given a new document; should that fail, what is there stays, and the
// next call of the kubelet tries again.
func (d *Driver) publishOrHeal(ctx context.Context, c *config.Config, state *volumeState, request manager.PublishRequest) error {
	before, err := d.store.InspectTarget(state.id, request.TargetPath)
	if err != nil {
		return err
	}
	if err := d.targets.Claim(request.TargetPath, state.id); err != nil {
		return err
	}
	if err = d.heal(ctx, c, state, request); err == nil {
		return nil
	}
	d.discard(state, request, before)
	if isInPod(state, request.TargetPath, before) && !d.gaveWay(state.id, request.TargetPath) {
		d.staysDamaged(c, state, request, err)
		return nil
	}
	if live := state.metadata(); live == nil || live.TargetPath != request.TargetPath {
		d.targets.Release(request.TargetPath, state.id)
	}
	return err
}

// isInPod reports whether a pod may run with what is at a target.
func isInPod(state *volumeState, target string, at volume.TargetState) bool {
	published := ""
	if live := state.metadata(); live != nil {
		published = live.TargetPath
	}
	return mounts.IsInPod(at, target, published)
}

// gaveWay reports whether what was mounted at a target is not there any more: a mount
// whose file system was dead was to be replaced.
func (d *Driver) gaveWay(id, target string) bool {
	after, err := d.store.InspectTarget(id, target)
	return err == nil && !after.Mounted
}

// staysDamaged is for a volume that is in its pod, not as it should be, and could not
// be healed.
func (d *Driver) staysDamaged(c *config.Config, state *volumeState, request manager.PublishRequest, err error) {
	d.noteDamage(c, state, damageOf(c, request), err)
	d.log.Warn("a damaged volume, or one of another driver, could not be given a new document; it stays as it is",
		append(logFieldsOfPublish(c, request).Failed(err).KeysAndValues(time.Since(request.Received)), "error", err)...)
}

// spare keeps an error from the kubelet if something is mounted at the target: older
// kubelets tear a volume down on an error. Whoever has the volume's lock, for which
// the call has waited in vain, knows more of it.
func (d *Driver) spare(c *config.Config, state *volumeState, request manager.PublishRequest, cause error) error {
	if at, err := d.store.InspectTarget(state.id, request.TargetPath); err != nil || !isInPod(state, request.TargetPath, at) {
		return cause
	}
	d.log.Warn("a volume is in its pod, and could not be looked after in time; it stays as it is",
		append(logFieldsOfPublish(c, request).Failed(cause).KeysAndValues(time.Since(request.Received)), "error", cause)...)
	return nil
}

// heal brings a volume to its target, with the document that it has if that is whole.
func (d *Driver) heal(ctx context.Context, c *config.Config, state *volumeState, request manager.PublishRequest) error {
	if live := state.metadata(); live != nil && time.Now().Before(live.NotAfter) {
		_, _, err := d.readVolume(state.id)
		if err == nil {
			return d.mountAgain(state, live, request)
		}
		d.log.Warn("a live volume has lost its files, and gets others", "volume", state.id, "pod", live.Pod(), "error", err)
	}
	return d.publishFirst(ctx, c, state, request)
}

// isThere reports whether there is a volume at a target that a request which cannot
// be used is for. Whatever is wrong with a request, a volume that is there is not
// failed because of it: older kubelets tear a volume down on an error. One that is
// damaged, or of another driver, is there, too, if it is of the pod.
func (d *Driver) isThere(c *config.Config, request manager.UnusableRequest, unusable error) bool {
	id, target := request.VolumeID, request.TargetPath
	if volume.CheckID(id) != nil {
		return false
	}
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	if d.isMounted(state, target) {
		return true
	}
	root := c.Driver.KubeletRootDir
	uid, err := mounts.CheckTarget(root, target)
	if err != nil || uid != request.PodUID || mounts.CheckPlace(root, target) != nil {
		return false
	}
	mine := state.tryLock() // else whoever has the lock knows more of the volume
	if mine {
		defer state.unlock()
	}
	if at, err := d.store.InspectTarget(id, target); err != nil || !isInPod(state, target, at) || d.targets.Check(target, id) != nil {
		return false
	}
	if mine {
		_ = d.targets.Claim(target, id) // if another has taken it just now, the next call is refused
		d.noteDamage(c, state, damageOfUnusable(request), unusable)
	}
	return true
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
func (d *Driver) mountAgain(state *volumeState, live *volume.Metadata, request manager.PublishRequest) error {
	if err := d.mount(state, live, request.TargetPath); err != nil {
		return err
	}
	moved := *live
	moved.TargetPath = request.TargetPath
	state.setMetadata(&moved)
	state.healthy()
	d.log.Info("mounted again", observe.LogFieldsOf(state.id, &moved).KeysAndValues(time.Since(request.Received))...)
	return nil
}

// discard undoes a first publish that failed half-way and leaves nothing behind:
// after most errors the kubelet does not call unpublish. What was there before stays,
// as does a volume that was live. So does a request that is under way; should nobody
// ask for the volume any more, that ends too.
func (d *Driver) discard(state *volumeState, request manager.PublishRequest, before volume.TargetState) {
	if state.metadata() != nil {
		return
	}
	err := d.store.UndoMount(state.id, request.TargetPath, before)
	// Files must not go from under a mount, here or at an earlier target.
	if err == nil && (!before.Mounted || before.Dead) && len(d.targets.Targets(state.id)) <= 1 {
		err = d.store.RemoveData(state.id)
	}
	if err != nil {
		d.log.Warn("cleaning up after a failed publish", "volume", state.id, "error", err)
	}
	if state.hasRequest() {
		d.schedule.ScheduleAfter(state.id, unaskedAge)
	}
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
	d.letGo(state, request, state.pod())
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
