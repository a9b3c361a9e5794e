// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// changesOfARequest are the events of one that is created, approved and signed, and
// whose predecessor is deleted.
const changesOfARequest = 4

// simulateWatches opens watches as drivers do, by node or by request, and sees what
// they take of the API server when requests change that they are not for. It is
// done without drivers, for thousands of which there is no room.
func simulateWatches(ctx context.Context, cluster *testkit.Cluster, s sizes, r *report) error {
	w, err := newWatches(cluster, s)
	if err != nil {
		return err
	}
	if err := cluster.CreateNamespace(ctx, testkit.Workload{Namespace: w.namespace, ServiceAccount: "example-app"}); err != nil {
		return err
	}
	none, err := w.cost(ctx, "")
	if err != nil {
		return err
	}
	r.add("changes of each request", changesOfARequest, "")
	r.add("kube-apiserver: CPU for all changes of a request, with no watch", none, "ms")
	for _, scope := range []issuance.WatchScope{issuance.WatchNode, issuance.WatchRequest} {
		progress("watches: %d, by %s", s.watches, scope)
		stop, err := w.open(ctx, scope, s.watches)
		if err != nil {
			return err
		}
		busy, err := w.cost(ctx, "")
		stop()
		if err != nil {
			return err
		}
		r.add(fmt.Sprintf("the same, with %d watches by %s that are for others", s.watches, scope), busy, "ms")
		r.add(fmt.Sprintf("for each change and watch by %s", scope), (busy-none)*1000/float64(s.watches)/changesOfARequest, "µs")
	}
	own, err := w.cost(ctx, issuance.WatchRequest)
	if err != nil {
		return err
	}
	r.add("the same, with a watch on each request while it changes", own, "ms")
	r.add("for opening a watch", own-none, "ms")
	return nil
}

// watches is a namespace in which requests change.
type watches struct {
	cluster             *testkit.Cluster
	namespace           string
	requests, openSoFar int
	// csr is that of all requests.
	csr []byte
}

func newWatches(cluster *testkit.Cluster, s sizes) (*watches, error) {
	key, err := csr.KeySpec{Algorithm: csr.ECDSA, Size: 256}.Generate()
	if err != nil {
		return nil, err
	}
	asked, err := csr.Build(spiffeid.RequireFromString("spiffe://scale.example.org/ns/sandbox/sa/example-app"), key)
	return &watches{cluster: cluster, namespace: testkit.UniqueName("watches"), requests: s.watchRequests, csr: asked}, err
}

// open opens so many watches that no request is for.
func (w *watches) open(ctx context.Context, scope issuance.WatchScope, count int) (stop func(), err error) {
	const each = 100 // on one connection
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	stop = func() { cancel(); open.Wait() }
	for i := 0; i < count; i += each {
		client, err := cmclient.NewForConfig(w.connection())
		if err != nil {
			stop()
			return nil, err
		}
		for range min(each, count-i) {
			w.openSoFar++
			events, err := w.watch(ctx, client, scope, fmt.Sprint("nobody-", w.openSoFar))
			if err != nil {
				stop()
				return nil, err
			}
			open.Go(func() { drain(ctx, events) })
		}
	}
	return stop, nil
}

// connection is one that is not shared with others.
func (w *watches) connection() *rest.Config {
	own := rest.CopyConfig(w.cluster.REST)
	own.UserAgent = testkit.UniqueName("watches")
	return own
}

func (w *watches) watch(ctx context.Context, client cmclient.Interface, scope issuance.WatchScope, of string) (watch.Interface, error) {
	options, namespace := metav1.ListOptions{ResourceVersion: "0", LabelSelector: issuance.LabelNode + "=" + of}, ""
	if scope == issuance.WatchRequest {
		options, namespace = metav1.ListOptions{ResourceVersion: "0", FieldSelector: "metadata.name=" + of}, w.namespace
	}
	return client.CertmanagerV1().CertificateRequests(namespace).Watch(ctx, options)
}

func drain(ctx context.Context, events watch.Interface) {
	defer events.Stop()
	for {
		select {
		case _, more := <-events.ResultChan():
			if !more {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// cost is the CPU time that the API server takes for all changes of a request, in
// milliseconds, while each has a watch of its own, of a scope, or none.
func (w *watches) cost(ctx context.Context, scope issuance.WatchScope) (float64, error) {
	// What was begun before has ended.
	if err := testkit.Sleep(ctx, settle); err != nil {
		return 0, err
	}
	before, err := apiServerMetrics(ctx, w.cluster.Kubernetes)
	if err != nil {
		return 0, err
	}
	group, changing := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for range w.requests {
		group.Go(func() error { return w.change(changing, scope) })
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	after, err := apiServerMetrics(ctx, w.cluster.Kubernetes)
	const cpu = "process_cpu_seconds_total"
	return (after.sum(cpu) - before.sum(cpu)) * 1000 / float64(w.requests), err
}

// settle is how long the API server is left alone before it is measured.
const settle = 3 * time.Second

// change creates a request, changes it, and deletes it.
func (w *watches) change(ctx context.Context, scope issuance.WatchScope) error {
	client := w.cluster.CertManager.CertmanagerV1().CertificateRequests(w.namespace)
	name := testkit.UniqueName("watched")
	if scope != "" {
		events, err := w.watch(ctx, w.cluster.CertManager, scope, name)
		if err != nil {
			return err
		}
		defer events.Stop()
	}
	request := &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{issuance.LabelNode: name}}}
	// For nobody to sign.
	request.Spec = cmapi.CertificateRequestSpec{
		Request: w.csr, IssuerRef: cmmeta.IssuerReference{Name: "nobody", Kind: "ClusterIssuer", Group: "cert-manager.io"},
	}
	if _, err := client.Create(ctx, request, metav1.CreateOptions{}); err != nil {
		return err
	}
	for i := range changesOfARequest - 2 {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.org/change":"%d"}}}`, i)
		if _, err := client.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return client.Delete(ctx, name, metav1.DeleteOptions{})
}
