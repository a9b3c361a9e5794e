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
	// request is nil if the tracker has only the short form of it.
	request *cmapi.CertificateRequest
	deleted bool
}

func newTracker(client cmclient.Interface, node string) (*tracker, error) {
	t := &tracker{waiters: map[types.NamespacedName]chan event{}}
	selector := labels.SelectorFromSet(labels.Set{LabelNode: labelValue(node)}).String()
	factory := cminformers.NewSharedInformerFactoryWithOptions(client, 0,
		cminformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }),
		cminformers.WithTransform(t.take),
	)
	t.factory, t.informer = factory, factory.Certmanager().V1().CertificateRequests().Informer()
	_, err := t.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    t.add,
		UpdateFunc: func(_, obj any) { t.update(obj) },
		DeleteFunc: t.remove,
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

// take is given each state of a request before it is kept. It hands it to
// whoever waits for the request, and returns what is kept. Of a request that is
// done that is its metadata: a node has one for each volume, and of what it has
// brought nothing is needed any more.
func (t *tracker) take(obj any) (any, error) {
	request, ok := obj.(*cmapi.CertificateRequest)
	if !ok {
		return obj, nil
	}
	request.ManagedFields = nil // long, and read by nobody
	t.deliver(nameOf(request), event{request: request})
	if _, done, _ := outcome(request); done {
		return shortForm(request), nil
	}
	return request, nil
}

// shortForm returns what is kept of a request that is done.
func shortForm(request *cmapi.CertificateRequest) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: request.Namespace, Name: request.Name, UID: request.UID, ResourceVersion: request.ResourceVersion,
		Labels: map[string]string{LabelVolume: request.Labels[LabelVolume]},
	}}
}

func (t *tracker) add(obj any) {
	t.update(obj)
	if request, err := meta.Accessor(obj); err == nil && t.onNew != nil {
		t.onNew(nameOf(request), request.GetLabels()[LabelVolume])
	}
}

// update tells of a request that was done before its waiter came, which take has
// not handed over.
func (t *tracker) update(obj any) {
	if short, ok := obj.(*metav1.PartialObjectMetadata); ok {
		t.deliver(nameOf(short), event{})
	}
}

func (t *tracker) remove(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if object, err := meta.Accessor(obj); err == nil {
		request, _ := obj.(*cmapi.CertificateRequest)
		t.deliver(nameOf(object), event{request, true})
	}
}

// deliver never blocks: a waiter that is slow finds only the latest state that
// says something, which is all that it needs.
func (t *tracker) deliver(name types.NamespacedName, latest event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	events, ok := t.waiters[name]
	if !ok {
		return
	}
	select {
	case unread := <-events:
		if latest.request == nil { // the short form says less
			latest.request = unread.request
		}
	default:
	}
	events <- latest
}

// get returns what the watch knows of a request, which is nothing, or that it
// is there, or the whole of it while it is open.
func (t *tracker) get(name types.NamespacedName) (request *cmapi.CertificateRequest, known bool) {
	object, known, err := t.informer.GetIndexer().GetByKey(name.String())
	if err != nil || !known {
		return nil, false
	}
	request, _ = object.(*cmapi.CertificateRequest)
	return request, true
}

// ofVolume returns the requests of a volume that the watch knows of: the names
// of all, and of those that are open.
func (t *tracker) ofVolume(id string) (all, open []types.NamespacedName) {
	// It fails for want of the index alone, which newTracker made.
	objects, _ := t.informer.GetIndexer().ByIndex(LabelVolume, labelValue(id))
	for _, object := range objects {
		name := nameOf(object.(metav1.Object))
		all = append(all, name)
		if _, whole := object.(*cmapi.CertificateRequest); whole {
			open = append(open, name)
		}
	}
	return all, open
}

func indexByVolume(obj any) ([]string, error) {
	object, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	return []string{object.GetLabels()[LabelVolume]}, nil
}
