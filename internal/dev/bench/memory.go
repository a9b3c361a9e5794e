// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// fewDecisions are made by an approver before its memory is looked at.
const fewDecisions = 50

// measureMemory starts the approver on a cluster without requests for other
// issuers, and again when there are many; and both daemons with large requests.
func measureMemory(ctx context.Context, b *bench, into *result.Scenario) error {
	for _, foreign := range []int{0, b.sizes.foreign} {
		if err := b.createForeign(ctx, foreign); err != nil {
			return err
		}
		name := fmt.Sprintf("%d requests of others", foreign)
		resident := result.Measurement{Group: "resident memory", Name: name, Unit: result.Byte, Shape: result.Bar}
		peak := result.Measurement{Group: "most resident memory", Name: name, Unit: result.Byte, Shape: result.Bar}
		for round := range b.sizes.rounds {
			progress("memory with %s, round %d of %d", name, round+1, b.sizes.rounds)
			if err := b.approverMemory(ctx, &resident, &peak); err != nil {
				return err
			}
		}
		into.Measurements = append(into.Measurements, resident, peak)
	}
	return b.measureLarge(ctx, into)
}

// createForeign makes requests that the approver has nothing to do with.
func (b *bench) createForeign(ctx context.Context, foreign int) error {
	example, err := b.floor.request()
	if err != nil {
		return err
	}
	alike := func() (*cmapi.CertificateRequest, error) {
		request := example.DeepCopy()
		request.Name = testkit.UniqueName("foreign")
		return request, nil
	}
	for made := 0; made < foreign; {
		step := min(2000, foreign-made)
		if _, err := b.create(ctx, "nobody", step, alike); err != nil {
			return err
		}
		made += step
		progress("%d of %d requests for another issuer", made, foreign)
	}
	return nil
}

// approverMemory starts approver and floor anew, has the approver decide a few
// requests, and looks at both when there is nothing to do any more.
func (b *bench) approverMemory(ctx context.Context, resident, peak *result.Measurement) (err error) {
	if err := errors.Join(b.stopApprover(), b.startApprover()); err != nil {
		return err
	}
	bare, err := b.startBare(b.access.Approver, "-fields", "spec.issuerRef.name="+b.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.Stop()) }()
	requests, err := b.create(ctx, b.name, fewDecisions, b.floor.request)
	if err != nil {
		return err
	}
	seen, err := b.seeDecisions(ctx, b.name, requests)
	if err != nil {
		return err
	}
	defer seen.stop()
	if _, err := seen.rate(ctx); err != nil {
		return err
	}
	if err := testkit.Sleep(ctx, b.sizes.settle); err != nil {
		return err
	}
	used, err := readUsages(b.approver.PID(), bare.PID())
	if err != nil {
		return err
	}
	resident.Product, resident.Floor = append(resident.Product, float64(used[0].Resident)), append(resident.Floor, float64(used[1].Resident))
	peak.Product, peak.Floor = append(peak.Product, float64(used[0].Peak)), append(peak.Floor, float64(used[1].Peak))
	return nil
}

// usagesOfLarge makes a CertificateRequest of 1.3 MiB, close to the 1.5 MiB that
// the API server takes.
const usagesOfLarge = 225_000

