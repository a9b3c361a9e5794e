// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit"
)

// memory is how much of it the approver has, just started, in bytes.
type memory struct {
	foreign    int
	none, many usage
}

// measureMemory starts the approver on a cluster without requests for other
// issuers, and again when there are many.
func (b *bench) measureMemory(ctx context.Context, foreign int) (memory, error) {
	result := memory{foreign: foreign}
	var err error
	if result.none, err = b.approverMemory(ctx); err != nil {
		return result, err
	}
	progress("%d requests for another issuer", foreign)
	example, err := b.floor.prepare()
	if err != nil {
		return result, err
	}
	alike := func() (*cmapi.CertificateRequest, error) {
		request := example.DeepCopy()
		request.Name = testkit.UniqueName("foreign")
		return request, nil
	}
	for made := 0; made < foreign; {
		step := min(2000, foreign-made)
		if _, err := b.create(ctx, "nobody", step, alike); err != nil {
			return result, err
		}
		made += step
		progress("%d requests for another issuer: %d are made", foreign, made)
	}
	result.many, err = b.approverMemory(ctx)
	return result, err
}

// approverMemory starts the approver anew, has it decide a few requests, and
// looks when it has nothing to do any more.
func (b *bench) approverMemory(ctx context.Context) (usage, error) {
	if err := errors.Join(b.stopApprover(), b.startApprover()); err != nil {
		return usage{}, err
	}
	if _, err := b.measureDecisions(ctx, 50); err != nil {
		return usage{}, err
	}
	// The runtime gives back what it does not need by and by.
	if err := sleep(ctx, settle); err != nil {
		return usage{}, err
	}
	return readUsage(b.approver.PID())
}

func (r memory) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(table, "memory of the approver\tresident\tat most\t\n")
	_, _ = fmt.Fprintf(table, "no requests of others\t%.1f MiB\t%.1f MiB\t\n", mib(r.none.resident), mib(r.none.peak))
	_, _ = fmt.Fprintf(table, "%d requests of others\t%.1f MiB\t%.1f MiB\t\n", r.foreign, mib(r.many.resident), mib(r.many.peak))
	_, _ = fmt.Fprintf(table, "ratio\t%.2f\t%.2f\t\n",
		float64(r.many.resident)/float64(r.none.resident), float64(r.many.peak)/float64(r.none.peak))
	_ = table.Flush()
}
