// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// measureIdle publishes so many volumes, and then watches the driver do nothing
// for a while.
func (b *bench) measureIdle(ctx context.Context, out io.Writer, volumes int, idle time.Duration) error {
	requests, err := b.requests(ctx, volumes)
	if err != nil {
		return err
	}
	if err := b.publishAll(ctx, requests); err != nil {
		return err
	}
	from, to, err := b.leaveAlone(ctx, idle)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "idle with %d volumes for %s: %.1f ms CPU, %d reads of any kind\n",
		b.pods, idle, milliseconds(to.cpu-from.cpu), to.reads-from.reads)
	fmt.Fprintf(out, "memory of the driver: %.1f MiB resident with %d volumes, %.1f MiB at its start; %.1f KiB a volume\n",
		mib(to.resident), b.pods, mib(b.atStart.resident), float64(to.resident-b.atStart.resident)/1024/float64(b.pods))
	return nil
}

// leaveAlone returns what the driver had used before and after a while in which
// nothing is asked of it.
func (b *bench) leaveAlone(ctx context.Context, while time.Duration) (from, to usage, err error) {
	// What has been begun ends, and memory that is not needed is given back.
	if err := sleep(ctx, settle); err != nil {
		return from, to, err
	}
	if from, err = readUsage(b.driver.PID()); err != nil {
		return from, to, err
	}
	if err := sleep(ctx, while); err != nil {
		return from, to, err
	}
	to, err = readUsage(b.driver.PID())
	return from, to, err
}

// settle is how long the driver is left alone before it is called idle.
const settle = 20 * time.Second

func sleep(ctx context.Context, duration time.Duration) error {
	select {
	case <-time.After(duration):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
