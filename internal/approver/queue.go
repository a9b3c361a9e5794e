// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
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
	namespace string
	uid       types.UID
	// created is in seconds since 1970, which is how precisely Kubernetes notes
	// it.
	created int64
	// other is set if the request is not for an SVID, but approved for
	// approver.approveOthers.
	other bool
}

// queue hands out requests to the workers in the order of [fairOrder]. Requests
// that are tried again later, or that are parked by the pacer, are not in it
// meanwhile.
//
// It has no limit: it holds the names of requests that the API server holds whole.
// How many one namespace can have is for a ResourceQuota on
// count/certificaterequests.cert-manager.io; dropping some here would only have
// them listed again.
type queue struct {
	workqueue.TypedRateLimitingInterface[item]
	order *fairOrder
	// began is when the queue was made, which is when this replica began to lead.
	began time.Time
}

// newQueue returns an empty queue for so many workers.
func newQueue(workers int) *queue {
	order := newFairOrder(workers)
	ordered := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[item]{Queue: order})
	return &queue{
		workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[item](firstRetry, lastRetry),
			workqueue.TypedRateLimitingQueueConfig[item]{
				DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[item]{Queue: ordered}),
			},
		), order, time.Now(),
	}
}

// Done marks an item as no longer in the hands of a worker. The worker has to call
// Get again: this may have made another item of the namespace available, of which
// no other worker is told.
func (q *queue) Done(i item) {
	q.order.release(i)
	q.TypedRateLimitingInterface.Done(i)
}

// depth returns how many requests wait for a worker. Len returns 0 instead if all
// of them wait for one of their own namespace to be done.
func (q *queue) depth() int { return q.order.depth() }
