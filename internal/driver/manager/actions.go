// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"errors"
	"fmt"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// act carries out one action, and returns its result if it has one.
func (m *Manager) act(r *record, a lifecycle.Action) (result lifecycle.Event) {
	switch a := a.(type) {
	case lifecycle.Inspect:
		return m.inspect(r, a)
	case lifecycle.Prepare:
		return m.prepare(r, a)
	case lifecycle.Write:
		return m.write(r, a)
	case lifecycle.Rewrite:
		return m.rewrite(r)
	case lifecycle.Mount:
		return lifecycle.Mounted{Err: m.mount(r, a)}
	case lifecycle.Undo:
		return m.undo(r, a)
	case lifecycle.Remove:
		return lifecycle.Removed{Err: m.remove(r, a.Target)}
	case lifecycle.Begin:
		m.begin(r, a)
	case lifecycle.Issue:
		m.issue(r, a)
	case lifecycle.Abandon:
		m.abandon(r, a.Why)
	case lifecycle.Close:
		m.closeRequest(r, a)
	case lifecycle.Retire:
		m.retire(r)
	case lifecycle.Correct:
		m.correct(r)
	case lifecycle.Reply:
		r.answers = append(r.answers, answer{r.calls[a.Call], r.translate(a.Err)})
		delete(r.calls, a.Call)
	case lifecycle.Arm:
		m.arm(r, a)
	case lifecycle.Disarm:
		r.timers[a.Timer].Stop()
		delete(r.timers, a.Timer)
	case lifecycle.Tell:
		m.tell(r, a)
	}
	return nil
}

// inspect looks at what is at the target of a call. It must stay cheap for a volume that is
// there: the kubelet asks for each pod, again and again.
func (m *Manager) inspect(r *record, a lifecycle.Inspect) lifecycle.Event {
	call := r.calls[a.Call]
	r.token = call.publish.Token
	if a.Published {
		if mounted, err := m.Store.Mounted(r.id, a.Target); err == nil && mounted {
			return lifecycle.Inspected{Published: true}
		}
	}
	if err := m.targets.Check(a.Target, r.id); err != nil {
		return lifecycle.Inspected{Err: err}
	}
	at, err := m.Store.InspectTarget(r.id, a.Target)
	if err != nil {
		return lifecycle.Inspected{Err: err}
	}
	if err := m.targets.Claim(a.Target, r.id); err != nil {
		return lifecycle.Inspected{Err: err}
	}
	call.before, call.inspected = at, true
	if a.Read {
		if _, _, err = m.Files.Read(r.id); err == nil {
			err = m.Files.CheckKey(r.id, r.live)
		}
		if err == nil {
			return lifecycle.Inspected{Whole: true}
		}
		m.Log.Warn("a live volume has lost its files, and gets others", "volume", r.id, "pod", r.live.Pod(), "error", err)
	}
	if err := errors.Join(m.Room(), m.Bundle.Require(r.config)); err != nil {
		return lifecycle.Inspected{NoRoom: &observe.PlaceError{Err: err, Stage: issuance.StagePrepare}}
	}
	return lifecycle.Inspected{}
}

// isInPod reports whether a pod may run with what is at a target, so that it has to stay.
func (r *record) isInPod(target string, at volume.TargetState) bool {
	return mounts.IsInPod(at, target, r.published())
}

// published is where the volume was published, or "".
func (r *record) published() string {
	if r.live == nil {
		return ""
	}
	return r.live.TargetPath
}

// write puts the SVID that was issued into the files of the volume.
func (m *Manager) write(r *record, a lifecycle.Write) lifecycle.Event {
	svid := r.request.svid
	var meta volume.Metadata
	if call := r.calls[a.Call]; call != nil {
		token := call.publish.Token
		meta = volume.Metadata{
			TargetPath: call.publish.TargetPath, FSGroup: call.publish.FSGroup,
			PodNamespace: token.ServiceAccount.Namespace(), PodName: token.PodName, PodUID: token.PodUID,
		}
	} else {
		meta = *r.live
	}
	if meta.PodUID != r.request.pod.PodUID { // no SVID is ever put into another pod
		return lifecycle.Wrote{Err: fmt.Errorf("%w: %s", lifecycle.ErrWrongPod, r.request.pod.PodUID)}
	}
	meta.EarlyRenewals = a.EarlyRenewals
	if !r.attempt.Progress().UnderWay { // the SVID was issued in an attempt that has failed since
		r.attempt = m.issuances.Begin(r.attempt.Operation(), time.Now())
	}
	r.attempt.Enter(issuance.StageWrite)
	if err := m.Files.Write(r.config, r.id, svid, &meta); err != nil {
		return lifecycle.Wrote{Err: &observe.PlaceError{Err: err, Stage: issuance.StageWrite, Request: svid.Request}}
	}
	wrote := lifecycle.Wrote{Volume: volumeOf(&meta, m.Files.Present(&meta))}
	if a.Call != 0 {
		r.fresh = &meta
		return wrote
	}
	r.live = &meta
	if d := r.seen.damage; d != nil && d.Target == meta.TargetPath { // that heals files, but nothing mounted in their place
		mounted, err := m.Store.Mounted(r.id, meta.TargetPath)
		wrote.InPod = err == nil && mounted
	}
	return wrote
}

