// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
)

// errNotSynced means that nothing is known of the node's requests yet.
var errNotSynced = errors.New("the API server has not answered to list and watch of CertificateRequests (is it there, and may the driver do that?)")

// tracker follows the CertificateRequests of one node on one watch, and hands
// each change to whoever waits for that request. It is the store of a reflector. Or
// it lists them once, and then watches each request while somebody waits for it.
type tracker struct {
	client   *certrequest.Client
	scope    WatchScope
	selector string
	log      *slog.Logger
	// onNew is called for each request that appears; it may be nil.
	onNew func(request Known, volumeLabel string)
	// known are the requests of pods that there are, in their short form.
	known cache.Indexer
	// unobserved are requests that may be there and are not known.
	unobserved unobserved
	// synced is closed when the API server has told what is there.
	synced chan struct{}

	mu      sync.Mutex
	waiters map[types.NamespacedName]chan event
	// health is whether the API server tells, or why not.
	health listwatch.Health
}

// event is the state of a request after a change.
type event struct {
	// request is nil if it was deleted and the tracker had only the short form.
	request *cmapi.CertificateRequest
	// uid is which request of the name it is.
	uid     types.UID
	deleted bool
}

func newTracker(client *certrequest.Client, scope WatchScope, owner Owner, log *slog.Logger) *tracker {
	return &tracker{
		client: client, scope: scope,
		selector: owner.selector(),
		log:      log,
		known:    cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{LabelVolume: indexByVolume}),
		synced:   make(chan struct{}),
		waiters:  map[types.NamespacedName]chan event{},
	}
}

// run watches until ctx ends.
func (t *tracker) run(ctx context.Context) {
	source := t.source("", func(options *metav1.ListOptions) { options.LabelSelector = t.selector })
	if t.scope == WatchRequest {
		listwatch.List(ctx, t, source)
		return
	}
	listwatch.Run(ctx, "driver", &cmapi.CertificateRequest{}, t, source)
}

// source asks for those requests of a namespace, or of all, that are selected.
func (t *tracker) source(namespace string, choose func(*metav1.ListOptions)) listwatch.Source {
	return listwatch.Source{
		List: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			choose(&options)
			return t.client.List(ctx, namespace, options, t.reduce)
		},
		Watch: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			choose(&options)
			return t.client.Watch(ctx, namespace, options)
		},
		Note: t.note,
	}
}

// note remembers why the API server does not tell, and logs it when it is
// something else than before.
func (t *tracker) note(ctx context.Context, call listwatch.Call, err error) {
	if ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.health.Err()
	switch news := t.health.Note(call, err); {
	case news:
		t.log.Error("the node's CertificateRequests cannot be watched; it is tried again until it works", "error", err)
	case before != nil && t.health.Err() == nil:
		t.log.Info("the node's CertificateRequests are watched again")
	}
}

