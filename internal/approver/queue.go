// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"container/heap"
	"container/list"
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

// svidsInARow is how many requests for SVIDs are handed out before one for
// another issuer is, if there is one. Requests for SVIDs come first because pods
// wait for them; without a limit, one namespace could stop all other requests
// with an endless supply of them.
const svidsInARow = 8

// fairOrder is fair between namespaces: they take roundRobin, and each turn hands out
// the oldest request of the namespace. A request that is the oldest of its
// namespace waits for at most one request of each other namespace that has any
// waiting, however many those have, and whichever arrived first.
//
// One namespace has at most [fairOrder.share] requests being decided at
// a time, so that slow decisions of one cannot occupy all workers. While its
// requests are denied, it has one: nobody waits for a denial, but each takes the
// API server and cert-manager's webhook as much time as an approval, which all
// others would have to share with a flood of them. The same goes while approvals of
// its requests to other issuers are refused: for each issuer that does not exist, the
// webhook asks the API server anew. Namespaces at their limit are passed over and keep
// their turn.
//
// Fairness is between namespaces because Kubernetes grants the right to create
// requests per namespace. Somebody who can create namespaces gets the share of
// each: their number has to be limited where they are created.
type fairOrder struct {
	// share is how many requests of one namespace may be in hand at a time.
	share int

	mu            sync.Mutex
	svids, others roundRobin
	// inARow counts requests for SVIDs that were handed out while others waited.
	inARow int
	pushed uint64
	// inHand has the items that workers have, and since when.
	inHand map[item]time.Time
	// busy counts them by namespace.
	busy map[string]int
	// denied has the namespaces whose last request that was judged is denied, or whose
	// approval was refused. Those of which nothing is waiting or in hand are not remembered.
	denied map[string]bool
	// handedOut is when a worker last got an item.
	handedOut time.Time
}

// newFairOrder returns an order for so many workers. One namespace may use three
// quarters of them, and all but one if there are fewer than four.
func newFairOrder(workers int) *fairOrder {
	return &fairOrder{
		share: max(1, workers-max(1, workers/4)),
		svids: newRoundRobin(), others: newRoundRobin(), inHand: map[item]time.Time{}, busy: map[string]int{}, denied: map[string]bool{},
	}
}

// push adds an item.
func (o *fairOrder) push(i item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushed++
	of := &o.svids
	if i.other {
		of = &o.others
	}
	of.push(place{i, o.pushed})
}

// available returns how many items wait, or 0 if none of them may be handed out
// now.
func (o *fairOrder) available() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.svids.next(o.mayHandOut) == nil && o.others.next(o.mayHandOut) == nil {
		return 0
	}
	return o.svids.waiting + o.others.waiting
}

// depth returns how many items wait, whether or not they may be handed out.
func (o *fairOrder) depth() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.svids.waiting + o.others.waiting
}

// pop hands out the next item, if there is one that may be.
func (o *fairOrder) pop() (next item, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	svid, other := o.svids.next(o.mayHandOut), o.others.next(o.mayHandOut)
	switch {
	case svid == nil && other == nil:
		return item{}, false
	case svid == nil || other != nil && o.inARow >= svidsInARow:
		next = o.others.take(other)
		o.inARow = 0
	default:
		next = o.svids.take(svid)
		if other != nil {
			o.inARow++
		}
	}
	o.handedOut = time.Now()
	o.inHand[next] = o.handedOut
	o.busy[next.namespace]++
	return next, true
}

// judged notes whether a request of a namespace, which is in hand, is denied.
func (o *fairOrder) judged(namespace string, denied bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if denied && o.busy[namespace] > 0 {
		o.denied[namespace] = true
	} else {
		delete(o.denied, namespace)
	}
}

// release takes an item back from a worker that is done with it.
func (o *fairOrder) release(i item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.inHand[i]; !ok {
		return
	}
	delete(o.inHand, i)
	o.busy[i.namespace]--
	if o.busy[i.namespace] == 0 {
		delete(o.busy, i.namespace)
		if !o.svids.has(i.namespace) && !o.others.has(i.namespace) {
			delete(o.denied, i.namespace)
		}
	}
}

// longestInHand returns the item that a worker has had for longest, and since
// when: zero if no worker has any.
func (o *fairOrder) longestInHand() (longest item, since time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, at := range o.inHand {
		if since.IsZero() || at.Before(since) {
			longest, since = i, at
		}
	}
	return longest, since
}

// isServed reports whether an item is being decided, or whether items
// wait and a worker has taken one since a time: then it may be the next one's turn.
func (o *fairOrder) isServed(i item, since time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, inHand := o.inHand[i]
	return inHand || o.svids.waiting+o.others.waiting > 0 && !o.handedOut.Before(since)
}

// mayHandOut needs the lock.
func (o *fairOrder) mayHandOut(namespace string) bool {
	if o.denied[namespace] {
		return o.busy[namespace] == 0
	}
	return o.busy[namespace] < o.share
}

// roundRobin are the namespaces that have items waiting, in the order in which they
// are served.
type roundRobin struct {
	order   *list.List // of *lane; the front is served next
	lanes   map[string]*list.Element
	waiting int
}

// lane has the waiting items of one namespace.
type lane struct {
	namespace string
	places    places
}

func newRoundRobin() roundRobin {
	return roundRobin{order: list.New(), lanes: map[string]*list.Element{}}
}

func (t *roundRobin) has(namespace string) bool { return t.lanes[namespace] != nil }

func (t *roundRobin) push(p place) {
	element, ok := t.lanes[p.item.namespace]
	if !ok {
		element = t.order.PushBack(&lane{namespace: p.item.namespace})
		t.lanes[p.item.namespace] = element
	}
	heap.Push(&element.Value.(*lane).places, p)
	t.waiting++
}

// next returns the first lane whose namespace may be served, or nil. It passes
// over few, for there are no more namespaces at their limit than workers.
func (t *roundRobin) next(may func(namespace string) bool) *list.Element {
	for element := t.order.Front(); element != nil; element = element.Next() {
		if may(element.Value.(*lane).namespace) {
			return element
		}
	}
	return nil
}

// take takes the oldest item of a lane, whose turn is over then.
func (t *roundRobin) take(element *list.Element) item {
	from := element.Value.(*lane)
	taken := heap.Pop(&from.places).(place).item
	t.waiting--
	if len(from.places) > 0 {
		t.order.MoveToBack(element)
	} else {
		t.order.Remove(element)
		delete(t.lanes, from.namespace)
	}
	return taken
}

type place struct {
	item  item
	order uint64
}

// places is a heap.Interface: the oldest first, and those of the same second in
// the order in which they were pushed.
type places []place

func (p places) Len() int      { return len(p) }
func (p places) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p places) Less(i, j int) bool {
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
