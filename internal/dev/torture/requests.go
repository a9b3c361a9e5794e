// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture

import (
	"context"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cminformers "github.com/cert-manager/cert-manager/pkg/client/informers/externalversions"
	"k8s.io/client-go/tools/cache"
)

// requests watches the CertificateRequests of all pods.
type requests struct {
	torture *torture

	mu sync.Mutex
	// open are the names of requests without an answer, by the UID of the pod.
	open map[string]map[string]bool
	// made are the times at which requests of a pod were made since it was
	// published.
	made map[string][]time.Time
	// all are the names of those that are there.
	all map[string]bool
}

func newRequests(t *torture) *requests {
	return &requests{torture: t, open: map[string]map[string]bool{}, made: map[string][]time.Time{}, all: map[string]bool{}}
}

func (r *requests) follow(ctx context.Context) error {
	factory := cminformers.NewSharedInformerFactoryWithOptions(r.torture.Cluster.CertManager, 0,
		cminformers.WithNamespace(r.torture.workload.Namespace))
	informer := factory.Certmanager().V1().CertificateRequests().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { r.see(obj, true, false) },
		UpdateFunc: func(_, obj any) { r.see(obj, false, false) },
		DeleteFunc: func(obj any) { r.see(obj, false, true) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return context.Cause(ctx)
	}
	return nil
}

func (r *requests) see(obj any, made, deleted bool) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	request, ok := obj.(*cmapi.CertificateRequest)
	if !ok || len(request.OwnerReferences) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pod := string(request.OwnerReferences[0].UID)
	if made {
		r.note(request, pod)
	}
	if r.open[pod] == nil {
		r.open[pod] = map[string]bool{}
	}
	if deleted {
		delete(r.all, request.Name)
	}
	if deleted || isAnswered(request) {
		delete(r.open[pod], request.Name)
	} else {
		r.open[pod][request.Name] = true
	}
	if len(r.open[pod]) > 1 {
		r.torture.fault("pod %s has %d open requests", request.OwnerReferences[0].Name, len(r.open[pod]))
	}
}

// note asserts that a request is not one too many.
func (r *requests) note(request *cmapi.CertificateRequest, pod string) {
	r.all[request.Name] = true
	at := request.CreationTimestamp.Time
	if before := r.made[pod]; len(before) > 0 {
		if since := at.Sub(before[len(before)-1]); since < r.torture.firstRenewal() {
			r.torture.fault("pod %s: a request %s after the one before: %s", request.OwnerReferences[0].Name, since, request.Name)
		}
	}
	r.made[pod] = append(r.made[pod], at)
}

// firstRenewal is the least time between two requests of a volume, for the first
// renewals come early by up to a half, less a second for timestamps without
// fractions.
func (t *torture) firstRenewal() time.Duration { return t.Lifetime*33/100 - time.Second }

// forget is for a pod that was unpublished and may be published again.
func (r *requests) forget(pod string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.made, pod)
}

// left is how many requests there are.
func (r *requests) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

func isAnswered(request *cmapi.CertificateRequest) bool {
	return len(request.Status.Certificate) > 0 || apiutil.CertificateRequestIsDenied(request) ||
		apiutil.CertificateRequestReadyReason(request) == cmapi.CertificateRequestReasonFailed
}