// ready returns nil when what is there is known, or why it is not.
func (t *tracker) ready() error {
	select {
	case <-t.synced:
		return nil
	default:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.health.Err(); err != nil {
		return fmt.Errorf("%w: %w", errNotSynced, err)
	}
	return errNotSynced
}

// waitForSync returns when what is there already is known. The API server may
// be away when the driver starts; live volumes are served all the same.
func (t *tracker) waitForSync(ctx context.Context) error {
	select {
	case <-t.synced:
		return nil
	case <-ctx.Done():
		if err := t.ready(); err != nil {
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
		return nil
	}
}

// subscribe returns a channel that carries the latest state of a request from
// now on, whether it exists yet or not. The function ends the subscription.
func (t *tracker) subscribe(ctx context.Context, name types.NamespacedName) (<-chan event, func()) {
	events := make(chan event, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiters[name] = events
	stop := t.follow(ctx, name)
	return events, func() {
		stop()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waiters, name)
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
		if latest.request == nil && latest.uid == unread.uid { // the short form says less
			latest.request = unread.request
		}
	default:
	}
	events <- latest
}

// get returns the request of a name that is there, as far as the watch knows, or nil.
func (t *tracker) get(name types.NamespacedName) *knownRequest {
	// GetByKey of an indexer never fails.
	if object, known, err := t.known.GetByKey(name.String()); err == nil && known {
		return object.(*knownRequest)
	}
	return nil
}

// knows reports whether a request is there, as far as the watch knows.
func (t *tracker) knows(name types.NamespacedName) bool { return t.get(name) != nil }

// leaves reports whether a request has been deleted and is kept by somebody's
// finalizer.
func (t *tracker) leaves(ref Ref) bool {
	known := t.get(ref.Name)
	return known != nil && known.UID == ref.UID && known.DeletionTimestamp != nil
}

// ofVolume returns the requests of a volume that its pod has made and the watch knows
// of, but for those that have been deleted and that somebody's finalizer keeps.
func (t *tracker) ofVolume(id string, pod Pod) (requests []*knownRequest) {
	// It fails for want of the index alone, which is there.
	objects, _ := t.known.ByIndex(LabelVolume, labelValue(id))
	for _, object := range objects {
		if request := object.(*knownRequest); request.DeletionTimestamp == nil && request.pod.Is(pod) {
			requests = append(requests, request)
		}
	}
	return requests
}

// openOf returns the requests of a volume that are open, or may be: those that its
// pod has made, for others may say that they are for any volume.
func (t *tracker) openOf(pod Pod, id string) (open []Ref) {
	open = t.unobserved.ofVolume(pod, id) // first, for one that is seen meanwhile is in what follows
	for _, request := range t.ofVolume(id, pod) {
		if name := nameOf(request); request.open && !slices.ContainsFunc(open, func(ref Ref) bool { return ref.Name == name }) {
			open = append(open, Ref{name, request.UID, request.pod})
		}
	}
	return open
}

func indexByVolume(obj any) ([]string, error) {
	object, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	return []string{object.GetLabels()[LabelVolume]}, nil
}

// WatchScope is what one watch of a [Requester] is on.
type WatchScope string

const (
	// WatchNode is one watch on all requests of the node, for as long as the
	// Requester runs. It brings news the soonest. The API server hands each change of
	// any request in the cluster to each watch of this kind, and only then asks
	// whether it is for it: with n nodes that have a share of the changes each, it has
	// n² to do.
	WatchNode WatchScope = "Node"
	// WatchRequest is a watch on each request for as long as it is open. The API
	// server finds watches on one object by its name, so that the number of nodes does
	// not matter; but to open one costs as much as some other request does.
	WatchRequest WatchScope = "Request"
)

// follow brings what becomes of a request, until ctx ends or stop is called, where
// the watch on the node does not.
func (t *tracker) follow(ctx context.Context, name types.NamespacedName) (stop func()) {
	if t.scope != WatchRequest {
		return func() {}
	}
	ctx, stop = context.WithCancel(ctx)
	source := t.source(name.Namespace, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name).String()
	})
	see := func(e watch.Event) {
		if e.Type == watch.Added || e.Type == watch.Modified || e.Type == watch.Deleted {
			// It fails for what is no request, which nobody waits for.
			_ = t.take(e.Object, e.Type == watch.Deleted)
		}
	}
	go listwatch.Watch(ctx, source, see, func() { t.deliver(name, event{}) })
	return stop
}

// learn takes the state of a request that was asked for, which no watch may tell.
func (t *tracker) learn(request *cmapi.CertificateRequest) error {
	if t.scope != WatchRequest {
		return nil
	}
	return t.take(request, false)
}

// forget drops a request that has just been deleted, where no watch would tell; or
// whatever has its name, if the UID is empty.
func (t *tracker) forget(name types.NamespacedName, uid types.UID) error {
	if uid == "" {
		t.unobserved.drop(name)
	} else {
		t.unobserved.dropUID(name, uid)
	}
	if known := t.get(name); t.scope != WatchRequest || known != nil && uid != "" && known.UID != uid {
		return nil
	}
	return t.known.Delete(cache.ExplicitKey(name.String()))
}

// A tracker is the store of its reflector (cache.TransformingStore), which is the
// only one to call what follows.

// Transformer keeps a reflector from collecting whole requests while it lists them.
func (t *tracker) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if request, ok := obj.(*cmapi.CertificateRequest); ok {
			return t.reduce(request), nil
		}
		return obj, nil
	}
}

// Add takes a request that has appeared.
func (t *tracker) Add(obj any) error {
	return t.take(obj, false)
}

// Update takes a request as it is now.
func (t *tracker) Update(obj any) error { return t.take(obj, false) }

