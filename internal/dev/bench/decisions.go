// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// measureDecisions takes one request after another from its creation to when a
// watch shows that it is decided: by the approver, and by a loop that watches
// and updates and looks at nothing.
func measureDecisions(ctx context.Context, b *bench, into *result.Scenario) error {
	m := result.Measurement{Name: "one by one", Unit: result.Second, Shape: result.Distribution}
	waiters := &decisionWaiters{waiting: map[string]chan struct{}{}}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	if err := watchRequests(watching, b.cluster.CertManager, b.workload.Namespace, "", waiters.see); err != nil {
		return err
	}
	// The first of each opens connections, and is not counted.
	for i := range b.sizes.decisions + 1 {
		floor, err := b.decisionTime(ctx, waiters, b.floorIssuer())
		if err != nil {
			return err
		}
		product, err := b.decisionTime(ctx, waiters, b.name)
		if err != nil {
			return err
		}
		if i > 0 {
			m.Floor, m.Product = append(m.Floor, floor), append(m.Product, product)
		}
	}
	into.Measurements = []result.Measurement{m}
	return nil
}

// longestDecision is how long a decision is waited for: an unfair approver
// decides everything else first.
const longestDecision = 10 * time.Minute

// decisionTime is how long one takes, in seconds.
func (b *bench) decisionTime(ctx context.Context, waiters *decisionWaiters, issuer string) (float64, error) {
	request, err := b.floor.request()
	if err != nil {
		return 0, err
	}
	request.Spec.IssuerRef.Name = issuer
	if issuer == b.floorIssuer() {
		b.floor.expect(request.Name)
	}
	decided := waiters.expect(request.Name)
	began := time.Now()
	if _, err := b.floor.requester.CertmanagerV1().CertificateRequests(request.Namespace).Create(ctx, request, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	select {
	case <-decided:
		return time.Since(began).Seconds(), nil
	case <-time.After(longestDecision):
		return 0, fmt.Errorf("request %s was not decided within %s", request.Name, longestDecision)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// decisionWaiters notifies the goroutine that waits for a request to be decided.
type decisionWaiters struct {
	mu      sync.Mutex
	waiting map[string]chan struct{}
}

func (w *decisionWaiters) expect(name string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting[name] = make(chan struct{})
	return w.waiting[name]
}

func (w *decisionWaiters) see(request *cmapi.CertificateRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if decided, ok := w.waiting[request.Name]; ok && apiutil.CertificateRequestIsApproved(request) {
		close(decided)
		delete(w.waiting, request.Name)
	}
}

// measureBacklog takes the floor and the product in turns. Each has requests of
// its own, which are signed before the other begins.
func measureBacklog(ctx context.Context, b *bench, into *result.Scenario) (err error) {
	count, workers := b.sizes.backlog, b.config.Approver.Workers
	rates := result.Measurement{Name: fmt.Sprintf("%d waiting, %d workers", count, workers), Unit: result.PerSecond, Shape: result.Bar}
	firsts := result.Measurement{
		Name: "first decision after the start", Unit: result.Second, Shape: result.Bar, FloorIs: "none, for another process would have to be elected, too",
	}
	for round := range b.sizes.rounds {
		progress("%d requests for the floor and %d for the approver, round %d of %d", count, count, round+1, b.sizes.rounds)
		rate, err := b.floorBacklog(ctx, count)
		if err != nil {
			return err
		}
		rates.Floor = append(rates.Floor, rate)
		rate, first, err := b.productBacklog(ctx, count)
		if err != nil {
			return err
		}
		rates.Product, firsts.Product = append(rates.Product, rate), append(firsts.Product, first)
	}
	into.Measurements = []result.Measurement{rates, firsts}
	return nil
}

// floorBacklog updates the status of as many requests as fast as the server
// takes it, with as many workers as the approver has, and looks at nothing.
func (b *bench) floorBacklog(ctx context.Context, count int) (float64, error) {
	waiting, err := b.create(ctx, b.floorIssuer(), count, b.floor.request)
	if err != nil {
		return 0, err
	}
	seen, err := b.seeDecisions(ctx, b.floorIssuer(), waiting)
	if err != nil {
		return 0, err
	}
	defer seen.stop()
	group, approving := errgroup.WithContext(ctx)
	group.SetLimit(b.config.Approver.Workers)
	for _, request := range waiting {
		group.Go(func() error { return b.floor.approve(approving, request) })
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return seen.rate(ctx)
}

// productBacklog starts the approver when the requests are there. The first
// decision is in seconds from the start of the process.
func (b *bench) productBacklog(ctx context.Context, count int) (rate, first float64, err error) {
	if err := b.stopApprover(); err != nil {
		return 0, 0, err
	}
	// Later scenarios need it, whatever becomes of this one.
	defer func() {
		if b.approver == nil {
			err = errors.Join(err, b.startApprover())
		}
	}()
	waiting, err := b.create(ctx, b.name, count, b.floor.request)
	if err != nil {
		return 0, 0, err
	}
	seen, err := b.seeDecisions(ctx, b.name, waiting)
	if err != nil {
		return 0, 0, err
	}
	defer seen.stop()
	began := time.Now()
	if err := b.startApprover(); err != nil {
		return 0, 0, err
	}
	rate, err = seen.rate(ctx)
	return rate, seen.firstAt().Sub(began).Seconds(), err
}

// create creates requests for an issuer.
func (b *bench) create(ctx context.Context, issuer string, count int, prepare func() (*cmapi.CertificateRequest, error)) ([]*cmapi.CertificateRequest, error) {
	created := make([]*cmapi.CertificateRequest, count)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(hands)
	for i := range created {
		group.Go(func() error {
			request, err := prepare()
			if err != nil {
				return err
			}
			request.Spec.IssuerRef.Name = issuer
			created[i], err = b.floor.requester.CertmanagerV1().CertificateRequests(request.Namespace).Create(ctx, request, metav1.CreateOptions{})
			return err
		})
	}
	return created, group.Wait()
}

// decisions are observed on a watch, as by any client that waits for them.
type decisions struct {
	stop func()
	// all is closed when each request is signed.
	all chan struct{}

	mu          sync.Mutex
	undecided   map[string]bool
	unsigned    map[string]bool
	count       int
	first, last time.Time
}

func (b *bench) seeDecisions(ctx context.Context, issuer string, waiting []*cmapi.CertificateRequest) (*decisions, error) {
	ctx, stop := context.WithCancel(ctx)
	d := &decisions{stop: stop, all: make(chan struct{}), undecided: map[string]bool{}, unsigned: map[string]bool{}, count: len(waiting)}
	for _, request := range waiting {
		d.undecided[request.Name], d.unsigned[request.Name] = true, true
	}
	if err := watchRequests(ctx, b.cluster.CertManager, b.workload.Namespace, "spec.issuerRef.name="+issuer, d.see); err != nil {
		stop()
		return nil, err
	}
	return d, nil
}

func (d *decisions) see(request *cmapi.CertificateRequest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.undecided[request.Name] && apiutil.CertificateRequestIsApproved(request) {
		delete(d.undecided, request.Name)
		d.last = time.Now()
		if d.first.IsZero() {
			d.first = d.last
		}
	}
	if d.unsigned[request.Name] && len(request.Status.Certificate) > 0 {
		delete(d.unsigned, request.Name)
		if len(d.unsigned) == 0 {
			close(d.all)
		}
	}
}

// rate waits until all requests are signed, and returns how many were decided
// in a second.
func (d *decisions) rate(ctx context.Context) (float64, error) {
	select {
	case <-d.all:
	case <-time.After(5 * time.Minute):
		undecided, unsigned := d.left()
		return 0, fmt.Errorf("%d of %d requests were not decided, and %d not signed, within 5 minutes", undecided, d.count, unsigned)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.last.After(d.first) {
		return 0, errTooFew
	}
	return float64(d.count-1) / d.last.Sub(d.first).Seconds(), nil
}

func (d *decisions) left() (undecided, unsigned int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.undecided), len(d.unsigned)
}

func (d *decisions) firstAt() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first
}
