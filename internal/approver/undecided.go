// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"fmt"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
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

// watchStore is what one watch has found. It is a cache.TransformingStore, which a
// reflector writes to; all of it is guarded by the lock of the undecided requests.
type watchStore struct {
	undecided *undecidedRequests
	scope     scope
	waiting   map[types.UID]waitingRequest
	synced    bool
}

// unwanted stands for a request that is not kept, while a reflector collects
// the first state of all.
type unwanted struct{}

// wants reports whether a request of the watch is to be decided: it may also
// show what is decided, and what is somebody else's.
func (s *watchStore) wants(request *cmapi.CertificateRequest) bool {
	return s.scope.includes(request.Spec.IssuerRef) && !decided(request)
}

// Transformer keeps a reflector from collecting the whole of each request.
func (s *watchStore) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		switch request, ok := obj.(*cmapi.CertificateRequest); {
		case !ok:
			return obj, nil
		case s.wants(request):
			return trim(request), nil
		default:
			return unwanted{}, nil
		}
	}
}

// keep returns what is kept of a request that is listed, or nil.
func (s *watchStore) keep(request *cmapi.CertificateRequest) runtime.Object {
	if !s.wants(request) {
		return nil
	}
	return trim(request)
}

// Add takes a request as it is now.
func (s *watchStore) Add(obj any) error { return s.Update(obj) }

// Update takes a request as it is now.
func (s *watchStore) Update(obj any) error {
	request, ok := obj.(*cmapi.CertificateRequest)
	if !ok {
		return unexpected(obj)
	}
	s.undecided.mu.Lock()
	defer s.undecided.mu.Unlock()
	s.update(request, trim)
	return nil
}

func (s *watchStore) update(request *cmapi.CertificateRequest, reduce func(*cmapi.CertificateRequest) trimmed) {
	if !s.wants(request) {
		if _, waited := s.waiting[request.UID]; waited && isForeignApproval(request) && s.undecided.isOurs(request.Spec.IssuerRef) {
			s.undecided.onForeignApproval(request)
		}
		delete(s.waiting, request.UID)
		return
	}
	now := time.Now()
	kept := reduce(request)
	e := waitingRequest{request: kept.CertificateRequest, partial: kept.partial, seen: now, due: now, other: !s.undecided.isOurs(request.Spec.IssuerRef)}
	if before, ok := s.waiting[request.UID]; ok {
		e.seen = before.seen
		if !before.due.IsZero() {
			e.due = before.due
		}
	}
	s.waiting[request.UID] = e
	s.undecided.enqueue(e)
}

// Delete drops a request that is no more.
func (s *watchStore) Delete(obj any) error {
	request, ok := obj.(*cmapi.CertificateRequest)
	if !ok {
		return unexpected(obj)
	}
	s.undecided.mu.Lock()
	defer s.undecided.mu.Unlock()
	delete(s.waiting, request.UID)
	return nil
}

// Replace takes all requests as they are now, as Transformer and keep have left them.
func (s *watchStore) Replace(objs []any, _ string) error {
	s.undecided.mu.Lock()
	defer s.undecided.mu.Unlock()
	before := s.waiting
	s.waiting = map[types.UID]waitingRequest{}
	for _, obj := range objs {
		request, ok := obj.(trimmed)
		if !ok { // It is unwanted.
			continue
		}
		if e, ok := before[request.UID]; ok {
			s.waiting[request.UID] = e // for when it was first seen
		}
		s.update(request.CertificateRequest, func(*cmapi.CertificateRequest) trimmed { return request })
	}
	s.synced = true
	return nil
}

// Resync does nothing: what waits is in the queue, or will be put there again.
func (s *watchStore) Resync() error { return nil }

func (s *watchStore) hasSynced() bool {
	s.undecided.mu.Lock()
	defer s.undecided.mu.Unlock()
	return s.synced
}

func unexpected(obj any) error {
	return fmt.Errorf("the watch on CertificateRequests has shown an object of type %T", obj)
}

const (
	// maxWaiting is the size in bytes up to which a waiting request is kept whole. The
	// driver's requests have 1 to 2 KiB. Of a larger one only the name is kept until it is
	// decided, so that thousands of waiting requests take little memory.
	maxWaiting = 4 << 10
	// maxChain limits, in bytes, each of the two chains in the status. An undecided request
	// has none as a rule; a longer one is fetched again before a decision is written.
	maxChain = 16 << 10
)

// trimmed is what is kept of a request that waits.
type trimmed struct {
	*cmapi.CertificateRequest
	// partial is set if it is not all that a decision needs: see [Approver.fetch].
	partial bool
}

// trim returns of a request what a decision needs, or what is needed to fetch it then.
//
// What is kept can be written back: an update of the status takes nothing but
// the status from what it is given.
func trim(request *cmapi.CertificateRequest) trimmed {
	kept := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: request.Namespace, Name: request.Name, UID: request.UID,
			ResourceVersion: request.ResourceVersion, CreationTimestamp: request.CreationTimestamp,
			Labels: request.Labels, Annotations: request.Annotations, OwnerReferences: request.OwnerReferences,
		},
		Spec:   request.Spec,
		Status: request.Status,
	}
	kept.Spec.UID = ""
	if sizeOf(kept) <= maxWaiting {
		return trimmed{kept, false}
	}
	kept.Labels, kept.Annotations, kept.OwnerReferences = nil, nil, nil
	kept.Spec = cmapi.CertificateRequestSpec{IssuerRef: request.Spec.IssuerRef}
	kept.Status = cmapi.CertificateRequestStatus{}
	return trimmed{kept, true}
}

// sizeOf is about how much memory a request takes beside what each one does.
func sizeOf(request *cmapi.CertificateRequest) (size int) {
	const (
		text      = 32 // what a string takes in a list or map beside its bytes
		owner     = 128
		condition = 128
	)
	for _, texts := range []map[string]string{request.Labels, request.Annotations} {
		for key, value := range texts {
			size += 2*text + len(key) + len(value)
		}
	}
	for _, o := range request.OwnerReferences {
		size += owner + len(o.APIVersion) + len(o.Kind) + len(o.Name) + len(o.UID)
	}
	spec, status := &request.Spec, &request.Status
	size += len(spec.Request) + len(spec.Username)
	for _, usage := range spec.Usages {
		size += text + len(usage)
	}
	for _, group := range spec.Groups {
		size += text + len(group)
	}
	for key, values := range spec.Extra {
		size += 2*text + len(key)
		for _, value := range values {
			size += text + len(value)
		}
	}
	size += len(status.Certificate) + len(status.CA)
	for _, c := range status.Conditions {
		size += condition + len(c.Type) + len(c.Status) + len(c.Reason) + len(c.Message)
	}
	return size
}

// isForeignApproval reports whether a request was approved, and not by an approver
// of this kind.
func isForeignApproval(request *cmapi.CertificateRequest) bool {
	approval := apiutil.GetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved)
	return approval != nil && approval.Status == cmmeta.ConditionTrue && approval.Reason != ConditionReason
}

// decided reports whether an approver has spoken, which is final.
func decided(request *cmapi.CertificateRequest) bool {
	return apiutil.CertificateRequestIsApproved(request) || apiutil.CertificateRequestIsDenied(request)
}
