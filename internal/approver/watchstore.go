// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"fmt"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

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
