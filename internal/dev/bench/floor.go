// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto"
	"fmt"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	cminformers "github.com/cert-manager/cert-manager/pkg/client/informers/externalversions"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
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

// draft is what can be ready before a pod needs a certificate.
type draft struct {
	meta   metav1.ObjectMeta
	id     spiffeid.ID
	key    crypto.Signer
	policy policy.Policy
	// requester creates the request.
	requester cmclient.Interface
}

// draft makes one for a pod, with access as the pod: the API server has to check
// each token that it has not seen.
func (f *floor) draft(pod *corev1.Pod, access *rest.Config) (draft, error) {
	d, err := f.bareDraft()
	if err != nil {
		return draft{}, err
	}
	d.meta.Labels = map[string]string{
		issuance.LabelNode:   f.node,
		issuance.LabelVolume: issuance.VolumeLabel(testkit.VolumeID(pod, testkit.VolumeName)),
	}
	f.own(&d, pod)
	d.requester, err = cmclient.NewForConfig(access)
	return d, err
}

// own puts around a draft what the approver demands of a pod's request.
func (f *floor) own(d *draft, pod *corev1.Pod) {
	around := testkit.RequestOf(pod, d.policy, cmapi.CertificateRequestSpec{})
	d.meta.Annotations, d.meta.OwnerReferences = around.Annotations, around.OwnerReferences
}

func (f *floor) bareDraft() (draft, error) {
	f.mu.Lock()
	d := draft{meta: metav1.ObjectMeta{Namespace: f.namespace, Name: "floor-" + utilrand.String(10)}, policy: f.policy}
	f.mu.Unlock()
	var err error
	if d.id, err = d.policy.SPIFFEID(f.account); err == nil {
		d.key, err = d.policy.Key.Generate()
	}
	return d, err
}

// sign makes the request, which only has to be created then.
func (d draft) sign() (*cmapi.CertificateRequest, error) {
	csrPEM, err := csr.Build(d.id, d.key)
	if err != nil {
		return nil, err
	}
	return &cmapi.CertificateRequest{ObjectMeta: d.meta, Spec: d.policy.CertificateRequestSpec(d.id, csrPEM)}, nil
}

// request makes one of the floor's own pod, for what is not about its creation.
func (f *floor) request() (*cmapi.CertificateRequest, error) {
	d, err := f.bareDraft()
	if err != nil {
		return nil, err
	}
	f.own(&d, f.pod)
	return d.sign()
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
