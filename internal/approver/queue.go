// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"
)

// How long after a failure a decision is tried again: doubling from one to the
// other.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// item names a request in the queue. It is the same for every version of the
// request, so that no request is in the queue twice, nor decided by two
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
// that are tried again later, or that are parked by the webhook throttle, are not in it
// meanwhile.
//
// It has no limit: it holds the names of requests that the API server holds whole.
// How many one namespace can have is for a ResourceQuota on
// count/certificaterequests.cert-manager.io; dropping some here would only have
// them listed again.
type queue struct {
	workqueue.TypedRateLimitingInterface[item]
	fair *fairQueue
	// began is when the queue was made, which is when this replica began to lead.
	began time.Time
}

// newQueue returns an empty queue for so many workers.
func newQueue(workers int) *queue {
	fair := newFairQueue(workers)
	return &queue{
		workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[item](firstRetry, lastRetry),
			workqueue.TypedRateLimitingQueueConfig[item]{
				DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[item]{Queue: fair}),
			},
		), fair, time.Now(),
	}
}

// depth returns how many requests wait for a worker. Len returns 0 instead if none
// of them may be handed out now.
func (q *queue) depth() int { return q.fair.order.depth() }

// judged notes whether a request of a namespace is to be denied, see [fairOrder].
func (q *queue) judged(namespace string, denied bool) { q.fair.judged(namespace, denied) }

// fairQueue is a workqueue.TypedInterface on top of a fairOrder. The one of
// client-go does not fit: what may be handed out changes here when an item is done
// or judged, not only when one is added.
type fairQueue struct {
	order *fairOrder

	mu sync.Mutex
	// changed wakes workers when more may be handed out.
	changed *sync.Cond
	// added are the items that are to be handed out. Those that are in hand already
	// wait until they are done.
	added  sets.Set[item]
	inHand sets.Set[item]
	closed bool
}

func newFairQueue(workers int) *fairQueue {
	q := &fairQueue{order: newFairOrder(workers), added: sets.New[item](), inHand: sets.New[item]()}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// Add adds an item, unless it waits already.
func (q *fairQueue) Add(i item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.added.Has(i) {
		return
	}
	q.added.Insert(i)
	if !q.inHand.Has(i) {
		q.order.push(i)
		q.changed.Signal()
	}
}

// Get waits for an item that may be handed out. It returns closed when there will
// be no more.
func (q *fairQueue) Get() (next item, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if next, ok := q.order.pop(); ok {
			q.added.Delete(next)
			q.inHand.Insert(next)
			return next, false
		}
		if q.closed {
			return item{}, true
		}
		q.changed.Wait()
	}
}

// Done takes back an item that Get has handed out. If it was added meanwhile, it
// waits again.
func (q *fairQueue) Done(i item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.order.release(i)
	q.inHand.Delete(i)
	if q.added.Has(i) {
		q.order.push(i)
	}
	q.changed.Broadcast()
}

func (q *fairQueue) judged(namespace string, denied bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.order.judged(namespace, denied)
	q.changed.Broadcast()
}

// Len returns how many items wait, or 0 if none of them may be handed out now.
func (q *fairQueue) Len() int { return q.order.available() }

// ShutDown has Get return what may be handed out, and then that there will be no
// more.
func (q *fairQueue) ShutDown() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

// ShutDownWithDrain is ShutDown: nobody waits for what is in hand but the workers
// themselves.
func (q *fairQueue) ShutDownWithDrain() { q.ShutDown() }

// ShuttingDown reports whether ShutDown has been called.
func (q *fairQueue) ShuttingDown() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
