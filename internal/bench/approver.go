// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"
)

// backlog is how fast requests are decided that wait when the approver starts.
type backlog struct {
	count, workers int
	// product and floor are decisions per second.
	product, floor []float64
	// first is from the start of the process to the first decision.
	first []time.Duration
}

// measureBacklog takes the floor and the product in turns. Each has requests of
// its own, which are signed before the other begins.
func (b *bench) measureBacklog(ctx context.Context, count, rounds int) (backlog, error) {
	result := backlog{count: count, workers: b.config.Approver.Workers}
	for range rounds {
		rate, err := b.floorBacklog(ctx, count)
		if err != nil {
			return result, err
		}
		result.floor = append(result.floor, rate)
		if err := b.stopApprover(); err != nil {
			return result, err
		}
		rate, first, err := b.productBacklog(ctx, count)
		if err != nil {
			return result, err
		}
		result.product, result.first = append(result.product, rate), append(result.first, first)
	}
	return result, nil
}

// floorBacklog updates the status of as many requests as fast as the server
// takes it, with as many workers as the approver has, and looks at nothing.
func (b *bench) floorBacklog(ctx context.Context, count int) (float64, error) {
	progress("%d requests for the floor", count)
	waiting, err := b.createMany(ctx, b.floor.policy.IssuerRef.Name, count)
	if err != nil {
		return 0, err
	}
	seen, err := b.seeDecisions(ctx, b.floor.policy.IssuerRef.Name, waiting)
	if err != nil {
		return 0, err
	}
	defer seen.stop()
	var group errgroup.Group
	group.SetLimit(b.config.Approver.Workers)
	for _, request := range waiting {
		group.Go(func() error { return b.floor.approve(ctx, request) })
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return seen.rate(ctx)
}

// productBacklog starts the approver when the requests are there.
func (b *bench) productBacklog(ctx context.Context, count int) (rate float64, first time.Duration, err error) {
	progress("%d requests for the approver", count)
	waiting, err := b.createMany(ctx, b.config.IssuerRef.Name, count)
	if err != nil {
		return 0, 0, err
	}
	seen, err := b.seeDecisions(ctx, b.config.IssuerRef.Name, waiting)
	if err != nil {
		return 0, 0, err
	}
	defer seen.stop()
	began := time.Now()
	if err := b.startApprover(); err != nil {
		return 0, 0, err
	}
	rate, err = seen.rate(ctx)
	return rate, seen.first.Sub(began), err
}

// createMany creates requests that nobody decides yet, each with a key of its own.
func (b *bench) createMany(ctx context.Context, issuer string, count int) ([]*cmapi.CertificateRequest, error) {
	return b.create(ctx, issuer, count, b.floor.prepare)
}

func (b *bench) create(ctx context.Context, issuer string, count int, prepare func() (*cmapi.CertificateRequest, error)) ([]*cmapi.CertificateRequest, error) {
	created := make([]*cmapi.CertificateRequest, count)
	var group errgroup.Group
	group.SetLimit(16)
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

// decisions are seen on a watch, as anybody who waits for them would.
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
		return 0, fmt.Errorf("%d of %d requests were not decided, and %d not signed, within 5 minutes", len(d.undecided), d.count, len(d.unsigned))
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return float64(d.count-1) / d.last.Sub(d.first).Seconds(), nil
}

func (r backlog) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(table, "%d waiting requests, %d workers\tdecisions/s\tfloor\tratio\tfirst decision after start\t\n", r.count, r.workers)
	for i := range r.product {
		_, _ = fmt.Fprintf(table, "round %d\t%.0f\t%.0f\t%.2f\t%s\t\n", i+1, r.product[i], r.floor[i], r.product[i]/r.floor[i], r.first[i].Round(time.Millisecond))
	}
	_ = table.Flush()
}
