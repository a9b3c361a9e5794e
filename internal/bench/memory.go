// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit"
)

// memory is how much of it the approver has, just started, in bytes.
type memory struct {
	foreign    int
	none, many testkit.Memory
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
func (b *bench) approverMemory(ctx context.Context) (testkit.Memory, error) {
	if err := errors.Join(b.stopApprover(), b.startApprover()); err != nil {
		return testkit.Memory{}, err
	}
	if _, err := b.measureDecisions(ctx, 50); err != nil {
		return testkit.Memory{}, err
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return testkit.Memory{}, context.Cause(ctx)
	}
	return b.approver.Memory()
}

// settle is for how long the approver is left alone before its memory is looked
// at: the runtime gives back what it does not need by and by.
const settle = 10 * time.Second

func (r memory) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	mib := func(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
	_, _ = fmt.Fprintf(table, "memory of the approver\tresident\tat most\t\n")
	_, _ = fmt.Fprintf(table, "no requests of others\t%.1f MiB\t%.1f MiB\t\n", mib(r.none.Resident), mib(r.none.Peak))
	_, _ = fmt.Fprintf(table, "%d requests of others\t%.1f MiB\t%.1f MiB\t\n", r.foreign, mib(r.many.Resident), mib(r.many.Peak))
	_, _ = fmt.Fprintf(table, "ratio\t%.2f\t%.2f\t\n",
		float64(r.many.Resident)/float64(r.none.Resident), float64(r.many.Peak)/float64(r.none.Peak))
	_ = table.Flush()
}