// measureLarge looks at the most memory that both daemons ever have while large
// requests are in the cluster: while they arrive, and at a start with open and
// denied ones. The floor is the same daemon without them.
func (b *bench) measureLarge(ctx context.Context, into *result.Scenario) (err error) {
	large := &largeRequests{bench: b, namespace: b.name + "-large"}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: large.namespace}}
	if _, err := b.cluster.Kubernetes.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, large.remove()) }()
	if err := errors.Join(b.stopApprover(), b.stopDriver(), b.startApprover(), b.startDriver()); err != nil {
		return err
	}
	if err := errors.Join(b.waitForDriver(ctx), testkit.Sleep(ctx, b.sizes.settle)); err != nil {
		return err
	}
	approver, driver, err := b.peaks()
	if err != nil {
		return err
	}
	add := func(daemon, when string, floor, product float64) {
		into.Measurements = append(into.Measurements, result.Measurement{
			Group: fmt.Sprintf("most resident memory with %d requests of 1.3 MiB", b.sizes.large), Name: daemon + ", " + when, Unit: result.Byte, Shape: result.Bar,
			Product: []float64{product}, Floor: []float64{floor},
		})
	}
	if err := errors.Join(large.create(ctx, b.sizes.large/2), large.denied(ctx)); err != nil {
		return err
	}
	whileWatching, driverWatching, err := b.peaks()
	if err != nil {
		return err
	}
	add("approver", "while they arrive", approver, whileWatching)
	add("driver", "while they arrive", driver, driverWatching)

	if err := errors.Join(b.stopApprover(), b.stopDriver()); err != nil {
		return err
	}
	if err := errors.Join(large.create(ctx, b.sizes.large-b.sizes.large/2), b.startDriver(), b.startApprover()); err != nil {
		return err
	}
	if err := errors.Join(b.waitForDriver(ctx), large.denied(ctx)); err != nil {
		return err
	}
	atStart, driverAtStart, err := b.peaks()
	if err != nil {
		return err
	}
	add("approver", "at a start with open and denied ones", approver, atStart)
	add("driver", "at a start with open and denied ones", driver, driverAtStart)
	return nil
}

// peaks is the most memory that each daemon has had.
func (b *bench) peaks() (approver, driver float64, err error) {
	used, err := readUsages(b.approver.PID(), b.driver.PID())
	if err != nil {
		return 0, 0, err
	}
	return float64(used[0].Peak), float64(used[1].Peak), nil
}

// largeRequests are those of somebody who would have the daemons run out of memory.
type largeRequests struct {
	bench     *bench
	namespace string
}

// create makes requests, every other one with the labels of the driver's node.
func (l *largeRequests) create(ctx context.Context, count int) error {
	example, err := l.bench.floor.request()
	if err != nil {
		return err
	}
	l.bench.forProduct(example)
	example.Namespace, example.OwnerReferences = l.namespace, nil
	for range usagesOfLarge {
		example.Spec.Usages = append(example.Spec.Usages, cmapi.UsageAny)
	}
	requests := l.bench.cluster.CertManager.CertmanagerV1().CertificateRequests(l.namespace)
	var made atomic.Int64
	group, creating := errgroup.WithContext(ctx)
	group.SetLimit(2) // The API server takes about a second of CPU time for each.
	for i := range count {
		group.Go(func() error {
			request := *example
			request.Name, request.Labels = testkit.UniqueName("large"), nil
			if i%2 == 0 {
				request.Labels = map[string]string{issuance.LabelNode: l.bench.name, issuance.LabelVolume: "csi-none"}
			}
			_, err := requests.Create(creating, &request, metav1.CreateOptions{})
			if n := made.Add(1); n%50 == 0 {
				progress("%d of %d large requests", n, count)
			}
			return err
		})
	}
	return group.Wait()
}

// denied returns when all of them are, and the daemons have seen it.
func (l *largeRequests) denied(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	for {
		open, next := 0, ""
		for {
			page, err := l.bench.cluster.CertManager.CertmanagerV1().CertificateRequests(l.namespace).List(ctx, metav1.ListOptions{Limit: 20, Continue: next})
			if err != nil {
				return err
			}
			for i := range page.Items {
				if !apiutil.CertificateRequestIsDenied(&page.Items[i]) {
					open++
				}
			}
			if next = page.Continue; next == "" {
				break
			}
		}
		if open == 0 {
			return testkit.Sleep(ctx, l.bench.sizes.settle)
		}
		progress("%d large requests are not decided yet", open)
		if err := testkit.Sleep(ctx, 5*time.Second); err != nil {
			return fmt.Errorf("%d large requests are not decided: %w", open, context.Cause(ctx))
		}
	}
}

// remove deletes them, also after a Ctrl-C.
func (l *largeRequests) remove() error { return l.bench.removeAll(l.namespace) }
