// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	cminformers "github.com/cert-manager/cert-manager/pkg/client/informers/externalversions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/tools/cache"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// floor does the least that must be done for a certificate: it creates a
// request, approves it as soon as the watch shows it, and notes when the watch
// shows the certificate. It judges nothing, checks nothing and writes nothing.
type floor struct {
	namespace string
	policy    policy.Policy
	account   spiffe.ServiceAccount
	requester cmclient.Interface
	approver  cmclient.Interface

	mu     sync.Mutex
	signed map[string]chan struct{}
}

func newFloor(ctx context.Context, b *bench, issuer string) (*floor, error) {
	access, err := b.cluster.ServiceAccountConfig(ctx, b.workload.Namespace, b.workload.ServiceAccount)
	if err != nil {
		return nil, err
	}
	requester, err := cmclient.NewForConfig(access)
	if err != nil {
		return nil, err
	}
	// With the approver's own rights, for the API server treats administrators
	// differently.
	approver, err := cmclient.NewForConfig(b.access.Approver)
	if err != nil {
		return nil, err
	}
	account, err := spiffe.NewServiceAccount(b.workload.Namespace, b.workload.ServiceAccount)
	if err != nil {
		return nil, err
	}
	f := &floor{
		namespace: b.workload.Namespace, policy: b.config.Policy(), account: account,
		requester: requester, approver: approver, signed: map[string]chan struct{}{},
	}
	f.policy.IssuerRef.Name = issuer
	see := func(request *cmapi.CertificateRequest) { f.see(ctx, request) }
	return f, watchRequests(ctx, f.approver, f.namespace, "spec.issuerRef.name="+issuer, see)
}

// watchRequests calls see, until ctx ends, for each state of the requests of a
// namespace that a field selector lets through. It returns when those that are
// there have been seen.
func watchRequests(ctx context.Context, client cmclient.Interface, namespace, selector string, see func(*cmapi.CertificateRequest)) error {
	factory := cminformers.NewSharedInformerFactoryWithOptions(client, 0, cminformers.WithNamespace(namespace),
		cminformers.WithTweakListOptions(func(options *metav1.ListOptions) { options.FieldSelector = selector }))
	informer := factory.Certmanager().V1().CertificateRequests().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { see(obj.(*cmapi.CertificateRequest)) },
		UpdateFunc: func(_, obj any) { see(obj.(*cmapi.CertificateRequest)) },
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

// see reacts to a state of a request on the watch.
func (f *floor) see(ctx context.Context, request *cmapi.CertificateRequest) {
	f.mu.Lock()
	signed, ours := f.signed[request.Name]
	f.mu.Unlock()
	switch {
	case !ours:
	case !apiutil.CertificateRequestIsApproved(request):
		go f.approveInTheEnd(ctx, request)
	case len(request.Status.Certificate) > 0:
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.signed[request.Name] != nil {
			close(signed)
			delete(f.signed, request.Name)
		}
	}
}

// approveInTheEnd tries until it is done: cert-manager's webhook may be too slow,
// as it asks the API server about rights no more than 5 times a second.
func (f *floor) approveInTheEnd(ctx context.Context, request *cmapi.CertificateRequest) {
	for ctx.Err() == nil {
		// Two states of one request may be seen before the approval.
		if err := f.approve(ctx, request); err == nil || apierrors.IsConflict(err) {
			return
		}
	}
}

func (f *floor) approve(ctx context.Context, request *cmapi.CertificateRequest) error {
	request = request.DeepCopy()
	apiutil.SetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved, cmmeta.ConditionTrue, "bench", "floor")
	_, err := f.approver.CertmanagerV1().CertificateRequests(f.namespace).UpdateStatus(ctx, request, metav1.UpdateOptions{})
	return err
}

// prepare makes a request, with its key, that only has to be created.
func (f *floor) prepare() (*cmapi.CertificateRequest, error) {
	id, err := f.policy.SPIFFEID(f.account)
	if err != nil {
		return nil, err
	}
	key, err := f.policy.Key.Generate()
	if err != nil {
		return nil, err
	}
	csrPEM, err := csr.Build(id, key)
	if err != nil {
		return nil, err
	}
	return &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "floor-" + utilrand.String(10)},
		Spec:       f.policy.CertificateRequestSpec(id, csrPEM),
	}, nil
}

// issue creates a prepared request and returns when it is signed.
func (f *floor) issue(ctx context.Context, request *cmapi.CertificateRequest) error {
	signed := f.expect(request.Name)
	if _, err := f.requester.CertmanagerV1().CertificateRequests(f.namespace).Create(ctx, request, metav1.CreateOptions{}); err != nil {
		return err
	}
	select {
	case <-signed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("request %s of the floor was not signed: %w", request.Name, context.Cause(ctx))
	}
}

// expect has the floor approve a request that is about to be created. The
// channel is closed when it is signed.
func (f *floor) expect(name string) <-chan struct{} {
	signed := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signed[name] = signed
	return signed
}
