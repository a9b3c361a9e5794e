// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"golang.org/x/sync/errgroup"
)

// row is what was measured of one kind of load, for the product and the floor.
type row struct {
	what           string
	product, floor []time.Duration
	// floorIs says what the floor is, where it is not the bare loop.
	floorIs string
}

func (r row) name() string {
	if r.floorIs == "" {
		return r.what
	}
	return r.what + " (floor: " + r.floorIs + ")"
}

// measureOneByOne takes the two in turns, so that both see the same minute.
func (b *bench) measureOneByOne(ctx context.Context, count int) (row, error) {
	result := row{what: fmt.Sprintf("%d one after another", count)}
	// The first of each opens connections, and is not counted.
	publishes, floors, err := b.prepare(ctx, count+1)
	if err != nil {
		return row{}, err
	}
	for i := range publishes {
		floor, err := timed(func() error { return b.floor.issue(ctx, floors[i]) })
		if err != nil {
			return row{}, err
		}
		product, err := timed(func() error { return publishes[i](ctx) })
		if err != nil {
			return row{}, err
		}
		if i > 0 {
			result.floor, result.product = append(result.floor, floor), append(result.product, product)
		}
	}
	return result, nil
}

// measureAtOnce takes the floor first and then the product. Each time is from
// the common start, as pods that start together wait together.
func (b *bench) measureAtOnce(ctx context.Context, count int) (row, error) {
	result := row{what: fmt.Sprintf("%d at once", count)}
	publishes, floors, err := b.prepare(ctx, count)
	if err != nil {
		return row{}, err
	}
	result.floor, err = together(count, func(i int) error { return b.floor.issue(ctx, floors[i]) })
	if err != nil {
		return row{}, err
	}
	result.product, err = together(count, func(i int) error { return publishes[i](ctx) })
	return result, err
}

// prepare makes ready whatever is not to be measured.
func (b *bench) prepare(ctx context.Context, count int) ([]func(context.Context) error, []*cmapi.CertificateRequest, error) {
	requests, err := b.requests(ctx, count)
	if err != nil {
		return nil, nil, err
	}
	publishes := make([]func(context.Context) error, count)
	floors := make([]*cmapi.CertificateRequest, count)
	for i := range count {
		publishes[i] = func(ctx context.Context) error {
			_, err := b.kubelet.Node.NodePublishVolume(ctx, requests[i])
			return err
		}
		if floors[i], err = b.floor.prepare(); err != nil {
			return nil, nil, err
		}
	}
	return publishes, floors, nil
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

// together runs f count times at once and returns how long each took.
func together(count int, f func(i int) error) ([]time.Duration, error) {
	times := make([]time.Duration, count)
	var group errgroup.Group
	began := time.Now()
	for i := range count {
		group.Go(func() error {
			err := f(i)
			times[i] = time.Since(began)
			return err
		})
	}
	return times, group.Wait()
}

func printTable(out io.Writer, rows []row) {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "\tp50\tp99\tmax\tfloor p50\tfloor p99\tfloor max\tratio p50\tratio p99\tratio max\t")
	for _, r := range rows {
		_, _ = fmt.Fprintf(table, "%s\t", r.name())
		product, floor := quantiles(r.product), quantiles(r.floor)
		for _, d := range slices.Concat(product, floor) {
			_, _ = fmt.Fprintf(table, "%.1f ms\t", float64(d)/float64(time.Millisecond))
		}
		for i := range product {
			_, _ = fmt.Fprintf(table, "%.2f\t", float64(product[i])/float64(floor[i]))
		}
		_, _ = fmt.Fprintln(table)
	}
	_ = table.Flush()
}

// quantiles returns the median, the 99th percentile and the maximum.
func quantiles(times []time.Duration) []time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	at := func(percent int) time.Duration { return sorted[(len(sorted)-1)*percent/100] }
	return []time.Duration{at(50), at(99), at(100)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
