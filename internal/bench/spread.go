// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
)

// spreadLifetime is that of the documents whose renewals are watched: they are
// due 90 to 100 s after they were issued, with the share of its time that every
// volume is renewed earlier. 250 volumes due in a minute would be fewer at a
// time than this.
const spreadLifetime = 150 * time.Second

// measureSpread publishes so many volumes as fast as it can, waits until they are
// renewed, and sees how evenly that comes, and how long first mounts of other
// pods take meanwhile. It needs documents that are due within minutes: see
// --spread-volumes.
func (b *bench) measureSpread(ctx context.Context, out io.Writer, volumes int) error {
	requests, err := b.requests(ctx, volumes)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(32)
	began := time.Now()
	for _, request := range requests {
		group.Go(func() error {
			_, err := b.kubelet.Node.NodePublishVolume(ctx, request)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	published := time.Since(began)
	quiet, err := b.firstMounts(ctx, 20)
	if err != nil {
		return err
	}
	renewed := &renewals{at: map[string]time.Time{}}
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { renewed.watch(watching, requests) })
	defer func() { stop(); watch.Wait() }()
	if err := sleep(ctx, time.Until(began.Add(spreadLifetime*60/100+published))); err != nil {
		return err
	}
	busy, err := b.firstMounts(ctx, 20)
	if err != nil {
		return err
	}
	if err := sleep(ctx, time.Until(began.Add(spreadLifetime*67/100+published+5*time.Second))); err != nil {
		return err
	}
	stop()
	watch.Wait()
	renewed.print(out, volumes)
	fmt.Fprintf(out, "first mounts: p50 %.1f ms with no renewals, %.1f ms among them: %.2f times\n",
		milliseconds(quiet), milliseconds(busy), float64(busy)/float64(quiet))
	return nil
}

// firstMounts returns the median time of so many, one after another.
func (b *bench) firstMounts(ctx context.Context, count int) (time.Duration, error) {
	requests, err := b.requests(ctx, count)
	if err != nil {
		return 0, err
	}
	var times []time.Duration
	for _, request := range requests {
		took, err := timed(func() error {
			_, err := b.kubelet.Node.NodePublishVolume(ctx, request)
			return err
		})
		if err != nil {
			return 0, err
		}
		times = append(times, took)
	}
	return quantiles(times)[0], nil
}

// renewals are the times at which volumes got their second document.
type renewals struct{ at map[string]time.Time }

// watch looks at the volumes' files ten times a second.
func (r *renewals) watch(ctx context.Context, requests []*csi.NodePublishVolumeRequest) {
	first := map[string]string{}
	for ctx.Err() == nil {
		for _, request := range requests {
			target := request.GetTargetPath()
			generation, err := os.Readlink(filepath.Join(target, "..data"))
			if err != nil {
				continue
			}
			if before, known := first[target]; !known {
				first[target] = generation
			} else if _, renewed := r.at[target]; before != generation && !renewed {
				r.at[target] = time.Now()
			}
		}
		_ = sleep(ctx, 100*time.Millisecond)
	}
}

// print says how even the renewals came, second by second.
func (r *renewals) print(out io.Writer, volumes int) {
	seconds := map[int64]int{}
	var times []int64
	for _, at := range r.at {
		seconds[at.Unix()]++
		times = append(times, at.Unix())
	}
	if len(times) == 0 {
		fmt.Fprintln(out, "nothing was renewed")
		return
	}
	slices.Sort(times)
	window, busiest := times[len(times)-1]-times[0]+1, 0
	for _, count := range seconds {
		busiest = max(busiest, count)
	}
	fmt.Fprintf(out, "%d of %d volumes renewed within %d s: %.1f in a second, %d in the busiest\n",
		len(times), volumes, window, float64(len(times))/float64(window), busiest)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
