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
