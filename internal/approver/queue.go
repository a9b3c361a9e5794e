// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"container/heap"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

// How long after a failure a decision is tried again: doubling from one to the
// other.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// item names a request in the queue. It is the same for every version of the
// request, so that no request is in the queue twice, nor in the hands of two
// workers.
type item struct {
	uid types.UID
	// created is in seconds since 1970, which is how precisely Kubernetes notes
	// it.
	created int64
	// other is set if the request is not for an SVID, but approved for
	// approver.approveOthers.
	other bool
}

// queue hands out requests for SVIDs first, and the oldest of them.
type queue struct {
	workqueue.TypedRateLimitingInterface[item]
}

func newQueue() *queue {
	ordered := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[item]{Queue: &oldestFirst{}})
	return &queue{workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[item](firstRetry, lastRetry),
		workqueue.TypedRateLimitingQueueConfig[item]{
			DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[item]{Queue: ordered}),
		},
	)}
}

// oldestFirst is a workqueue.Queue. Items of the same second come out in the
// order in which they went in. It is guarded by the lock of the workqueue.
type oldestFirst struct {
	places places
	pushed uint64
}

// Touch is for an item that is in the queue already: its place does not change.
func (o *oldestFirst) Touch(item) {}

// Push adds an item.
func (o *oldestFirst) Push(i item) {
	o.pushed++
	heap.Push(&o.places, place{i, o.pushed})
}

// Len counts the items.
func (o *oldestFirst) Len() int { return len(o.places) }

// Pop takes the oldest item, of which there must be one.
func (o *oldestFirst) Pop() item { return heap.Pop(&o.places).(place).item }

type place struct {
	item  item
	order uint64
}

// places is a heap.Interface.
type places []place

func (p places) Len() int      { return len(p) }
func (p places) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p places) Less(i, j int) bool {
	if p[i].item.other != p[j].item.other {
		return p[j].item.other
	}
	if p[i].item.created != p[j].item.created {
		return p[i].item.created < p[j].item.created
	}
	return p[i].order < p[j].order
}

// Push adds a place at the end.
func (p *places) Push(x any) { *p = append(*p, x.(place)) }

// Pop takes the place at the end.
func (p *places) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}
