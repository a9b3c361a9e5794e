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

// view is what one watch has found. It is a cache.TransformingStore, which a
// reflector writes to; all of it is guarded by the inbox's lock.
type view struct {
	inbox   *inbox
	scope   scope
	waiting map[types.UID]entry
	synced  bool
}

// unwanted stands for a request that is not kept, while a reflector collects
// the first state of all.
type unwanted struct{}

// wants reports whether a request of the watch is to be decided: it may also
// show what is decided, and what is somebody else's.
func (v *view) wants(request *cmapi.CertificateRequest) bool {
	return v.scope.includes(request.Spec.IssuerRef) && !decided(request)
}

// Transformer keeps a reflector from collecting the whole of each request.
func (v *view) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		switch request, ok := obj.(*cmapi.CertificateRequest); {
		case !ok:
			return obj, nil
		case v.wants(request):
			return slimmed(request), nil
		default:
			return unwanted{}, nil
		}
	}
}

// keep returns what is kept of a request that is listed, or nil.
func (v *view) keep(request *cmapi.CertificateRequest) runtime.Object {
	if !v.wants(request) {
		return nil
	}
	return slimmed(request)
}

// Add takes a request as it is now.
func (v *view) Add(obj any) error { return v.Update(obj) }

// Update takes a request as it is now.
func (v *view) Update(obj any) error {
	request, ok := obj.(*cmapi.CertificateRequest)
	if !ok {
		return unexpected(obj)
	}
	v.inbox.mu.Lock()
	defer v.inbox.mu.Unlock()
	v.update(request, slimmed)
	return nil
}

func (v *view) update(request *cmapi.CertificateRequest, reduce func(*cmapi.CertificateRequest) slim) {
	if !v.wants(request) {
		if _, waited := v.waiting[request.UID]; waited && isApprovedByOther(request) && v.inbox.isOurs(request.Spec.IssuerRef) {
			v.inbox.approvedByOther(request)
		}
		delete(v.waiting, request.UID)
		return
	}
	now := time.Now()
	kept := reduce(request)
	e := entry{request: kept.CertificateRequest, partial: kept.partial, seen: now, due: now, other: !v.inbox.isOurs(request.Spec.IssuerRef)}
	if before, ok := v.waiting[request.UID]; ok {
		e.seen = before.seen
		if !before.due.IsZero() {
			e.due = before.due
		}
	}
	v.waiting[request.UID] = e
	v.inbox.put(e)
}

// Delete drops a request that is no more.
func (v *view) Delete(obj any) error {
	request, ok := obj.(*cmapi.CertificateRequest)
	if !ok {
		return unexpected(obj)
	}
	v.inbox.mu.Lock()
	defer v.inbox.mu.Unlock()
	delete(v.waiting, request.UID)
	return nil
}

// Replace takes all requests as they are now, as Transformer and keep have left them.
func (v *view) Replace(objs []any, _ string) error {
	v.inbox.mu.Lock()
	defer v.inbox.mu.Unlock()
	before := v.waiting
	v.waiting = map[types.UID]entry{}
	for _, obj := range objs {
		request, ok := obj.(slim)
		if !ok { // It is unwanted.
			continue
		}
		if e, ok := before[request.UID]; ok {
			v.waiting[request.UID] = e // for when it was first seen
		}
		v.update(request.CertificateRequest, func(*cmapi.CertificateRequest) slim { return request })
	}
	v.synced = true
	return nil
}

// Resync does nothing: what waits is in the queue, or will be put there again.
func (v *view) Resync() error { return nil }

func (v *view) hasSynced() bool {
	v.inbox.mu.Lock()
	defer v.inbox.mu.Unlock()
	return v.synced
}

func unexpected(obj any) error {
	return fmt.Errorf("the watch on CertificateRequests has shown an object of type %T", obj)
}
