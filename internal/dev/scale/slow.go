// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cminformers "github.com/cert-manager/cert-manager/pkg/client/informers/externalversions"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

const (
	// slowRate is how many requests the issuer signs in a second while it is slow.
	slowRate = 5
	// newPodEvery is how often a pod starts meanwhile.
	newPodEvery = 2 * time.Second
)

// simulateSlow has an issuer that becomes slow while volumes are due for renewal
// and pods start, and then recovers.
func simulateSlow(ctx context.Context, cluster *testkit.Cluster, s sizes, r *report) (err error) {
	if err := createSlowKind(ctx, cluster); err != nil {
		return err
	}
	m, err := newSimulation(ctx, cluster, s, settings{
		duration: s.slowDuration, historyLimit: 1, watchScope: s.watch,
		issuerKind: slowKind, issuerGroup: slowGroup, signer: slowPlural + "." + slowGroup + "/",
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	signing, stop := context.WithCancel(ctx)
	signer, err := startSigner(signing, cluster, m.name)
	if err != nil {
		stop()
		return err
	}
	defer func() { stop(); signer.running.Wait() }()
	nodes := min(20, s.slowVolumes)
	progress("slow: %d volumes on %d nodes", s.slowVolumes, nodes)
	if err := m.publish(ctx, nodes, s.slowVolumes/nodes, 0); err != nil {
		return err
	}
	r.add("volumes", float64(m.volumes()), "")
	r.add("signatures needed in the long run", float64(m.volumes())/m.cycle().Seconds(), "1/s")
	// So that renewals have begun.
	if err := m.watch(ctx, m.cycle()/2); err != nil {
		return err
	}
	if err := m.beSlow(ctx, s, signer, r); err != nil {
		return err
	}
	return m.recover(ctx, signer, r)
}

// sample is what is seen of a signer's queue.
type sample struct{ open, mostOfOne, expired int }

func (m *simulation) sample(signer *signer) sample {
	open, mostOfOne := signer.open()
	return sample{open, mostOfOne, m.expired()}
}

func (m *simulation) beSlow(ctx context.Context, s sizes, signer *signer, r *report) error {
	progress("slow: the issuer signs %d a second, for %s", slowRate, s.slowFor)
	signer.limiter.SetLimit(slowRate)
	renewals, failures := m.events.count(renewed), m.events.count(failed)
	pods := m.startPods(ctx, s.slowFor)
	worst, opens := sample{}, []int{}
	for end := time.Now().Add(s.slowFor); time.Now().Before(end); {
		if err := testkit.Sleep(ctx, time.Second); err != nil {
			return err
		}
		now := m.sample(signer)
		worst = sample{max(worst.open, now.open), max(worst.mostOfOne, now.mostOfOne), max(worst.expired, now.expired)}
		if len(opens)*5 < int(s.slowFor.Seconds()-time.Until(end).Seconds()) {
			opens = append(opens, now.open)
			progress("%d requests open, at most %d of a volume, %d SVIDs expired", now.open, now.mostOfOne, now.expired)
		}
	}
	r.add("slow for", s.slowFor.Seconds(), "s")
	r.add("slow: renewals", float64(m.events.count(renewed)-renewals), "")
	r.add("slow: renewals that gave up waiting, and were tried again", float64(m.events.count(failed)-failures), "")
	r.add("slow: most open requests", float64(worst.open), "")
	r.add("slow: most open requests of a volume", float64(worst.mostOfOne), "")
	r.add("slow: most SVIDs expired", float64(worst.expired), "")
	r.addSeries("slow: open requests", 5*time.Second, opens)
	progress("slow: the issuer is as fast as it can be again")
	signer.limiter.SetLimit(rate.Inf)
	times := pods()
	r.add("slow: pods started", float64(len(times)), "")
	r.add("slow: first SVID of a pod p50", quantile(times, 50), "ms")
	r.add("slow: first SVID of a pod, slowest", quantile(times, 100), "ms")
	return nil
}

// startPods has a pod start every now and then for a period, on one node after the
// other, and returns what waits for their volumes and tells how long they took.
func (m *simulation) startPods(ctx context.Context, period time.Duration) (wait func() []time.Duration) {
	var mu sync.Mutex
	var times []time.Duration
	var pods sync.WaitGroup
	pods.Go(func() {
		for i := range int(period / newPodEvery) {
			if testkit.Sleep(ctx, newPodEvery) != nil {
				return
			}
			pods.Go(func() {
				took, err := m.nodes[i%len(m.nodes)].publish(ctx)
				if err != nil {
					progress("slow: a pod did not start: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				times = append(times, took)
			})
		}
	})
	return func() []time.Duration { pods.Wait(); slices.Sort(times); return times }
}

// recover measures how long it takes until all is as before, and watches two cycles.
func (m *simulation) recover(ctx context.Context, signer *signer, r *report) error {
	began, requests := time.Now(), 0
	for {
		now := m.sample(signer)
		requests = max(requests, now.mostOfOne)
		if now.expired == 0 && now.open <= len(m.nodes) {
			break
		}
		if err := testkit.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	r.add("recovered: nothing waits and no SVID has expired, after", time.Since(began).Seconds(), "s")
	r.add("recovered: most open requests of a volume", float64(requests), "")
	failures := m.events.count(failed)
	if err := m.watch(ctx, 2*m.cycle()); err != nil {
		return err
	}
	r.add("recovered: renewals that failed afterwards", float64(m.events.count(failed)-failures), "")
	r.addSeries("renewals since the start", 10*time.Second, m.events.slices(renewed, m.began, 10*time.Second))
	m.reportCycles(r, began)
	return nil
}

// countItems is how many a list in JSON has.
func countItems(list []byte) (int, error) {
	var content struct {
		Items []json.RawMessage `json:"items"`
	}
	err := json.Unmarshal(list, &content)
	return len(content.Items), err
}

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
	if err := s.sign(ctx, obj.(*cmapi.CertificateRequest).DeepCopy()); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
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
