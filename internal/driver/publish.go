// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
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
	if live := state.metadata(); live != nil && live.PodUID != request.token.PodUID {
		return fmt.Errorf("%w: it is published for the pod with UID %s", errWrongPod, live.PodUID)
	}
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
	return d.publishOrHeal(ctx, c, state, request)
}

// isThere reports whether a volume has been published at a target. Whatever is
// wrong with a request, a volume that is there is not failed because of it:
// older kubelets tear a volume down on an error.
func (d *Driver) isThere(id, target string) bool {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	live := state.metadata()
	if live == nil || live.TargetPath != target {
		return false
	}
	mounted, err := d.store.Mounted(id, target)
	return err == nil && mounted
}

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
		return d.mountAgain(state, live, request)
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

// isPublished reports whether the pod has its volume already. It must stay
// cheap: the kubelet asks for each pod, again and again.
func (d *Driver) isPublished(state *volumeState, request publishRequest) bool {
	live := state.metadata()
	return live != nil && live.PodUID == request.token.PodUID && d.isThere(state.id, request.targetPath)
}

// mountAgain mounts a volume that has its document and is not mounted: a
// process was killed between the two, or somebody unmounted it.
func (d *Driver) mountAgain(state *volumeState, live *volume.Metadata, request publishRequest) error {
	if err := d.store.Mount(state.id, request.targetPath); err != nil {
		return err
	}
	moved := *live
	moved.TargetPath = request.targetPath
	state.setMetadata(&moved)
	d.log.Info("mounted again", "volume", state.id, "pod", live.PodNamespace+"/"+live.PodName, "spiffeID", live.SPIFFEID)
	return nil
}

// publishFirst obtains a document and mounts the volume.
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
		Files:        volume.Files(c.Volume.Files),
	}
	if err := d.write(c, state.id, document, live); err != nil {
		return err
	}
	if err := d.store.Mount(state.id, request.targetPath); err != nil {
		return err
	}
	d.setLive(c, state, live)
	d.log.Info("published", "volume", state.id, "pod", live.PodNamespace+"/"+live.PodName, "spiffeID", live.SPIFFEID,
		"request", live.Request, "notAfter", live.NotAfter, "duration", time.Since(began))
	return nil
}

// discard undoes a first publish that failed half-way and leaves nothing behind:
// after most errors the kubelet does not call unpublish. A volume that was live
// before stays.
func (d *Driver) discard(state *volumeState, request publishRequest, cause error) error {
	if state.metadata() != nil {
		return cause
	}
	err := volume.Unmount(request.targetPath)
	if err == nil { // files must not go from under a mount
		err = d.store.Remove(state.id)
	}
	if err != nil {
		d.log.Warn("cleaning up after a failed publish", "volume", state.id, "error", err)
	}
	return cause
}

// setLive notes that the volume has a new document, and when it is due for
// renewal. A document that is due on arrival, because the clocks of node and
// issuer differ or because the issuer signs for less than was asked, counts as a
// failure: renewing it at once would go on without end.
func (d *Driver) setLive(c *config.Config, state *volumeState, live *volume.Metadata) {
	now, due := time.Now(), c.RenewalTime(live.NotBefore, live.NotAfter, state.id)
	if due.After(now) {
		state.setMetadata(live)
		d.schedule.Schedule(state.id, due)
		return
	}
	wait := issuance.Backoff(state.setDueMetadata(live))
	d.log.Warn("a new certificate is due for renewal already; are the clocks right?", "volume", state.id,
		"notBefore", live.NotBefore, "notAfter", live.NotAfter, "retryIn", wait)
	d.schedule.Schedule(state.id, now.Add(wait))
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
