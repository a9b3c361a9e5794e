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
	cminformers "github.com/cert-manager/cert-manager/pkg/client/informers/externalversions"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// The kind of issuer that the simulation's signer is for.
const (
	slowGroup  = "scale.csi-driver-spiffe.example.org"
	slowKind   = "SlowIssuer"
	slowPlural = "slowissuers"
)

// signer is an external issuer whose speed can be set, which cert-manager's cannot.
// It signs approved requests in the order in which they were approved, with a CA of
// its own, by the code of cert-manager's CA issuer.
type signer struct {
	cluster *testkit.Cluster
	issuer  *corpus.Issuer
	limiter *rate.Limiter
	queue   workqueue.TypedInterface[string]
	store   cache.Store
	running sync.WaitGroup
}

// signerWorkers is how many signatures are written at the same time.
const signerWorkers = 16

// createSlowKind makes the kind known to the API server.
func createSlowKind(ctx context.Context, cluster *testkit.Cluster) error {
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": slowPlural + "." + slowGroup},
		"spec": map[string]any{
			"group": slowGroup, "scope": "Cluster",
			"names": map[string]any{"kind": slowKind, "plural": slowPlural},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}
	if err := cluster.Apply(ctx, "", testkit.Objects{definition}); err != nil {
		return err
	}
	for {
		_, err := cluster.Kubernetes.Discovery().ServerResourcesForGroupVersion(slowGroup + "/v1")
		if err == nil {
			return nil
		}
		if testkit.Sleep(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("the API server does not know %s: %w", slowKind, err)
		}
	}
}

// startSigner signs for the issuer of a name until ctx ends.
func startSigner(ctx context.Context, cluster *testkit.Cluster, name string) (*signer, error) {
	issuer, err := corpus.NewIssuer()
	if err != nil {
		return nil, err
	}
	s := &signer{
		cluster: cluster, issuer: issuer, limiter: rate.NewLimiter(rate.Inf, 1),
		queue: workqueue.NewTyped[string](),
	}
	factory := cminformers.NewSharedInformerFactoryWithOptions(cluster.CertManager, 0,
		cminformers.WithTweakListOptions(func(options *metav1.ListOptions) { options.FieldSelector = "spec.issuerRef.name=" + name }))
	informer := factory.Certmanager().V1().CertificateRequests().Informer()
	s.store = informer.GetStore()
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: s.see, UpdateFunc: func(_, obj any) { s.see(obj) },
	})
	if err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	context.AfterFunc(ctx, s.queue.ShutDown)
	for range signerWorkers {
		s.running.Go(func() {
			for s.signNext(ctx) {
			}
		})
	}
	return s, nil
}

func (s *signer) see(obj any) {
	if request := obj.(*cmapi.CertificateRequest); isWaiting(request) {
		s.queue.Add(request.Namespace + "/" + request.Name)
	}
}

// isWaiting reports whether a request is approved and not signed.
func isWaiting(request *cmapi.CertificateRequest) bool {
	return apiutil.CertificateRequestIsApproved(request) && len(request.Status.Certificate) == 0
}

func (s *signer) signNext(ctx context.Context) (more bool) {
	key, ended := s.queue.Get()
	if ended {
		return false
	}
	defer s.queue.Done(key)
	obj, there, err := s.store.GetByKey(key)
	if err != nil || !there || !isWaiting(obj.(*cmapi.CertificateRequest)) || s.limiter.Wait(ctx) != nil {
		return true
	}
	if err := s.sign(ctx, obj.(*cmapi.CertificateRequest).DeepCopy()); err != nil && ctx.Err() == nil && !errors.IsNotFound(err) {
		progress("the slow issuer could not sign %s: %v", key, err)
		s.queue.Add(key)
	}
	return true
}

func (s *signer) sign(ctx context.Context, request *cmapi.CertificateRequest) (err error) {
	if request.Status.Certificate, err = s.issuer.Issue(request.Spec); err != nil {
		return err
	}
	apiutil.SetCertificateRequestCondition(request, cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, "signed")
	_, err = s.cluster.CertManager.CertmanagerV1().CertificateRequests(request.Namespace).UpdateStatus(ctx, request, metav1.UpdateOptions{})
	return err
}

// open returns how many requests are not signed, and the most of them that one
// volume has.
func (s *signer) open() (open, mostOfOne int) {
	byVolume := map[string]int{}
	for _, obj := range s.store.List() {
		request := obj.(*cmapi.CertificateRequest)
		if len(request.Status.Certificate) > 0 {
			continue
		}
		open++
		volume := request.Labels[issuance.LabelVolume]
		byVolume[volume]++
		mostOfOne = max(mostOfOne, byVolume[volume])
	}
	return open, mostOfOne
}
