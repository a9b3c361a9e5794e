// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"fmt"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cminformers "github.com/cert-manager/cert-manager/pkg/client/informers/externalversions"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// How long after a failure a decision is tried again: doubling from one to the
// other.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// inbox is what the watch has found: the requests of the cluster, and the keys
// (namespace/name) of those that wait for a decision. A key is in the queue
// once, however often its request changes.
type inbox struct {
	requests cache.Indexer
	waiting  workqueue.TypedRateLimitingInterface[string]
}

// watch follows the CertificateRequests of the cluster until ctx ends.
func (a *Approver) watch(ctx context.Context) (*inbox, error) {
	factory := cminformers.NewSharedInformerFactory(a.certManager, 0)
	informer := factory.Certmanager().V1().CertificateRequests().Informer()
	box := &inbox{
		requests: informer.GetIndexer(),
		waiting:  workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)),
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    box.put,
		UpdateFunc: func(_, obj any) { box.put(obj) },
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the watch on CertificateRequests: %w", err)
	}
	factory.Start(ctx.Done())
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			a.synced.Store(true)
		}
	}()
	return box, nil
}

// put notes a request that nobody has decided.
func (b *inbox) put(obj any) {
	request, ok := obj.(*cmapi.CertificateRequest)
	if !ok || decided(request) {
		return
	}
	b.waiting.Add(request.Namespace + "/" + request.Name)
}

// get returns a request as the watch last saw it, or nil if it is gone.
func (b *inbox) get(key string) *cmapi.CertificateRequest {
	object, exists, err := b.requests.GetByKey(key)
	if err != nil || !exists {
		return nil
	}
	return object.(*cmapi.CertificateRequest)
}

// decided reports whether an approver has spoken, which is final.
func decided(request *cmapi.CertificateRequest) bool {
	return apiutil.CertificateRequestIsApproved(request) || apiutil.CertificateRequestIsDenied(request)
}
