// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
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
