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
)

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
