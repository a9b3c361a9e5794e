// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// longestRetry bounds the time between two attempts of a pod's first request
// while the API server is away: the pod should start soon after it is back.
const longestRetry = 10 * time.Second

// mostNames is how many names are tried for a request at a time.
const mostNames = 3

// obtain brings a document by the request that an earlier attempt, or an earlier
// process, has left pending, else by a new one. So it does, once, if the document
// comes too late.
func (d *Driver) obtain(ctx context.Context, state *volumeState, f *flight, order issuance.Order) (*issuance.SVID, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	pending, err := d.pending(state.id, order)
	if err != nil {
		return nil, err
	}
	document, err := d.pursue(ctx, state, f, order, pending)
	for range mostNames - 1 {
		if !errors.Is(err, issuance.ErrNotOurs) {
			break
		}
		d.log.Warn("somebody else has made a CertificateRequest of the name that was chosen; another name is tried",
			"volume", state.id, "request", pending.Request)
		if pending, err = d.prepare(state.id, order); err != nil {
			return nil, err
		}
		document, err = d.pursue(ctx, state, f, order, pending)
	}
	if err == nil && lifetimeOfDocument(document).isStale(time.Now()) {
		d.log.Info("the request that was under way was signed long ago, and a new one is made",
			"volume", state.id, "request", pending.Request, "notAfter", document.NotAfter())
		d.letGo(state, pending.Request, pending.Pod)
		if pending, err = d.prepare(state.id, order); err != nil {
			return nil, err
		}
		document, err = d.pursue(ctx, state, f, order, pending)
	}
	if err != nil {
		return nil, err
	}
	if err := lifetimeOfDocument(document).errUnusable(time.Now()); err != nil {
		d.letGo(state, pending.Request, pending.Pod)
		return nil, &issuance.Error{Request: pending.Request, Stage: issuance.StageVerify, Err: err}
	}
	if err := f.waitUntilValid(ctx, document); err != nil {
		return nil, err
	}
	return document, nil
}

// pursue brings a document by a request. The request and its key are kept in the
// volume's directory until the document is in the volume, or it is known that there
// will be none: whenever the process is killed, the next one goes on with them, and
// asks for nothing twice.
func (d *Driver) pursue(ctx context.Context, state *volumeState, f *flight, order issuance.Order, pending *issuance.Pending) (*issuance.SVID, error) {
	state.claim(pending)
	f.cleared = d.discardOthers(state) > 0 || f.cleared
	document, err := d.issue(ctx, state, f, order, pending)
	switch {
	case err == nil:
	case errors.Is(context.Cause(ctx), errStopping):
		// The next process goes on with it.
	case ctx.Err() == nil && issuance.IsTransient(err):
		// It may have been created all the same; the next attempt will see.
	case errors.Is(err, issuance.ErrNotOurs):
		d.dropPending(state, pending.Request) // and not somebody else's request
	default:
		d.letGo(state, pending.Request, pending.Pod)
	}
	return document, err
}

// pending returns the request that is pending for an order, or makes one.
func (d *Driver) pending(id string, order issuance.Order) (*issuance.Pending, error) {
	if before, err := d.readPending(id); err == nil {
		if before.IsFor(order) {
			d.log.Info("going on with a request that was under way", "volume", id, "request", before.Request)
			return before, nil
		}
		d.discards.add(issuance.Ref{Name: before.Request, Pod: before.Pod}, id)
	} else if !errors.Is(err, volume.ErrNotFound) {
		d.log.Warn("the request that was under way is lost, and a new one is made", "volume", id, "error", err)
	}
	return d.prepare(id, order)
}

// prepare makes a request for an order, and keeps it.
func (d *Driver) prepare(id string, order issuance.Order) (*issuance.Pending, error) {
	made, err := order.Prepare()
	if err != nil {
		return nil, err
	}
	d.step("key made")
	data, err := made.Marshal()
	if err != nil {
		return nil, err
	}
	if err := d.store.WritePending(id, data); err != nil {
		return nil, err
	}
	return made, nil
}

func (d *Driver) readPending(id string) (*issuance.Pending, error) {
	data, err := d.store.ReadPending(id)
	if err != nil {
		return nil, err
	}
	pending, err := issuance.UnmarshalPending(data)
	if err != nil {
		return nil, fmt.Errorf("pending request of volume %s: %w", id, err)
	}
	return pending, nil
}

// issue asks for the document. For the first of a pod it asks again until the
// API server can be reached: the kubelet, which waits longer each time, only
// collects it. A live volume has time, and its renewal waits for its turn. If a
// ResourceQuota leaves no room for the request, the volume's earlier ones go first.
func (d *Driver) issue(ctx context.Context, state *volumeState, f *flight, order issuance.Order, pending *issuance.Pending) (*issuance.SVID, error) {
	pod := order.Pod.ServiceAccount.Namespace() + "/" + order.Pod.PodName
	var room quotaRoom
	for failures := 1; ; failures++ {
		document, err := d.requester.Issue(ctx, order, pending, &f.progress)
		if err == nil || ctx.Err() != nil {
			return document, err
		}
		var wait time.Duration
		switch {
		case issuance.IsQuotaExceeded(err):
			var again bool
			if wait, again = d.makeRoom(ctx, state, f, order, pending, &room, err); !again {
				return nil, err
			}
		case issuance.IsTransient(err) && state.metadata() == nil:
			wait = issuance.RetryAfter(err, failures, longestRetry)
			d.log.Warn("the API server cannot be asked for a document now", "volume", state.id,
				"pod", pod, "failures", failures, "retryIn", wait, "error", err)
		default:
			return nil, err
		}
		f.progress.Report(err)
		if err := f.backOff(ctx, wait); err != nil {
			return nil, err
		}
		d.issuances.Retried(f.attempt.Operation())
		order.Token = state.latestToken(order.Token)
	}
}

// backOff waits before the next attempt to create a request. A renewal does that for a
// quota, which is of one namespace and may have room never: its slot is kept no longer than
// for an approver of one namespace.
func (f *flight) backOff(ctx context.Context, wait time.Duration) error {
	f.created.reach()
	f.attempt.SetBackingOff(true)
	defer f.attempt.SetBackingOff(false)
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return f.progress.Err(context.Cause(ctx))
	}
}

// letGo forgets a request of a pod that no document will come from, and what is kept of
// it. If there is none, that there is none.
func (d *Driver) letGo(state *volumeState, request types.NamespacedName, pod issuance.Pod) {
	d.dropPending(state, request)
	if request == noRequest {
		return
	}
	ref := issuance.Ref{Name: request, Pod: pod}
	d.discards.add(ref, state.id)
	// Its creation may have been cut off, and come about after the deletion.
	d.discards.addLater(ref, state.id)
}

// dropPending forgets the request that was under way for a volume, with its key:
// the document is in the volume, or there will be none. If the next has taken its
// place already, that stays.
func (d *Driver) dropPending(state *volumeState, request types.NamespacedName) {
	if !state.unclaim(request) {
		return
	}
	if err := d.store.RemovePending(state.id); err != nil {
		d.log.Warn("could not delete a pending request's file", "volume", state.id, "error", err)
	}
}

// latestToken returns the latest token of the pod, else the given one.
func (s *volumeState) latestToken(other issuance.Token) issuance.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.Secret.IsZero() {
		return other
	}
	return s.token.Secret
}
