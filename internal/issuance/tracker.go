// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	cminformers "github.com/cert-manager/cert-manager/pkg/client/informers/externalversions"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// errNotSynced means that nothing is known of the node's requests yet.
var errNotSynced = errors.New("the API server has not answered to list and watch of CertificateRequests (is it there, and may the driver do that?)")

// tracker follows the CertificateRequests of one node on one watch, and hands
// each change to whoever waits for that request.
type tracker struct {
	factory  cminformers.SharedInformerFactory
	informer cache.SharedIndexInformer
	// onNew is called for each request that appears; it may be nil.
	onNew func(name types.NamespacedName, volumeLabel string)

	// failure is why the last attempt to list or watch failed.
	failure atomic.Pointer[error]

	mu      sync.Mutex
	waiters map[types.NamespacedName]chan event
}

// event is the state of a request after a change.
type event struct {
	request *cmapi.CertificateRequest
	deleted bool
}

func newTracker(client cmclient.Interface, node string) (*tracker, error) {
	selector := labels.SelectorFromSet(labels.Set{LabelNode: labelValue(node)}).String()
	factory := cminformers.NewSharedInformerFactoryWithOptions(client, 0,
		cminformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }),
		cminformers.WithTransform(stripManagedFields),
	)
	t := &tracker{
		factory:  factory,
		informer: factory.Certmanager().V1().CertificateRequests().Informer(),
		waiters:  map[types.NamespacedName]chan event{},
	}
	_, err := t.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    t.add,
		UpdateFunc: func(_, obj any) { t.deliver(obj, false) },
		DeleteFunc: func(obj any) { t.deliver(obj, true) },
	})
	if err != nil {
		return nil, err
	}
	err = t.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		t.failure.Store(&err)
		cache.DefaultWatchErrorHandler(ctx, r, err)
	})
	if err != nil {
		return nil, err
	}
	return t, t.informer.AddIndexers(cache.Indexers{LabelVolume: indexByVolume})
}

// start begins to watch until ctx ends. It does not wait for the API server.
func (t *tracker) start(ctx context.Context) { t.factory.Start(ctx.Done()) }

// waitForSync returns when what is there already is known. The API server may
// be away when the driver starts; live volumes are served all the same.
func (t *tracker) waitForSync(ctx context.Context) error {
	if t.informer.HasSynced() || cache.WaitForCacheSync(ctx.Done(), t.informer.HasSynced) {
		return nil
	}
	return fmt.Errorf("%w: %w", t.notSynced(), context.Cause(ctx))
}

// notSynced is errNotSynced with what the API server has said, if it has: which
// right is missing, for instance.
func (t *tracker) notSynced() error {
	if failure := t.failure.Load(); failure != nil {
		return fmt.Errorf("%w: %w", errNotSynced, *failure)
	}
	return errNotSynced
}

// subscribe returns a channel that carries the latest state of a request from
// now on, whether it exists yet or not. The function ends the subscription.
func (t *tracker) subscribe(name types.NamespacedName) (<-chan event, func()) {
	events := make(chan event, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiters[name] = events
	return events, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waiters, name)
	}
}

func (t *tracker) add(obj any) {
	t.deliver(obj, false)
	if request, ok := obj.(*cmapi.CertificateRequest); ok && t.onNew != nil {
		t.onNew(nameOf(request), request.Labels[LabelVolume])
	}
}

// deliver never blocks: a waiter that is slow finds only the latest state,
// which is all that it needs.
func (t *tracker) deliver(obj any, deleted bool) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	request, ok := obj.(*cmapi.CertificateRequest)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	events, ok := t.waiters[nameOf(request)]
	if !ok {
		return
	}
	select {
	case <-events:
	default:
	}
	events <- event{request, deleted}
}

// get returns what the watch knows of a request, or nil.
func (t *tracker) get(name types.NamespacedName) *cmapi.CertificateRequest {
	object, _, err := t.informer.GetIndexer().GetByKey(name.String())
	if request, ok := object.(*cmapi.CertificateRequest); ok && err == nil {
		return request
	}
	return nil
}

// ofVolume returns the requests of a volume that the watch knows of.
func (t *tracker) ofVolume(id string) []*cmapi.CertificateRequest {
	// It fails for want of the index alone, which newTracker made.
	objects, _ := t.informer.GetIndexer().ByIndex(LabelVolume, labelValue(id))
	requests := make([]*cmapi.CertificateRequest, 0, len(objects))
	for _, object := range objects {
		requests = append(requests, object.(*cmapi.CertificateRequest))
	}
	return requests
}

func indexByVolume(obj any) ([]string, error) {
	object, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	return []string{object.GetLabels()[LabelVolume]}, nil
}

// stripManagedFields drops, before a request is kept in memory, what the server
// notes about who wrote which field: nothing here reads it, and it is long.
func stripManagedFields(obj any) (any, error) {
	if object, err := meta.Accessor(obj); err == nil {
		object.SetManagedFields(nil)
	}
	return obj, nil
}
