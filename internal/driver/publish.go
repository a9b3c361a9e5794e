// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// replyMargin is kept of the kubelet's deadline for the answer: a call that the
// kubelet gives up on tells the pod's events only "deadline exceeded".
const replyMargin = time.Second

// publish makes sure that the volume is in the pod, with a whole document in
// it. For a volume that is there already it only keeps the fresh token.
func (d *Driver) publish(ctx context.Context, c *config.Config, request manager.PublishRequest) error {
	state := d.volumes.acquire(request.VolumeID)
	defer d.volumes.release(state)
	if live := state.metadata(); live != nil && live.PodUID != request.Token.PodUID && !d.disown(state, live, request) {
		return fmt.Errorf("%w: it is published for the pod with UID %s", manager.ErrWrongPod, live.PodUID)
	}
	if state.takeToken(request.Token) {
		d.schedule.Schedule(state.id, time.Now())
	}
	if d.isPublished(state, request) {
		state.healthy()
		return nil
	}
	if err := d.targets.Check(request.TargetPath, state.id); err != nil {
		return err
	}
	ctx, cancel := d.publishContext(ctx, c)
	defer cancel()
	if err := state.lock(ctx); err != nil {
		return d.spare(c, state, request, state.explain(err))
	}
	defer state.unlock()
	if d.isPublished(state, request) {
		return nil
	}
	return d.publishOrHeal(ctx, c, state, request)
}

// disown reports whether a volume that seems to be of another pod is damaged: the
// kubelet gives each pod's volume an ID of its own, so metadata that an earlier
// process has left and that speak of another pod are not of this volume.
func (d *Driver) disown(state *volumeState, live *volume.Metadata, request manager.PublishRequest) bool {
	if !state.disown() {
		return false
	}
	d.schedule.Cancel(state.id)
	d.reissued(state.id)
	d.compare(state)
	d.log.Warn("a volume of an earlier process has the metadata of another pod, and gets a new document",
		"volume", state.id, "pod", request.Token.PodName, "metadata", live.Pod())
	return true
}

// isPublished reports whether the pod has its volume already. It must stay
// cheap: the kubelet asks for each pod, again and again.
func (d *Driver) isPublished(state *volumeState, request manager.PublishRequest) bool {
	live := state.metadata()
	return live != nil && live.PodUID == request.Token.PodUID && d.isMounted(state, request.TargetPath)
}

// publishFirst obtains a document and mounts the volume.
func (d *Driver) publishFirst(ctx context.Context, c *config.Config, state *volumeState, request manager.PublishRequest) error {
	defer d.firstMounts.begin()()
	if err := errors.Join(d.roomInStore(), d.requireBundle(c)); err != nil {
		err = &observe.PlaceError{Err: err, Stage: issuance.StagePrepare}
		d.issuances.Begin(observe.Publishing, request.Received).Fail(err)
		return err
	}
	f, err := d.collect(ctx, state, d.order(c, state.id, request.Token), request.Received)
	for errors.Is(err, errReplaced) && ctx.Err() == nil { // the configuration has changed meanwhile
		c = d.config.Current()
		f, err = d.collect(ctx, state, d.order(c, state.id, request.Token), request.Received)
	}
	if err != nil {
		return err
	}
	live := &volume.Metadata{
		TargetPath:   request.TargetPath,
		PodNamespace: request.Token.ServiceAccount.Namespace(),
		PodName:      request.Token.PodName,
		PodUID:       request.Token.PodUID,
		FSGroup:      request.FSGroup,

		EarlyRenewals: earlyRenewals,
	}
	if err := d.writeAndMount(state, f, live); err != nil {
		f.attempt.Fail(err)
		return err
	}
	d.setLive(state, live)
	state.healthy()
	f.attempt.Succeed()
	d.dropPending(state, f.document.Request)
	d.discardOthers(state)
	d.log.Info("published", observe.LogFieldsOf(state.id, live).KeysAndValues(f.attempt.Elapsed())...)
	d.compareLifetime(state, live)
	return nil
}

// writeAndMount makes the document that a request has brought appear in its pod.
func (d *Driver) writeAndMount(state *volumeState, f *flight, live *volume.Metadata) error {
	if err := d.writeDocument(state, f, live); err != nil {
		return err
	}
	f.attempt.Enter(issuance.StageMount)
	if err := d.mount(state, live, live.TargetPath); err != nil {
		return &observe.PlaceError{Err: err, Stage: issuance.StageMount, Request: f.document.Request}
	}
	return nil
}

// writeDocument puts the document that a request has brought into the files, and
// completes live by what it wrote.
func (d *Driver) writeDocument(state *volumeState, f *flight, live *volume.Metadata) error {
	f.attempt.Enter(issuance.StageWrite)
	if err := d.write(state.id, f.document, live); err != nil {
		return &observe.PlaceError{Err: err, Stage: issuance.StageWrite, Request: f.document.Request}
	}
	return nil
}

// setLive notes that the volume has a new SVID, and when it is due for renewal.
func (d *Driver) setLive(state *volumeState, live *volume.Metadata) {
	state.setMetadata(live)
	// The configuration may have changed since the request was made, and so may what
	// files there are to be.
	d.plan(d.config.Current(), state, live)
	d.compare(state)
	d.chains.add(state.id)
}

// publishContext bounds a publish by the configuration, by the kubelet's own
// deadline less the time for an answer, and by the life of the driver.
func (d *Driver) publishContext(ctx context.Context, c *config.Config) (context.Context, context.CancelFunc) {
	deadline := time.Now().Add(c.Driver.PublishTimeout)
	if kubelets, ok := ctx.Deadline(); ok && kubelets.Add(-replyMargin).Before(deadline) {
		deadline = kubelets.Add(-replyMargin)
	}
	ctx, cancelCause := context.WithCancelCause(ctx)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	unhook := context.AfterFunc(d.life, func() { cancelCause(context.Cause(d.life)) })
	return ctx, func() { unhook(); cancel(); cancelCause(nil) }
}
