// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
)

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
