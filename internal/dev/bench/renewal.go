// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// measureRenewal changes the trust domain, so that all volumes are due at once,
// and sees how many are renewed in a second.
func measureRenewal(ctx context.Context, b *bench, into *result.Scenario) error {
	volumes := b.sizes.live
	if err := b.have(ctx, volumes); err != nil {
		return err
	}
	swaps, err := b.watchSwaps(b.live)
	if err != nil {
		return err
	}
	defer swaps.close()
	concurrency := b.config.Driver.MaxConcurrentRenewals
	m := result.Measurement{Name: fmt.Sprintf("%d volumes due, %d at a time", volumes, concurrency), Unit: result.PerSecond, Shape: result.Bar}
	for round := range b.sizes.rounds {
		progress("%d renewals, round %d of %d", volumes, round+1, b.sizes.rounds)
		rate, err := b.floorRate(ctx, volumes, concurrency)
		if err != nil {
			return err
		}
		m.Floor = append(m.Floor, rate)
		swaps.begin()
		changed := b.settings
		changed.trustDomain, changed.reissueWindow = fmt.Sprintf("renewal-%d.bench.example.org", round), 0
		if err := b.configure(changed); err != nil {
			return err
		}
		if _, err := swaps.wait(ctx, volumes); err != nil {
			return err
		}
		if rate, err = ratePerSecond(swaps.times()); err != nil {
			return err
		}
		m.Product = append(m.Product, rate)
		// The requests that were replaced are deleted.
		if err := testkit.Sleep(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	into.Measurements = []result.Measurement{m}
	ordinary := b.settings
	ordinary.reissueWindow = time.Minute
	return b.configure(ordinary)
}

// floorRate is how many SVIDs the bare client gets in a second.
func (b *bench) floorRate(ctx context.Context, count, concurrency int) (float64, error) {
	drafts, err := b.drafts(ctx, count)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var ends []time.Time
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for _, draft := range drafts {
		group.Go(func() error {
			t, err := b.floor.issue(ctx, draft)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			ends = append(ends, t.signed)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return ratePerSecond(ends)
}

var errTooFew = errors.New("a rate takes two different moments")

// ratePerSecond is how many things came in a second, from the first to the last.
func ratePerSecond(at []time.Time) (float64, error) {
	if len(at) < 2 {
		return 0, errTooFew
	}
	first, last := at[0], at[0]
	for _, t := range at {
		if t.Before(first) {
			first = t
		}
		if t.After(last) {
			last = t
		}
	}
	if !last.After(first) {
		return 0, errTooFew
	}
	return float64(len(at)-1) / last.Sub(first).Seconds(), nil
}

const (
	// mountPause is between two first mounts, on a node on which now and then a
	// pod starts.
	mountPause = 500 * time.Millisecond
	// spreadParts is in how many parts of the window renewals are counted.
	spreadParts = 12
)

// measureSpread changes the configuration so that all volumes are due within a
// window, as they would be if they had been published at the same time and lived
// ten times as long, and sees how evenly they come, and how long first mounts of
// other pods take meanwhile.
func measureSpread(ctx context.Context, b *bench, into *result.Scenario) error {
	volumes, window := b.sizes.live, b.sizes.window
	if err := b.have(ctx, volumes); err != nil {
		return err
	}
	due := slices.Clone(b.live)
	if err := testkit.Sleep(ctx, 2*time.Second); err != nil {
		return err
	}
	progress("first mounts without renewals, for %s", window)
	mounts := result.Measurement{Name: "first mounts among renewals", Unit: result.Second, Shape: result.Distribution}
	var err error
	if mounts.Floor, err = b.firstMounts(ctx, window); err != nil {
		return err
	}
	swaps, err := b.watchSwaps(due)
	if err != nil {
		return err
	}
	defer swaps.close()
	swaps.begin()
	progress("first mounts among %d renewals, for %s", volumes, window)
	changed := b.settings
	changed.trustDomain, changed.reissueWindow = "spread.bench.example.org", window
	began := time.Now()
	if err := b.configure(changed); err != nil {
		return err
	}
	if mounts.Product, err = b.firstMounts(ctx, window); err != nil {
		return err
	}
	if _, err := swaps.wait(ctx, volumes); err != nil {
		return err
	}
	part := window / spreadParts
	renewals := result.Measurement{
		Name: fmt.Sprintf("renewals of %d volumes in each %s", volumes, part), Unit: result.Count, Shape: result.Series,
		Product: countIn(part, began.Add(settling), swaps.times()), Floor: slices.Repeat([]float64{float64(volumes) / spreadParts}, spreadParts),
	}
	into.Measurements = []result.Measurement{mounts, renewals}
	return nil
}

// countIn counts moments in parts of a time, beginning with the start, as many
// parts as a window has, and more if they come later.
func countIn(part time.Duration, start time.Time, moments []time.Time) []float64 {
	counts := slices.Repeat([]float64{0}, spreadParts)
	for _, at := range moments {
		i := max(0, int(at.Sub(start)/part))
		for i >= len(counts) {
			counts = append(counts, 0)
		}
		counts[i]++
	}
	return counts
}

// firstMounts publishes one volume after another for so long, and returns how
// long each took, in seconds. The volumes count as live.
func (b *bench) firstMounts(ctx context.Context, window time.Duration) ([]float64, error) {
	requests, err := b.requests(ctx, int(window/mountPause))
	if err != nil {
		return nil, err
	}
	b.live = append(b.live, requests...)
	var times []float64
	began := time.Now()
	for i, request := range requests {
		if err := testkit.Sleep(ctx, time.Until(began.Add(time.Duration(i)*mountPause))); err != nil {
			return nil, err
		}
		took, err := timed(func() error { return b.publish(ctx, request) })
		if err != nil {
			return nil, err
		}
		times = append(times, took)
	}
	return times, nil
}
