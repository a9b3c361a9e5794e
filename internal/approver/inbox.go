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

// inbox holds the requests that wait for a decision, each with the watch that
// found it, and tells them to the queue when there is one: a replica that is
// not the leader only holds them.
type inbox struct {
	isOurs func(cmmeta.IssuerReference) bool
	// approvedByOther is called for a request for an SVID that waited here, and
	// that another approver has approved; the lock is held.
	approvedByOther func(*cmapi.CertificateRequest)

	mu    sync.Mutex
	views map[scope]*view
	queue *queue
}

// entry is a request that waits. It is replaced, never changed.
type entry struct {
	request *cmapi.CertificateRequest
	// partial is set if only the name of the request is kept: see [slim].
	partial bool
	// seen is when the watch first showed it.
	seen time.Time
	// due is since when a worker should take it up, or when it is to be looked at
	// again: zero if it is not to be decided unless the configuration changes.
	due time.Time
	// other is set if the request is not for an SVID.
	other bool
}

func (e entry) item() item {
	return item{namespace: e.request.Namespace, uid: e.request.UID, created: e.request.CreationTimestamp.Unix(), other: e.other}
}

// dueIn is since when a request should have been taken up by a worker of a queue.
func (e entry) dueIn(queue *queue) time.Time {
	if e.due.Before(queue.began) {
		return queue.began
	}
	return e.due
}

// newInbox returns an empty inbox. isOurs tells whether a request is for an SVID.
func newInbox(isOurs func(cmmeta.IssuerReference) bool) *inbox {
	return &inbox{isOurs: isOurs, approvedByOther: func(*cmapi.CertificateRequest) {}, views: map[scope]*view{}}
}

// serve has what waits, and all that comes from now on, go to a queue, until
// the returned function is called.
func (b *inbox) serve(q *queue) (stop func()) {
	b.mu.Lock()
	b.queue = q
	b.mu.Unlock()
	b.putAll()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.queue = nil
	}
}

// putAll puts all that waits into the queue, what was shelved among it.
func (b *inbox) putAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		for uid, e := range v.waiting {
			if e.due.IsZero() {
				e.due = time.Now()
				v.waiting[uid] = e
			}
			b.put(e)
		}
	}
}

// put needs the lock.
func (b *inbox) put(e entry) {
	if b.queue != nil {
		b.queue.Add(e.item())
	}
}

// get returns a request as the watch last showed it, if it still waits.
func (b *inbox) get(uid types.UID) (entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		if e, ok := v.waiting[uid]; ok {
			return e, true
		}
	}
	return entry{}, false
}

// forget drops a request that has been decided, without waiting for the watch
// to show that.
func (b *inbox) forget(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		delete(v.waiting, uid)
	}
}

// leave drops a request as it was judged. If it has changed since, it stays.
func (b *inbox) leave(judged *cmapi.CertificateRequest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		if e, ok := v.waiting[judged.UID]; ok && e.request.ResourceVersion == judged.ResourceVersion {
			delete(v.waiting, judged.UID)
		}
	}
}

// served returns the queue that requests go to, or nil if this replica does not
// lead.
func (b *inbox) served() *queue {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue
}

// putOff notes that a worker has looked at a request and that it is due again at
// a time. It does nothing if the request is no longer waiting, or shelved.
func (b *inbox) putOff(uid types.UID, until time.Time) {
	b.setDue(uid, func(due time.Time) time.Time {
		if due.IsZero() {
			return due
		}
		return until
	})
}

// shelve notes that a request is not to be decided, unless the configuration
// changes.
func (b *inbox) shelve(uid types.UID) {
	b.setDue(uid, func(time.Time) time.Time { return time.Time{} })
}

func (b *inbox) setDue(uid types.UID, to func(due time.Time) time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		if e, ok := v.waiting[uid]; ok {
			e.due = to(e.due)
			v.waiting[uid] = e
		}
	}
}

// oldestDue returns the request that has been due for longest in a queue, if that
// is since before a time.
func (b *inbox) oldestDue(queue *queue, before time.Time) (oldest entry, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		for _, e := range v.waiting {
			if due := e.dueIn(queue); !e.due.IsZero() && due.Before(before) && (!ok || due.Before(oldest.dueIn(queue))) {
				oldest, ok = e, true
			}
		}
	}
	return oldest, ok
}

// oldest returns when the oldest request for an SVID was created that is not
// decided: zero if there is none. One that is put off for longer than after a
// failure waits for a policy, and does not count.
func (b *inbox) oldest(now time.Time) (created time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		for _, e := range v.waiting {
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

// undecided counts the requests that wait, and queued those of them that are in
// the queue.
func (b *inbox) undecided() (undecided, queued int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		undecided += len(v.waiting)
	}
	if b.queue != nil {
		queued = b.queue.depth()
	}
	return undecided, queued
}

// open returns the view of a scope, for its source to fill.
func (b *inbox) open(s scope) *view {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := &view{inbox: b, scope: s, waiting: map[types.UID]entry{}}
	b.views[s] = v
	return v
}

// close drops a view. Its source may still be about to write to it.
func (b *inbox) close(v *view) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.views[v.scope] == v {
		delete(b.views, v.scope)
	}
}
