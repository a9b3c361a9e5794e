// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"sync"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// undecidedRequests holds the requests that wait for a decision, in one store for each
// watch, and adds them to the queue when there is one: a replica that is not the leader
// only holds them.
type undecidedRequests struct {
	isOurs func(cmmeta.IssuerReference) bool
	// onForeignApproval is called for a request for an SVID that waited here, and
	// that another approver has approved; the lock is held.
	onForeignApproval func(*cmapi.CertificateRequest)

	mu     sync.Mutex
	stores map[scope]*watchStore
	queue  *queue
}

// waitingRequest is a request that waits. It is replaced, never changed.
type waitingRequest struct {
	request *cmapi.CertificateRequest
	// partial is set if only the name of the request is kept: see [trim].
	partial bool
	// seen is when the watch first showed it.
	seen time.Time
	// due is since when a worker should take it up, or when it is to be looked at
	// again: zero if it is not to be decided unless the configuration changes.
	due time.Time
	// other is set if the request is not for an SVID.
	other bool
}

func (e waitingRequest) item() item {
	return item{namespace: e.request.Namespace, uid: e.request.UID, created: e.request.CreationTimestamp.Unix(), other: e.other}
}

// dueIn is since when a request should have been taken up by a worker of a queue.
func (e waitingRequest) dueIn(queue *queue) time.Time {
	if e.due.Before(queue.began) {
		return queue.began
	}
	return e.due
}

// newUndecidedRequests returns an empty set. isOurs tells whether a request is for an SVID.
func newUndecidedRequests(isOurs func(cmmeta.IssuerReference) bool) *undecidedRequests {
	return &undecidedRequests{isOurs: isOurs, onForeignApproval: func(*cmapi.CertificateRequest) {}, stores: map[scope]*watchStore{}}
}

// feed adds the requests that wait, and all that come from now on, to a queue, until
// the returned function is called.
func (u *undecidedRequests) feed(q *queue) (stop func()) {
	u.mu.Lock()
	u.queue = q
	u.mu.Unlock()
	u.enqueueAll()
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.queue = nil
	}
}

// enqueueAll adds all requests to the queue, including those that were shelved.
func (u *undecidedRequests) enqueueAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, store := range u.stores {
		for uid, e := range store.waiting {
			if e.due.IsZero() {
				e.due = time.Now()
				store.waiting[uid] = e
			}
			u.enqueue(e)
		}
	}
}

// enqueue needs the lock.
func (u *undecidedRequests) enqueue(e waitingRequest) {
	if u.queue != nil {
		u.queue.Add(e.item())
	}
}

// get returns a request as the watch last showed it, if it still waits.
func (u *undecidedRequests) get(uid types.UID) (waitingRequest, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, store := range u.stores {
		if e, ok := store.waiting[uid]; ok {
			return e, true
		}
	}
	return waitingRequest{}, false
}

// drop drops a request that has been decided, without waiting for the watch
// to show that.
func (u *undecidedRequests) drop(uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, store := range u.stores {
		delete(store.waiting, uid)
	}
}

// dropUnchanged drops a request unless it has changed since it was judged.
func (u *undecidedRequests) dropUnchanged(judged *cmapi.CertificateRequest) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, store := range u.stores {
		if e, ok := store.waiting[judged.UID]; ok && e.request.ResourceVersion == judged.ResourceVersion {
			delete(store.waiting, judged.UID)
		}
	}
}

// activeQueue returns the queue that requests go to, or nil if this replica does not
// lead.
func (u *undecidedRequests) activeQueue() *queue {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.queue
}

// postpone notes that a worker has looked at a request and that it is due again at
// a time. It does nothing if the request is no longer waiting, or shelved.
func (u *undecidedRequests) postpone(uid types.UID, until time.Time) {
	u.setDue(uid, func(due time.Time) time.Time {
		if due.IsZero() {
			return due
		}
		return until
	})
}

// shelve notes that a request is not to be decided, unless the configuration
// changes.
func (u *undecidedRequests) shelve(uid types.UID) {
	u.setDue(uid, func(time.Time) time.Time { return time.Time{} })
}

func (u *undecidedRequests) setDue(uid types.UID, to func(due time.Time) time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, store := range u.stores {
		if e, ok := store.waiting[uid]; ok {
			e.due = to(e.due)
			store.waiting[uid] = e
		}
	}
}

// oldestDue returns the request that has been due for longest in a queue, if that
// is since before a time.
func (u *undecidedRequests) oldestDue(queue *queue, before time.Time) (oldest waitingRequest, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, store := range u.stores {
		for _, e := range store.waiting {
			if due := e.dueIn(queue); !e.due.IsZero() && due.Before(before) && (!ok || due.Before(oldest.dueIn(queue))) {
				oldest, ok = e, true
			}
		}
	}
	return oldest, ok
}

// oldestCreation returns when the oldest request for an SVID was created that is not
// decided: zero if there is none. One that is put off for longer than after a
// failure waits for a policy, and does not count.
func (u *undecidedRequests) oldestCreation(now time.Time) (created time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, store := range u.stores {
		for _, e := range store.waiting {
			if e.other || e.due.IsZero() || e.due.Sub(now) > lastRetry {
				continue
			}
			if at := e.request.CreationTimestamp.Time; created.IsZero() || at.Before(created) {
				created = at
			}
		}
	}
	return created
}

// counts returns how many requests wait, and how many of them are in the queue.
func (u *undecidedRequests) counts() (undecided, queued int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, store := range u.stores {
		undecided += len(store.waiting)
	}
	if u.queue != nil {
		queued = u.queue.depth()
	}
	return undecided, queued
}

// openStore returns the store of a scope, for its watch to fill.
func (u *undecidedRequests) openStore(of scope) *watchStore {
	u.mu.Lock()
	defer u.mu.Unlock()
	store := &watchStore{undecided: u, scope: of, waiting: map[types.UID]waitingRequest{}}
	u.stores[of] = store
	return store
}

// closeStore drops a store. Its watch may still be about to write to it.
func (u *undecidedRequests) closeStore(store *watchStore) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stores[store.scope] == store {
		delete(u.stores, store.scope)
	}
}
