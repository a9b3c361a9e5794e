// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// swapsWithin is the most time that all volumes may take.
const swapsWithin = 2 * time.Minute

// swaps hears from the kernel when the files of a volume are swapped.
type swaps struct {
	watcher *fsnotify.Watcher

	mu sync.Mutex
	// at has the last swap of each volume since begin, by its folder.
	at  map[string]time.Time
	all int
}

func (b *bench) watchSwaps(requests []volumeRequest) (*swaps, error) {
	watcher, err := fsnotify.NewBufferedWatcher(1 << 16)
	if err != nil {
		return nil, err
	}
	s := &swaps{watcher: watcher, at: map[string]time.Time{}}
	for _, request := range requests {
		if err := watcher.Add(filepath.Join(b.dir, "tmpfs", request.GetVolumeId(), "data")); err != nil {
			return nil, errors.Join(err, watcher.Close())
		}
	}
	go s.listen()
	return s, nil
}

func (s *swaps) listen() {
	for event := range s.watcher.Events {
		if filepath.Base(event.Name) == "..data" && event.Has(fsnotify.Create) {
			s.mu.Lock()
			s.at[filepath.Dir(event.Name)] = time.Now()
			s.all++
			s.mu.Unlock()
		}
	}
}

func (s *swaps) close() { _ = s.watcher.Close() }

func (s *swaps) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.all = map[string]time.Time{}, 0
}

// swapped is how many volumes were, and count how often, all of them together.
func (s *swaps) swapped() int { return len(s.times()) }

func (s *swaps) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// times are those of the last swap of each volume since begin.
func (s *swaps) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.at))
}

// wait returns when the last of so many volumes was swapped since begin.
func (s *swaps) wait(ctx context.Context, volumes int) (time.Time, error) {
	return s.waitFor(ctx, volumes, time.Time{})
}

// waitFor is wait for swaps after a moment.
func (s *swaps) waitFor(ctx context.Context, volumes int, after time.Time) (time.Time, error) {
	for deadline := time.Now().Add(swapsWithin); time.Now().Before(deadline); {
		if last, done := s.last(volumes, after); done {
			return last, nil
		}
		if err := testkit.Sleep(ctx, 5*time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, fmt.Errorf("after %s, only %d of %d volumes were swapped", swapsWithin, s.swapped(), volumes)
}

func (s *swaps) last(volumes int, after time.Time) (last time.Time, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, at := range s.at {
		if at.After(after) {
			count++
		}
		if at.After(last) {
			last = at
		}
	}
	return last, count == volumes
}
