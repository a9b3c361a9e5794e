// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// replyMargin is kept of the kubelet's deadline for the answer: a call that the
// kubelet gives up on tells the pod's events only "deadline exceeded".
const replyMargin = time.Second

// Publish makes sure that the volume is in the pod, with a whole SVID in it. For a volume
// that is there already it only keeps the fresh token.
func (m *Manager) Publish(ctx context.Context, c *config.Config, request PublishRequest) error {
	ctx, cancel := m.publishContext(ctx, c)
	defer cancel()
	call := m.newCall()
	call.publish = request
	return m.call(ctx, request.VolumeID, message{call: call, event: lifecycle.Publish{
		Call: call.id, Pod: request.Token.Pod(), Target: request.TargetPath, TokenExpiry: request.Token.Expiry,
	}})
}

// Unpublish takes the volume out of the pod and destroys all of it. That it is not there is
// no error.
func (m *Manager) Unpublish(ctx context.Context, id, target string) error {
	call := m.newCall()
	return m.call(ctx, id, message{call: call, event: lifecycle.Unpublish{Call: call.id, Target: target}})
}

func (m *Manager) newCall() *kubeletCall {
	return &kubeletCall{id: lifecycle.CallID(m.calls.Add(1)), answer: make(chan error, 1)}
}

// answerGrace is for how long the answer to a call is waited for whose context has ended. The
// worker of the volume has it at once, unless the node keeps it from that: by a mount whose
// file system is dead, say.
const answerGrace = 800 * time.Millisecond

// call returns the answer to a call, a little later than ctx ends at the latest.
func (m *Manager) call(ctx context.Context, id string, msg message) error {
	m.send(id, true, msg)
	select {
	case err := <-msg.call.answer:
		return err
	case <-ctx.Done():
		m.send(id, true, message{event: lifecycle.CallEnded{Call: msg.call.id, Err: context.Cause(ctx)}})
	}
	select {
	case err := <-msg.call.answer:
		return err
	case <-time.After(answerGrace):
	}
	if m.IsAt(id, msg.call.publish.TargetPath) {
		return nil // older kubelets tear a volume down on an error
	}
	return context.Cause(ctx)
}

// publishContext bounds a publish by the configuration, by the kubelet's own deadline less
// the time for an answer, and by the life of the driver.
func (m *Manager) publishContext(ctx context.Context, c *config.Config) (context.Context, context.CancelFunc) {
	deadline := time.Now().Add(c.Driver.PublishTimeout)
	if kubelets, ok := ctx.Deadline(); ok && kubelets.Add(-replyMargin).Before(deadline) {
		deadline = kubelets.Add(-replyMargin)
	}
	ctx, cancelCause := context.WithCancelCause(ctx)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	unhook := context.AfterFunc(m.life, func() { cancelCause(context.Cause(m.life)) })
	return ctx, func() { unhook(); cancel(); cancelCause(nil) }
}

// Keeps reports whether there is a volume at a target that a request which cannot be used is
// for. Whatever is wrong with a request, a volume that is there is not failed because of it:
// older kubelets tear a volume down on an error. One that is damaged, or of another driver,
// is there, too, if it is of the pod.
func (m *Manager) Keeps(c *config.Config, request UnusableRequest, unusable error) (kept bool) {
	if volume.CheckID(request.VolumeID) != nil {
		return false
	}
	if m.isMounted(request.VolumeID, request.TargetPath) {
		return true
	}
	root := c.Driver.KubeletRootDir
	uid, err := mounts.CheckTarget(root, request.TargetPath)
	if err != nil || uid != request.PodUID || mounts.CheckPlace(root, request.TargetPath) != nil {
		return false
	}
	done := make(chan struct{})
	m.send(request.VolumeID, true, message{done: done, run: func(r *record) lifecycle.Event {
		at, err := m.Store.InspectTarget(r.id, request.TargetPath)
		if err != nil || !r.isInPod(request.TargetPath, at) || m.targets.Claim(request.TargetPath, r.id) != nil {
			return nil
		}
		kept = true
		m.noteDamage(r, damageOfUnusable(request), unusable)
		return lifecycle.Damaged{}
	}})
	<-done
	return kept
}

// IsAt reports whether a volume is known to be at a target, and Occupied returns an error if
// another one is. A volume can be unpublished wherever it is: the kubelet's folder may have
// been another when it was published.
func (m *Manager) IsAt(id, target string) bool {
	if m.targets.Volume(target) == id {
		return true
	}
	r := m.record(id, false)
	if r == nil {
		return false
	}
	live := r.view.Load().live
	return live != nil && live.TargetPath == target
}

// Occupied returns an error if another volume is at a target.
func (m *Manager) Occupied(id, target string) error { return m.targets.Check(target, id) }

// isMounted reports whether a volume that was published at a target is there.
func (m *Manager) isMounted(id, target string) bool {
	r := m.record(id, false)
	if r == nil {
		return false
	}
	live := r.view.Load().live
	if live == nil || live.TargetPath != target {
		return false
	}
	mounted, err := m.Store.Mounted(id, target)
	return err == nil && mounted
}
