// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// replyMargin is kept of the kubelet's deadline for the answer: a call that the
// kubelet gives up on tells the pod's events only "deadline exceeded".
const replyMargin = time.Second

// publish makes sure that the volume is in the pod, with a whole document in
// it. For a volume that is there already it only keeps the fresh token.
func (d *Driver) publish(ctx context.Context, c *config.Config, request publishRequest) error {
	state := d.volumes.acquire(request.volumeID)
	defer d.volumes.release(state)
	if state.takeToken(request.token) {
		d.schedule.Schedule(state.id, time.Now())
	}
	if d.isPublished(state, request) {
		return nil
	}
	ctx, cancel := d.publishContext(ctx, c)
	defer cancel()
	if err := state.lock(ctx); err != nil {
		return state.explain(err)
	}
	defer state.unlock()
	if d.isPublished(state, request) {
		return nil
	}
	return d.publishFirst(ctx, c, state, request)
}

// isPublished reports whether the pod has its volume already. It must stay
// cheap: the kubelet asks for each pod, again and again.
func (d *Driver) isPublished(state *volumeState, request publishRequest) bool {
	live := state.metadata()
	if live == nil || live.TargetPath != request.targetPath || live.PodUID != request.token.PodUID {
		return false
	}
	mounted, err := d.store.Mounted(state.id, request.targetPath)
	return err == nil && mounted
}

// publishFirst obtains a document and mounts the volume. If it fails it leaves
// nothing behind: after most errors the kubelet does not call unpublish.
func (d *Driver) publishFirst(ctx context.Context, c *config.Config, state *volumeState, request publishRequest) error {
	began := time.Now()
	document, err := d.document(ctx, state, d.order(c, state.id, request.token))
	if err != nil {
		return err
	}
	live := &volume.Metadata{
		TargetPath:   request.targetPath,
		PodNamespace: request.token.ServiceAccount.Namespace(),
		PodName:      request.token.PodName,
		PodUID:       request.token.PodUID,
		FSGroup:      request.fsGroup,
	}
	if err := d.write(c, state.id, document, live); err != nil {
		return d.discard(state, request, err)
	}
	if err := d.store.Mount(state.id, request.targetPath); err != nil {
		return d.discard(state, request, err)
	}
	d.setLive(c, state, live)
	d.log.Info("published", "volume", state.id, "pod", live.PodNamespace+"/"+live.PodName, "spiffeID", live.SPIFFEID,
		"request", live.Request, "notAfter", live.NotAfter, "duration", time.Since(began))
	return nil
}

// discard undoes a first publish that failed half-way. A volume that was live
// before, and is only being healed, stays.
func (d *Driver) discard(state *volumeState, request publishRequest, cause error) error {
	if state.metadata() != nil {
		return cause
	}
	if err := volume.Unmount(request.targetPath); err != nil {
		d.log.Warn("cleaning up after a failed publish", "volume", state.id, "error", err)
	}
	if err := d.store.Remove(state.id); err != nil {
		d.log.Warn("cleaning up after a failed publish", "volume", state.id, "error", err)
	}
	return cause
}

// setLive notes that the volume is published, and when it is due for renewal.
func (d *Driver) setLive(c *config.Config, state *volumeState, live *volume.Metadata) {
	state.setMetadata(live)
	d.schedule.Schedule(state.id, c.RenewalTime(live.NotBefore, live.NotAfter, state.id))
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
