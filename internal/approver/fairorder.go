// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"sync"
	"time"
)

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
