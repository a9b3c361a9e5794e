// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

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
