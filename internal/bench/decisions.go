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
)

// measureDecisions takes one request after another from its creation to when a
// watch shows that it is decided: by the approver, and by a loop that watches
// and updates and looks at nothing.
func (b *bench) measureDecisions(ctx context.Context, count int) (row, error) {
	progress("%d decisions one after another, and as many of the floor", count)
	result := row{what: fmt.Sprintf("%d decisions, from creation", count)}
	waiters := &decisionWaiters{waiting: map[string]chan struct{}{}}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := watchRequests(ctx, b.cluster.CertManager, b.workload.Namespace, "", waiters.see); err != nil {
		return row{}, err
	}
	// The first of each opens connections, and is not counted.
	for i := range count + 1 {
		floor, err := b.decisionTime(ctx, waiters, b.floor.policy.IssuerRef.Name)
		if err != nil {
			return row{}, err
		}
		product, err := b.decisionTime(ctx, waiters, b.config.IssuerRef.Name)
		if err != nil {
			return row{}, err
		}
		if i > 0 {
			result.floor, result.product = append(result.floor, floor), append(result.product, product)
		}
	}
	return result, nil
}

func (b *bench) decisionTime(ctx context.Context, waiters *decisionWaiters, issuer string) (time.Duration, error) {
	request, err := b.floor.prepare()
	if err != nil {
		return 0, err
	}
	request.Spec.IssuerRef.Name = issuer
	if issuer == b.floor.policy.IssuerRef.Name {
		b.floor.expect(request.Name)
	}
	decided := waiters.expect(request.Name)
	began := time.Now()
	if _, err := b.floor.requester.CertmanagerV1().CertificateRequests(request.Namespace).Create(ctx, request, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	select {
	case <-decided:
		return time.Since(began), nil
	case <-time.After(time.Minute):
		return 0, fmt.Errorf("request %s was not decided within a minute", request.Name)
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