// rewrite delivers what belongs beside the SVID.
func (m *Manager) rewrite(r *record) lifecycle.Event {
	meta := *r.live
	if err := m.Files.Rewrite(r.config, r.id, &meta); err != nil {
		return lifecycle.Wrote{Err: err}
	}
	r.live = &meta
	return lifecycle.Wrote{Volume: volumeOf(&meta, m.Files.Present(&meta))}
}

// mount makes the volume appear in its pod. If there is something else already it is mounted
// over that, and told of: containers that run do not see it.
func (m *Manager) mount(r *record, a lifecycle.Mount) error {
	if r.fresh != nil {
		r.attempt.Enter(issuance.StageMount)
	}
	shadowedBy, err := mounts.Mount(m.Store, m.Log, r.id, a.Target)
	fresh := r.fresh
	r.fresh = nil
	switch {
	case err != nil && fresh != nil:
		return &observe.PlaceError{Err: err, Stage: issuance.StageMount, Request: r.request.name}
	case err != nil:
		return err
	case fresh != nil:
		r.live = fresh
	}
	m.noteShadowed(r, shadowedBy)
	return nil
}

// undo takes away what a call to publish has mounted or made, and leaves nothing behind:
// after most errors the kubelet does not call unpublish.
func (m *Manager) undo(r *record, a lifecycle.Undo) lifecycle.Event {
	call := r.calls[a.Call]
	if a.Files && call.inspected {
		err := m.Store.UndoMount(r.id, a.Target, call.before)
		// Files must not go from under a mount, here or at an earlier target.
		if err == nil && (!call.before.Mounted || call.before.Dead) && len(m.targets.Targets(r.id)) <= 1 {
			err = m.Store.RemoveData(r.id)
		}
		if err != nil {
			m.Log.Warn("cleaning up after a failed publish", "volume", r.id, "error", err)
		}
	}
	at, err := m.Store.InspectTarget(r.id, a.Target)
	inPod := err == nil && r.isInPod(a.Target, at)
	if call.inspected { // what was there before stays, unless it is known to be gone
		inPod = r.isInPod(a.Target, call.before) && (err != nil || at.Mounted)
	}
	if inPod {
		return lifecycle.Undone{InPod: true}
	}
	if call.inspected && r.published() != a.Target && !r.isClaimedFor(a.Target, call) {
		m.targets.Release(a.Target, r.id)
	}
	return lifecycle.Undone{}
}

// isClaimedFor reports whether another call is for a target that was claimed.
func (r *record) isClaimedFor(target string, except *kubeletCall) bool {
	for _, call := range r.calls {
		if call != except && call.inspected && call.publish.TargetPath == target {
			return true
		}
	}
	return false
}

// remove takes the volume out of its pod, and what else is at the target: what an earlier
// driver has mounted goes by the ID of the pod's volume, too. Then it destroys the volume.
func (m *Manager) remove(r *record, target string) error {
	if err := m.targets.Unmount(r.id, target, r.published()); err != nil {
		return err
	}
	m.Step("volume unmounted")
	if err := m.Store.Remove(r.id); err != nil {
		return err
	}
	m.targets.ReleaseAll(r.id)
	r.lastPod = r.pod()
	r.live, r.fresh, r.token, r.seen = nil, nil, Token{}, observations{}
	return nil
}

// correct notes in the metadata what was decided of the volume.
func (m *Manager) correct(r *record) {
	r.followVolume()
	err := m.Store.WriteMetadata(r.id, *r.live)
	r.uncorrected = err != nil
	if err != nil {
		m.Log.Warn("could not correct the metadata of a volume", append(observe.LogFieldsOf(r.id, r.live).KeysAndValues(0), "error", err)...)
	}
}

// arm starts a timer anew.
func (m *Manager) arm(r *record, a lifecycle.Arm) {
	if before := r.timers[a.Timer]; before != nil {
		before.Stop()
	}
	var timer *time.Timer
	started := make(chan struct{})
	timer = time.AfterFunc(a.After, func() {
		<-started
		m.post(r, message{event: lifecycle.Elapsed{Timer: a.Timer}, timer: timer})
	})
	r.timers[a.Timer] = timer
	close(started)
}
