// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package requests keeps the CertificateRequests of a node in order: it deletes those that
// no volume wants any more, and makes room in a namespace's ResourceQuota.
//
// It is housekeeping and never in the way. What cannot be deleted now is tried again, the
// longer the more often it has failed, and by the next process. Only requests are deleted
// for which there is proof that the volume's own pod has made them; see
// [issuance.Requester.OfVolume].
package requests

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

const (
	// workers is how many requests are deleted at the same time.
	workers = 4
	// strayAge is how long a request of this node is left alone that no volume wants:
	// another process may be about to end that made it.
	strayAge = 10 * time.Second
	// firstRetry and lastRetry bound the wait after a deletion that failed.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// API is what is asked of the API server. *[issuance.Requester] implements it.
type API interface {
	// OfVolume returns the requests of a volume that its pod has made, the latest first.
	OfVolume(volumeID string, pod issuance.Pod) []issuance.Known
	// Delete deletes a request. That it is not there is no error.
	Delete(ctx context.Context, ref issuance.Ref) error
}

// Volume is what a volume wants of its requests.
type Volume struct {
	ID string
	// Pod is the pod whose requests they are, as far as known.
	Pod issuance.Pod
	// Next is the request that the next SVID is to come from, and Present the one that the
	// SVID in the volume came from; empty if there is none.
	Next, Present types.NamespacedName
}

// Keeper deletes requests that no volume wants.
type Keeper struct {
	api API
	log *slog.Logger
	// volume returns the volume whose requests have a label.
	volume func(label string) (Volume, bool)
	// limit returns how many requests of a volume are kept
	// (certificateRequests.historyLimit).
	limit func() int
	queue workqueue.TypedRateLimitingInterface[unwanted]
}

// unwanted is a request that is to be deleted, unless its volume wants it; or, if it has no
// name, all of the volume that it does not want.
type unwanted struct {
	// Ref has a UID if the watch has told of the request, and none if the driver has made
	// it and nothing more is known.
	issuance.Ref

	// label is the value of its label for the volume.
	label string
}

// New returns a Keeper. It deletes nothing before [Keeper.Run].
func New(api API, volume func(label string) (Volume, bool), limit func() int, log *slog.Logger) *Keeper {
	return &Keeper{api: api, log: log, volume: volume, limit: limit, queue: workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[unwanted](firstRetry, lastRetry),
	)}
}

// Run deletes requests until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for k.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	k.queue.ShutDown()
	group.Wait()
}

// Discard has a request of a volume deleted, unless the volume wants it by then. It is
// deleted once more a little later: its creation may have been cut off, and come about after
// the deletion.
func (k *Keeper) Discard(request issuance.Ref, volumeID string) {
	item := unwanted{request, issuance.VolumeLabel(volumeID)}
	k.queue.Add(item)
	k.queue.AddAfter(item, strayAge)
}

// Retire has all requests of a volume deleted that it does not want, and returns how many
// those are.
func (k *Keeper) Retire(v Volume) int {
	requests := k.unwantedOf(v)
	for _, request := range requests {
		k.queue.Add(unwanted{request, issuance.VolumeLabel(v.ID)})
	}
	return len(requests)
}

// Seen is told of each request of the node that appears. One that no volume wants was made
// by a process that was killed, or under a greater limit; or the latest ones of the volume
// have come only now, and there are others that it does not want any more. Those are looked
// for once for many that appear: who makes thousands must not keep the watch, which calls
// this, from what others wait for.
func (k *Keeper) Seen(request issuance.Known, label string) {
	k.queue.AddAfter(unwanted{request.Ref(), label}, strayAge)
	k.queue.AddAfter(unwanted{issuance.Ref{}, label}, time.Second)
}

// unwantedOf are the requests that the pod of a volume has made for it, and that the volume
// does not want.
func (k *Keeper) unwantedOf(v Volume) (requests []issuance.Ref) {
	there := k.api.OfVolume(v.ID, v.Pod)
	wanted := Wanted(v, k.limit(), func() []issuance.Known { return there })
	for _, known := range there {
		if !slices.Contains(wanted, known.Request) {
			requests = append(requests, known.Ref())
		}
	}
	return requests
}

// Wanted are the requests that a volume wants: the one that its next SVID is to come from,
// and while it is published the latest issued ones, as many as limit says, that of its SVID
// first. The history are those that are there, the latest first; it is asked for only if it
// matters, for anybody may make thousands.
func Wanted(v Volume, limit int, history func() []issuance.Known) []types.NamespacedName {
	if v.Present.Name == "" || limit == 0 {
		return []types.NamespacedName{v.Next}
	}
	wanted := []types.NamespacedName{v.Next, v.Present}
	if limit == 1 {
		return wanted
	}
	there := history()
	// What came after that of the SVID has brought nothing into the volume. Of those of the
	// same second nobody knows, and they may be the ones before it.
	if at := slices.IndexFunc(there, func(known issuance.Known) bool { return known.Request == v.Present }); at >= 0 {
		for at > 0 && there[at-1].Created.Equal(there[at].Created) {
			at--
		}
		there = there[at:]
	}
	for _, known := range there {
		if len(wanted) > limit {
			break
		}
		if known.Issued && known.Request.Namespace == v.Present.Namespace && !slices.Contains(wanted, known.Request) {
			wanted = append(wanted, known.Request)
		}
	}
	return wanted
}

// isWanted reports whether a request must not be deleted. One that is not of the volume's
// pod, though it has the volume's label, is that pod's own affair.
func (k *Keeper) isWanted(request unwanted) bool {
	v, ok := k.volume(request.label)
	switch {
	case !ok:
		return false
	case request.UID != "" && !request.Pod.Is(v.Pod):
		return true
	}
	return slices.Contains(Wanted(v, k.limit(), func() []issuance.Known { return k.api.OfVolume(v.ID, v.Pod) }), request.Name)
}

// next deletes the next request, and reports whether there may be more.
func (k *Keeper) next(ctx context.Context) (more bool) {
	item, ended := k.queue.Get()
	if ended {
		return false
	}
	defer k.queue.Done(item)
	if item.Name.Name == "" {
		k.strays(item.label)
		return true
	}
	if k.isWanted(item) {
		k.queue.Forget(item)
		return true
	}
	if err := k.api.Delete(ctx, item.Ref); err != nil {
		if ctx.Err() == nil {
			k.log.Warn("could not delete a request that is of no use any more; tries again", "request", item.Name, "error", err)
			k.queue.AddRateLimited(item)
		}
		return true
	}
	k.queue.Forget(item)
	return true
}

// strays has those deleted that a volume does not want, should they be that for long.
func (k *Keeper) strays(label string) {
	v, ok := k.volume(label)
	if !ok {
		return
	}
	for _, request := range k.unwantedOf(v) {
		k.queue.AddAfter(unwanted{request, label}, strayAge)
	}
}

// MakeRoom deletes the other requests of a volume, because a ResourceQuota has no room for
// the one that is to bring its next SVID. An SVID that is to replace one in a pod matters
// more than the history. It gives up nothing of other volumes, and nothing that the pod has
// not made. It returns whether something was deleted.
func (k *Keeper) MakeRoom(ctx context.Context, v Volume) (made bool) {
	for _, request := range k.api.OfVolume(v.ID, v.Pod) {
		if request.Request == v.Next {
			continue
		}
		if err := k.api.Delete(ctx, request.Ref()); err != nil {
			k.log.Warn("could not delete an earlier CertificateRequest of a volume to make room in the namespace's ResourceQuota",
				"volume", v.ID, "request", request.Request, "error", err)
			continue
		}
		made = true
	}
	return made
}
