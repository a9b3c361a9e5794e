// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// measurePublish begins with a node on which nothing is mounted, and goes back to
// that after each round.
func measurePublish(ctx context.Context, b *bench, into *result.Scenario) error {
	if err := b.have(ctx, 0); err != nil {
		return err
	}
	if err := b.oneByOne(ctx, into); err != nil {
		return err
	}
	work := newWork(b)
	for _, count := range b.sizes.atOnce {
		m := result.Measurement{Name: fmt.Sprintf("%d at once", count), Unit: result.Second, Shape: result.Distribution, Round: count}
		for round := range b.sizes.rounds {
			progress("%d at once, round %d of %d", count, round+1, b.sizes.rounds)
			if err := b.atOnceRound(ctx, count, round, &m, work); err != nil {
				return err
			}
		}
		into.Measurements = append(into.Measurements, m)
	}
	into.Measurements = append(into.Measurements, work.measurements()...)
	return nil
}

// oneByOne takes the two in turns, so that both see the same minute.
func (b *bench) oneByOne(ctx context.Context, into *result.Scenario) error {
	m := result.Measurement{Name: "one by one", Unit: result.Second, Shape: result.Distribution}
	count := b.sizes.publishes + 1
	progress("%d one by one", b.sizes.publishes)
	publishes, floors, err := b.prepare(ctx, count)
	if err != nil {
		return err
	}
	// The first of each opens connections, and is not counted.
	if err := b.oneOfEach(ctx, 0, publishes[0], floors[0], &result.Measurement{}, &floorStages{}); err != nil {
		return err
	}
	before, err := b.readStages(ctx)
	if err != nil {
		return err
	}
	floorStages := &floorStages{}
	for i := 1; i < count; i++ {
		if err := b.oneOfEach(ctx, i, publishes[i], floors[i], &m, floorStages); err != nil {
			return err
		}
	}
	after, err := b.readStages(ctx)
	if err != nil {
		return err
	}
	into.Measurements = append(into.Measurements, m)
	bar, note := driverBar(after.since(before), m.Product)
	if note != "" {
		into.Notes = append(into.Notes, note)
	}
	into.Stages = []result.StageBar{bar, floorStages.bar()}
	return b.have(ctx, 0)
}

func (b *bench) oneOfEach(ctx context.Context, round int, publish volumeRequest, floor draft, m *result.Measurement, stages *floorStages) error {
	return inTurns(round, func() error {
		began := time.Now()
		t, err := b.floor.issue(ctx, floor)
		if err == nil {
			m.Floor = append(m.Floor, time.Since(began).Seconds())
			stages.add(began, t)
		}
		return err
	}, func() error {
		took, err := timed(func() error { return b.publish(ctx, publish) })
		m.Product = append(m.Product, took)
		return err
	})
}

// inTurns calls each, beginning with another one in each round.
func inTurns(round int, each ...func() error) error {
	for i := range each {
		if err := each[(i+round)%len(each)](); err != nil {
			return err
		}
	}
	return nil
}

// atOnceRound begins with the floor in one round and with the product in the
// next. Each time is from the common start, as pods that start together wait
// together.
func (b *bench) atOnceRound(ctx context.Context, count, round int, m *result.Measurement, work *work) error {
	publishes, floors, err := b.prepare(ctx, count)
	if err != nil {
		return err
	}
	err = inTurns(round, func() error {
		times, err := together(count, func(i int) error { _, err := b.floor.issue(ctx, floors[i]); return err })
		m.Floor = append(m.Floor, times...)
		return err
	}, func() error {
		return work.during(count, func() error {
			times, err := together(count, func(i int) error { return b.publish(ctx, publishes[i]) })
			m.Product = append(m.Product, times...)
			return err
		})
	})
	if err != nil {
		return err
	}
	return b.have(ctx, 0)
}

// prepare makes ready whatever is not to be measured. The volumes count as live.
func (b *bench) prepare(ctx context.Context, count int) ([]volumeRequest, []draft, error) {
	requests, err := b.requests(ctx, count)
	if err != nil {
		return nil, nil, err
	}
	b.live = append(b.live, requests...)
	drafts, err := b.drafts(ctx, count)
	return requests, drafts, err
}

// timed returns how long f took, in seconds.
func timed(f func() error) (float64, error) {
	began := time.Now()
	err := f()
	return time.Since(began).Seconds(), err
}

// together runs f count times at once and returns how long each took, in seconds.
func together(count int, f func(i int) error) ([]float64, error) {
	times := make([]float64, count)
	var group errgroup.Group
	began := time.Now()
	for i := range count {
		group.Go(func() error {
			err := f(i)
			times[i] = time.Since(began).Seconds()
			return err
		})
	}
	return times, group.Wait()
}
