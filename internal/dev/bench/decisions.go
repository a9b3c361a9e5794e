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

// decisionWaiters tells who waits for the decision of a request.
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
