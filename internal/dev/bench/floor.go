// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// floor does the least that any implementation can do for a certificate, once there is
// a pod: it signs a request with a key that was made before, creates it as the pod,
// with the owner, labels and stamp that a request must have, approves it as soon as the
// watch shows it, and notes when the watch shows the certificate. It judges nothing,
// checks nothing and writes nothing.
type floor struct {
	namespace string
	issuer    string
	// node is in the labels of its requests. The driver's is another.
	node      string
	account   spiffe.ServiceAccount
	requester cmclient.Interface
	// pod is that which requester has the access of.
	pod      *corev1.Pod
	approver cmclient.Interface
	// workers bounds how many it approves at a time, as the approver's workers do:
	// cert-manager's webhook asks the API server about rights 5 times a second at most,
	// and what it keeps waiting for too long it refuses.
	workers chan struct{}

	mu      sync.Mutex
	policy  policy.Policy
	tickets map[string]*ticket
}

// ticket is a request of the floor that is under way.
type ticket struct {
	// prepared is when it was ready to be created, created when the server had
	// answered, approved and signed when the watch showed it.
	prepared, created, approved, signed time.Time
	// done is closed when it is signed.
	done chan struct{}
}

func newFloor(ctx context.Context, b *bench) (*floor, error) {
	pod, err := b.cluster.CreatePod(ctx, b.workload, testkit.UniqueName("floor"), b.floorIssuer())
	if err != nil {
		return nil, err
	}
	access, err := b.cluster.PodConfig(ctx, pod)
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
		namespace: b.workload.Namespace, issuer: b.floorIssuer(), node: b.floorIssuer(), account: account,
		requester: requester, pod: pod, approver: approver, workers: make(chan struct{}, b.config.Approver.Workers), tickets: map[string]*ticket{},
	}
	f.follow(b.config.Policy())
	see := func(request *cmapi.CertificateRequest) { f.see(ctx, request) }
	return f, watchRequests(ctx, f.approver, f.namespace, "spec.issuerRef.name="+f.issuer, see)
}

// follow has requests be made under a policy from then on, but for the floor's own
// issuer.
func (f *floor) follow(p policy.Policy) {
	p.IssuerRef.Name = f.issuer
	f.mu.Lock()
	defer f.mu.Unlock()
	f.policy = p
}

// see reacts to a state of a request on the watch.
func (f *floor) see(ctx context.Context, request *cmapi.CertificateRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tickets[request.Name]
	if t == nil {
		return
	}
	if !apiutil.CertificateRequestIsApproved(request) {
		go f.approveInTheEnd(ctx, request)
		return
	}
	if t.approved.IsZero() {
		t.approved = time.Now()
	}
	if len(request.Status.Certificate) > 0 {
		t.signed = time.Now()
		close(t.done)
		delete(f.tickets, request.Name)
	}
}

// approveInTheEnd tries until it is done: cert-manager's webhook may be too slow.
func (f *floor) approveInTheEnd(ctx context.Context, request *cmapi.CertificateRequest) {
	f.workers <- struct{}{}
	defer func() { <-f.workers }()
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

// issue makes a request of a draft and returns when it is signed by the issuer.
func (f *floor) issue(ctx context.Context, d draft) (*ticket, error) {
	request, err := d.sign()
	if err != nil {
		return nil, err
	}
	t := f.expect(request.Name)
	t.prepared = time.Now()
	if _, err := d.requester.CertmanagerV1().CertificateRequests(f.namespace).Create(ctx, request, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	t.created = time.Now()
	select {
	case <-t.done:
		return t, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("request %s of the floor was not signed: %w", request.Name, context.Cause(ctx))
	}
}

// expect has the floor approve a request that is about to be created.
func (f *floor) expect(name string) *ticket {
	t := &ticket{done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tickets[name] = t
	return t
}