// Delete takes the last state of a request that is gone.
func (t *tracker) Delete(obj any) error { return t.take(obj, true) }

// Resync has nothing to do: nobody waits for what is told already.
func (t *tracker) Resync() error { return nil }

// Replace takes all requests that there are. The reflector calls it at the start,
// and when the watch has missed something.
func (t *tracker) Replace(objects []any, _ string) error {
	there := map[types.NamespacedName]bool{}
	for _, obj := range objects {
		if object, ok := obj.(metav1.Object); ok {
			there[nameOf(object)] = true
		}
		if err := t.take(obj, false); err != nil {
			return err
		}
	}
	for _, obj := range t.known.List() {
		if !there[nameOf(obj.(metav1.Object))] {
			if err := t.take(obj, true); err != nil {
				return err
			}
		}
	}
	select {
	case <-t.synced:
	default:
		close(t.synced)
	}
	return nil
}

// take keeps a state of a request, and then hands it to whoever waits for the
// request: in this order, so that one who begins to wait and then asks what is
// known misses nothing.
//
// A request without proof that it is the driver's (see originOf) is not kept, and
// nobody is told that it is there. Whoever waits for a request of its name gets it
// all the same, and compares the UID.
func (t *tracker) take(obj any, deleted bool) error {
	object, ok := obj.(metav1.Object)
	if !ok {
		return fmt.Errorf("the watch brought a %T", obj)
	}
	name := nameOf(object)
	request, _ := obj.(*cmapi.CertificateRequest) // else it is the short form
	before := t.get(name)
	if before != nil && before.UID != object.GetUID() {
		if deleted { // another of this name is there already
			return nil
		}
		if err := t.take(before, true); err != nil {
			return err
		}
		before = nil
	}
	content := request
	if s, ok := obj.(summary); ok {
		content = s.CertificateRequest
	}
	short := before
	if content != nil {
		short = shorten(content, before)
	}
	var err error
	switch {
	case deleted:
		err = t.known.Delete(obj)
	case short != nil:
		err = t.known.Update(short)
	default:
		t.log.Debug("ignoring a CertificateRequest with the labels of this driver that was not made with a pod's token", "request", name)
	}
	if err != nil {
		return err
	}
	if short != nil {
		t.unobserved.dropUID(name, object.GetUID())
	}
	t.deliver(name, event{request, object.GetUID(), deleted})
	if before == nil && !deleted && short != nil && t.onNew != nil {
		t.onNew(short.asKnown(), short.Labels[LabelVolume])
	}
	return nil
}

// unobserved are the requests that this process has asked the API server to make, and
// that no watch has shown yet: they may be there and open while a watch is behind, or
// broken. The zero value is ready for use.
type unobserved struct {
	mu       sync.Mutex
	requests map[types.NamespacedName]unobservedRequest
}

type unobservedRequest struct {
	// volume is the value of its label for the volume.
	volume string
	// uid is empty while its creation has not been answered.
	uid types.UID
}

// add notes that a request of a volume is about to be made, and reports whether the
// request had been announced earlier.
func (u *unobserved) add(request types.NamespacedName, volumeID string) (again bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.requests == nil {
		u.requests = map[types.NamespacedName]unobservedRequest{}
	}
	_, again = u.requests[request]
	u.requests[request] = unobservedRequest{volume: labelValue(volumeID)}
	return again
}

// made notes what the API server has answered to the creation of a request, unless it
// was seen meanwhile.
func (u *unobserved) made(request types.NamespacedName, uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if noted, ok := u.requests[request]; ok {
		noted.uid = uid
		u.requests[request] = noted
	}
}

// dropUID is drop unless it is known to be another request of that name.
func (u *unobserved) dropUID(request types.NamespacedName, uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if noted := u.requests[request].uid; noted == "" || noted == uid {
		delete(u.requests, request)
	}
}

// drop notes that a request was seen, has its answer, was deleted, or never made.
func (u *unobserved) drop(request types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.requests, request)
}

// ofVolume are those of a pod's volume.
func (u *unobserved) ofVolume(pod Pod, volumeID string) (requests []Ref) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for request, noted := range u.requests {
		if request.Namespace == pod.Namespace && noted.volume == labelValue(volumeID) {
			requests = append(requests, Ref{request, noted.uid, pod})
		}
	}
	return requests
}
