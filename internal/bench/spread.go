// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

const (
	// spreadWindow is rollout.reissueWindow of the benchmark: all volumes are due
	// in it, as they would be when they were all published at the same time and
	// live ten times as long.
	spreadWindow = time.Minute
	// spreadTrustDomain replaces that in the configuration, for everything to be
	// due.
	spreadTrustDomain = "spread.bench.example.org"
	// mountPause is between two first mounts, on a node on which now and then a
	// pod starts.
	mountPause = 500 * time.Millisecond
)

// measureSpread publishes so many volumes, changes the configuration so that all
// are due within a minute, and sees how evenly they come, and how long first
// mounts of other pods take meanwhile.
func (b *bench) measureSpread(ctx context.Context, out io.Writer, volumes int) error {
	requests, err := b.requests(ctx, volumes)
	if err != nil {
		return err
	}
	if err := b.publishAll(ctx, requests); err != nil {
		return err
	}
	if err := sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	b.trustDomain = spreadTrustDomain
	progress("%d volumes published; first mounts with no renewals, for %s", volumes, spreadWindow)
	quiet, err := b.firstMounts(ctx, spreadWindow)
	if err != nil {
		return err
	}
	renewed := &renewals{at: map[string]time.Time{}}
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { renewed.watch(watching, requests) })
	defer func() { stop(); watch.Wait() }()
	progress("first mounts among renewals, for %s", spreadWindow)
	if err := b.writeConfig(b.node); err != nil {
		return err
	}
	busy, err := b.firstMounts(ctx, spreadWindow)
	if err != nil {
		return err
	}
	if err := sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	stop()
	watch.Wait()
	renewed.print(out, volumes)
	printTable(out, []row{{what: "first mounts among renewals", product: busy, floor: quiet, floorIs: "with none"}})
	return nil
}

// firstMounts publishes one volume after another for so long, and returns how
// long each took.
func (b *bench) firstMounts(ctx context.Context, window time.Duration) ([]time.Duration, error) {
	requests, err := b.requests(ctx, int(window/mountPause))
	if err != nil {
		return nil, err
	}
	var times []time.Duration
	for began := time.Now(); len(times) < len(requests) && time.Since(began) < window; {
		request := requests[len(times)]
		took, err := timed(func() error {
			_, err := b.kubelet.Node.NodePublishVolume(ctx, request)
			return err
		})
		if err != nil {
			return nil, err
		}
		times = append(times, took)
		if err := sleep(ctx, mountPause-took); err != nil {
			return nil, err
		}
	}
	return times, nil
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

// print says how even the renewals came, in parts of the window.
func (r *renewals) print(out io.Writer, volumes int) {
	times := slices.SortedFunc(maps.Values(r.at), time.Time.Compare)
	if len(times) == 0 {
		fmt.Fprintln(out, "nothing was renewed")
		return
	}
	const part = spreadWindow / 12
	counts := make([]int, times[len(times)-1].Sub(times[0])/part+1)
	for _, at := range times {
		counts[at.Sub(times[0])/part]++
	}
	fmt.Fprintf(out, "%d of %d volumes renewed within %s; in each %s: %v\n",
		len(times), volumes, times[len(times)-1].Sub(times[0]).Round(time.Second), part, counts)
}
