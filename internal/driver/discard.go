// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

const (
	// discardWorkers is how many requests are deleted at the same time.
	discardWorkers = 4
	// strayAge is how long a request of this node is left alone that no volume
	// wants: another process may be about to end that made it.
	strayAge = 10 * time.Second
	// firstDiscardRetry and lastDiscardRetry bound the wait after a deletion that
	// failed.
	firstDiscardRetry = time.Second
	lastDiscardRetry  = 5 * time.Minute
)

// noRequest is the name of none.
var noRequest types.NamespacedName

// discarded is a request that is to be deleted, unless its volume wants it; or, if
// it is none, those of the volume that it does not want.
type discarded struct {
	// Ref has a UID if the watch has told of the request, and none if the driver has
	// made it and nothing more is known.
	issuance.Ref
	// volumeLabel is the value of its label for the volume.
	volumeLabel string
}

// discards are the requests that are to be deleted. It is housekeeping, and
// never in the way: what cannot be deleted now is tried again, the longer the
// more often it has failed, and by the next process.
type discards struct {
	queue workqueue.TypedRateLimitingInterface[discarded]
}

func newDiscards() discards {
	return discards{workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[discarded](firstDiscardRetry, lastDiscardRetry),
	)}
}

// add has a request of a volume deleted, if the volume does not want it.
func (q discards) add(request issuance.Ref, volumeID string) {
	q.queue.Add(discarded{request, issuance.VolumeLabel(volumeID)})
}

// addLater is add for a request that may not be there yet.
func (q discards) addLater(request issuance.Ref, volumeID string) {
	q.queue.AddAfter(discarded{request, issuance.VolumeLabel(volumeID)}, strayAge)
}

// discardOthers has all requests of a volume deleted that it does not want, and returns
// how many those are.
func (d *Driver) discardOthers(state *volumeState) int {
	unwanted := d.unwanted(state)
	for _, request := range unwanted {
		d.discards.add(request, state.id)
	}
	return len(unwanted)
}

// unwanted are the requests that the pod of a volume has made for it, and that the
// volume does not want.
func (d *Driver) unwanted(state *volumeState) (unwanted []issuance.Ref) {
	there := d.requester.OfVolume(state.id, state.pod())
	wanted := d.wanted(state, func() []issuance.Known { return there })
	for _, known := range there {
		if !slices.Contains(wanted, known.Request) {
			unwanted = append(unwanted, known.Ref())
		}
	}
	return unwanted
}

// wanted are the requests that a volume wants: the one that its next document is
// to come from, and while it is live the latest issued ones, as many as are to be
// kept (certificateRequests.historyLimit), that of its document first. The history
// are those that are there, the latest first; it is asked for only if it matters, for
// anybody may make thousands.
func (d *Driver) wanted(state *volumeState, history func() []issuance.Known) []types.NamespacedName {
	next, present := state.requests()
	limit := d.config.Current().CertificateRequests.HistoryLimit
	if present == noRequest || limit == 0 {
		return []types.NamespacedName{next}
	}
	wanted := []types.NamespacedName{next, present}
	if limit == 1 {
		return wanted
	}
	there := history()
	// What came after that of the document has brought nothing into the volume. Of those of
	// the same second nobody knows, and they may be the ones before it.
	if at := slices.IndexFunc(there, func(known issuance.Known) bool { return known.Request == present }); at >= 0 {
		for at > 0 && there[at-1].Created.Equal(there[at].Created) {
			at--
		}
		there = there[at:]
	}
	for _, known := range there {
		if len(wanted) > limit {
			break
		}
		if known.Issued && known.Request.Namespace == present.Namespace && !slices.Contains(wanted, known.Request) {
			wanted = append(wanted, known.Request)
		}
	}
	return wanted
}

// seen is told of each request of the node that appears. One that no volume
// wants was made by a process that was killed, or under a greater limit; or the
// latest ones of the volume have come only now, and there are others that it does
// not want any more. Those are looked for once for many that appear: who makes
// thousands must not keep the watch, which calls this, from what others wait for.
func (d *Driver) seen(request issuance.Known, volumeLabel string) {
	d.discards.queue.AddAfter(discarded{request.Ref(), volumeLabel}, strayAge)
	d.discards.queue.AddAfter(discarded{issuance.Ref{}, volumeLabel}, time.Second)
}

// discardStrays has those deleted that a volume does not want, should they be that
// for long.
func (d *Driver) discardStrays(volumeLabel string) {
	state := d.volumes.byLabel(volumeLabel)
	if state == nil {
		return
	}
	for _, request := range d.unwanted(state) {
		d.discards.queue.AddAfter(discarded{request, volumeLabel}, strayAge)
	}
}

// isWanted reports whether a request must not be deleted. One that is not of the
// volume's pod, though it has the volume's label, is that pod's own affair.
func (d *Driver) isWanted(request discarded) bool {
	state := d.volumes.byLabel(request.volumeLabel)
	if state == nil {
		return false
	}
	pod := state.pod()
	if request.UID != "" && !request.Pod.Is(pod) {
		return true
	}
	return slices.Contains(d.wanted(state, func() []issuance.Known { return d.requester.OfVolume(state.id, pod) }), request.Name)
}

// discardRequests deletes requests until ctx ends.
func (d *Driver) discardRequests(ctx context.Context) {
	for range discardWorkers {
		d.background.Go(func() {
			for d.discardNext(ctx) {
			}
		})
	}
	<-ctx.Done()
	d.discards.queue.ShutDown()
}

func (d *Driver) discardNext(ctx context.Context) (more bool) {
	item, ended := d.discards.queue.Get()
	if ended {
		return false
	}
	defer d.discards.queue.Done(item)
	if item.Name == noRequest {
		d.discardStrays(item.volumeLabel)
		return true
	}
	if d.isWanted(item) {
		d.discards.queue.Forget(item)
		return true
	}
	if err := d.requester.Delete(ctx, item.Ref); err != nil {
		if ctx.Err() == nil {
			d.log.Warn("could not delete a request that is of no use any more; tries again", "request", item.Name, "error", err)
			d.discards.queue.AddRateLimited(item)
		}
		return true
	}
	d.discards.queue.Forget(item)
	return true
}
