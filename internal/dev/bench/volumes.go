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

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// hands is how many pods are made, volumes published or requests created at the
// same time where that is not what is measured.
const hands = 16

// volumeRequest is the kubelet's call for a volume.
type volumeRequest = *csi.NodePublishVolumeRequest

// requests prepares what the kubelet has ready before it calls the driver: the
// pods, their tokens and their directories.
func (b *bench) requests(ctx context.Context, count int) ([]volumeRequest, error) {
	return withPods(ctx, b, count, func(ctx context.Context, pod *corev1.Pod) (volumeRequest, error) {
		return b.kubelet.PublishRequest(ctx, pod, testkit.VolumeName)
	})
}

// drafts prepares what the floor has ready: the pods, their tokens and keys.
func (b *bench) drafts(ctx context.Context, count int) ([]draft, error) {
	return withPods(ctx, b, count, func(ctx context.Context, pod *corev1.Pod) (draft, error) {
		access, err := b.cluster.PodConfig(ctx, pod)
		if err != nil {
			return draft{}, err
		}
		return b.floor.draft(pod, access)
	})
}

// withPods makes pods, and something for each.
func withPods[T any](ctx context.Context, b *bench, count int, prepare func(context.Context, *corev1.Pod) (T, error)) ([]T, error) {
	prepared := make([]T, count)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(hands)
	for i := range prepared {
		name := b.podName()
		group.Go(func() error {
			pod, err := b.cluster.CreatePod(ctx, b.workload, name, b.name)
			if err == nil {
				prepared[i], err = prepare(ctx, pod)
			}
			return err
		})
	}
	return prepared, group.Wait()
}

// publish gives one pod its volume.
func (b *bench) publish(ctx context.Context, request volumeRequest) error {
	_, err := b.kubelet.Node.NodePublishVolume(ctx, request)
	return err
}

// have publishes or takes away volumes, until there are so many.
func (b *bench) have(ctx context.Context, count int) error {
	group, calling := errgroup.WithContext(ctx)
	group.SetLimit(hands)
	for len(b.live) > count {
		last := b.live[len(b.live)-1]
		b.live = b.live[:len(b.live)-1]
		group.Go(func() error {
			_, err := b.kubelet.Node.NodeUnpublishVolume(calling, &csi.NodeUnpublishVolumeRequest{VolumeId: last.GetVolumeId(), TargetPath: last.GetTargetPath()})
			return err
		})
	}
	if err := group.Wait(); err != nil || len(b.live) == count {
		return err
	}
	progress("from %d to %d live volumes", len(b.live), count)
	requests, err := b.requests(ctx, count-len(b.live))
	if err != nil {
		return err
	}
	b.live = append(b.live, requests...)
	return b.publishAll(ctx, requests)
}

// publishAll gives pods their volumes, or calls again for those that have them, as
// the kubelet does every minute or so: a driver that was started anew has no
// tokens to renew with until then.
func (b *bench) publishAll(ctx context.Context, requests []volumeRequest) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(hands)
	for _, request := range requests {
		group.Go(func() error { return b.publish(ctx, request) })
	}
	return group.Wait()
}

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
