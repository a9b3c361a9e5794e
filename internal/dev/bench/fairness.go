// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// betweenHonest is how often an honest request is created in the fairness
// scenario, whether or not the one before has been decided: seldom enough that
// honest requests do not wait for each other.
const betweenHonest = 250 * time.Millisecond

// measureFairness takes honest requests of one namespace from their creation to
// their approval: first by an approver that has nothing else to do, which is the
// floor, and then while very many bad requests of another namespace wait. The
// approver starts when those are there. Samples are taken for as long as bad
// requests wait.
func measureFairness(ctx context.Context, b *bench, into *result.Scenario) (err error) {
	waiters := &decisionWaiters{waiting: map[string]chan struct{}{}}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	if err := watchRequests(watching, b.cluster.CertManager, b.workload.Namespace, "", waiters.see); err != nil {
		return err
	}
	before := b.settings
	unelected := before
	unelected.unelected = true
	if err := errors.Join(b.configure(unelected), b.stopApprover(), b.startApprover()); err != nil {
		return err
	}
	// Later scenarios need it as it was, whatever becomes of this one.
	defer func() { err = errors.Join(err, b.configure(before), b.stopApprover(), b.startApprover()) }()
	idle, err := b.honestDelays(ctx, waiters, func() bool { return true })
	if err != nil {
		return fmt.Errorf("the idle approver: %w", err)
	}
	if err := b.stopApprover(); err != nil {
		return err
	}
	bad, err := b.createBad(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bad.remove()) }()
	if err := bad.follow(watching); err != nil {
		return err
	}
	if err := b.startApprover(); err != nil {
		return err
	}
	if err := bad.begun(ctx); err != nil {
		return err
	}
	busy, err := b.honestDelays(ctx, waiters, func() bool { return bad.left() > 0 })
	if err != nil {
		return fmt.Errorf("the approver with %d bad requests: %w", b.sizes.bad, err)
	}
	progress("%d honest requests were created while bad ones waited; %d of %d bad ones are left", len(busy), bad.left(), b.sizes.bad)
	into.Measurements = fairnessResult(b.sizes.bad, idle, busy)
	return nil
}

// fairnessResult has the distribution, and of each side the worst sample.
func fairnessResult(bad int, idle, busy []float64) []result.Measurement {
	name := fmt.Sprintf("%d bad requests of another namespace wait", bad)
	measurements := []result.Measurement{{Group: "honest request", Name: name, Unit: result.Second, Shape: result.Distribution, Product: busy, Floor: idle}}
	if len(busy) > 0 && len(idle) > 0 {
		measurements = append(measurements, result.Measurement{
			Group: "slowest honest request", Name: name, Unit: result.Second, Shape: result.Bar,
			Product: []float64{slices.Max(busy)}, Floor: []float64{slices.Max(idle)},
		})
	}
	return measurements
}

// honestDelays creates honest requests, one after the other at an even pace,
// while there is reason to, and returns how many seconds the decision of each
// took.
func (b *bench) honestDelays(ctx context.Context, waiters *decisionWaiters, more func() bool) ([]float64, error) {
	var mu sync.Mutex
	var delays []float64
	group, deciding := errgroup.WithContext(ctx)
	// The first opens connections, and is not counted.
	for i := 0; i <= b.sizes.decisions && more(); i++ {
		group.Go(func() error {
			delay, err := b.decisionTime(deciding, waiters, b.name)
			if err == nil && i > 0 {
				mu.Lock()
				defer mu.Unlock()
				delays = append(delays, delay)
			}
			return err
		})
		if err := testkit.Sleep(deciding, betweenHonest); err != nil {
			break
		}
	}
	return delays, group.Wait()
}

// forProduct has a request of the floor be for the issuer of the product, and made
// under its policy: with another stamp, a denial would be put off.
func (b *bench) forProduct(request *cmapi.CertificateRequest) {
	request.Spec.IssuerRef.Name = b.name
	request.Annotations[policy.AnnotationHash] = b.config.Policy().Hash()
}

// badRequests are those of a namespace that floods the approver.
type badRequests struct {
	bench     *bench
	namespace string

	mu      sync.Mutex
	waiting map[string]bool
	first   chan struct{} // closed when one has been decided
	decided int
}

// createBad creates requests that have to be denied, in a namespace of their own.
// They are bad because an administrator has created them, and not a pod.
func (b *bench) createBad(ctx context.Context) (*badRequests, error) {
	bad := &badRequests{bench: b, namespace: b.name + "-bad", waiting: map[string]bool{}, first: make(chan struct{})}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: bad.namespace}}
	if _, err := b.cluster.Kubernetes.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	example, err := b.floor.request()
	if err != nil {
		return nil, err
	}
	b.forProduct(example)
	example.Namespace = bad.namespace
	for made := 0; made < b.sizes.bad; {
		step := min(500, b.sizes.bad-made)
		group, creating := errgroup.WithContext(ctx)
		group.SetLimit(hands)
		for range step {
			group.Go(func() error { return bad.create(creating, example) })
		}
		if err := group.Wait(); err != nil {
			return nil, errors.Join(err, bad.remove())
		}
		made += step
		progress("%d of %d bad requests", made, b.sizes.bad)
	}
	return bad, nil
}

func (r *badRequests) create(ctx context.Context, example *cmapi.CertificateRequest) error {
	request := example.DeepCopy()
	request.Name = testkit.UniqueName("bad")
	_, err := r.bench.cluster.CertManager.CertmanagerV1().CertificateRequests(r.namespace).Create(ctx, request, metav1.CreateOptions{})
	return err
}

// follow notes which of them wait, until ctx ends.
func (r *badRequests) follow(ctx context.Context) error {
	return watchRequests(ctx, r.bench.cluster.CertManager, r.namespace, "", func(request *cmapi.CertificateRequest) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case !apiutil.CertificateRequestIsDenied(request):
			r.waiting[request.Name] = true
		case r.waiting[request.Name]:
			delete(r.waiting, request.Name)
			r.decided++
			if r.decided == 1 {
				close(r.first)
			}
		}
	})
}

// begun returns when the approver has decided one of them.
func (r *badRequests) begun(ctx context.Context) error {
	select {
	case <-r.first:
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("none of %d bad requests was decided within a minute", r.bench.sizes.bad)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *badRequests) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

// remove deletes them, so that later scenarios do not have to share the approver
// with them.
func (r *badRequests) remove() error { return r.bench.removeAll(r.namespace) }

// removeAll deletes the requests of a namespace, and the namespace, also after a
// Ctrl-C. Deleting very many takes longer than the API server lets one call take, so
// it is tried again.
func (b *bench) removeAll(namespace string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for {
		err := b.cluster.CertManager.CertmanagerV1().CertificateRequests(namespace).
			DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		if err == nil || testkit.Sleep(ctx, time.Second) != nil {
			return errors.Join(err, b.cluster.Kubernetes.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}))
		}
	}
}
