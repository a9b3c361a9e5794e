// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A watcher reads the volumes of running pods again and again, as the pods see
// them, from a process of each.
type watcher struct {
	pids map[string]int // of the pods, by name
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	reads   int
	faults  []string
	serials map[string]map[string]bool // the certificates of each pod
	least   time.Duration              // the shortest life that was left
}

// watch begins to read the volumes of pods. Certificates are to be there at all
// times, belong to their keys, and not be expired.
func watch(t *testing.T, pods []corev1.Pod) *watcher {
	t.Helper()
	w := &watcher{pids: map[string]int{}, stop: make(chan struct{}), serials: map[string]map[string]bool{}, least: time.Hour}
	for _, pod := range pods {
		pid, err := processOf(pod)
		if err != nil {
			t.Fatal(err)
		}
		w.pids[pod.Name] = pid
		w.serials[pod.Name] = map[string]bool{}
	}
	w.readAll()
	w.done.Go(func() {
		for {
			select {
			case <-w.stop:
				w.readAll()
				return
			case <-time.After(100 * time.Millisecond):
				w.readAll()
			}
		}
	})
	return w
}

func (w *watcher) readAll() {
	for name, pid := range w.pids {
		w.read(name, pid)
	}
}

func (w *watcher) read(name string, pid int) {
	d, err := readVolume(fmt.Sprintf("/proc/%d/root%s", pid, mountPath))
	if errors.Is(err, os.ErrNotExist) {
		// It may have been replaced between two reads: once is nothing, twice is.
		d, err = readVolume(fmt.Sprintf("/proc/%d/root%s", pid, mountPath))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	if err != nil {
		if len(w.faults) < 10 {
			w.faults = append(w.faults, fmt.Sprintf("%s: %v", name, err))
		}
		return
	}
	w.serials[name][d.leaf.SerialNumber.String()] = true
	w.least = min(w.least, time.Until(d.leaf.NotAfter))
}

// renewals tells how many renewals each pod has had.
func (w *watcher) renewals() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := map[string]int{}
	for name, serials := range w.serials {
		counts[name] = len(serials) - 1
	}
	return counts
}

// waitRenewals waits until every pod has had one more renewal than it has now.
func (w *watcher) waitRenewals(t *testing.T) {
	t.Helper()
	before := w.renewals()
	eventually(t, 2*svidLifetime, "a renewal in every pod", func(context.Context) error {
		for name, n := range w.renewals() {
			if n <= before[name] {
				return errors.New("none in " + name)
			}
		}
		return nil
	})
}

// end stops reading, fails the test if a pod has seen anything wrong, and says
// what they saw.
func (w *watcher) end(t *testing.T) string {
	t.Helper()
	close(w.stop)
	w.done.Wait()
	for _, fault := range w.faults {
		t.Error(fault)
	}
	counts := slices.Collect(maps.Values(w.renewals()))
	return fmt.Sprintf("%d pods, %d reads: %d to %d renewals each, never less than %v of life left, %d faults",
		len(w.pids), w.reads, slices.Min(counts), slices.Max(counts), w.least.Round(100*time.Millisecond), len(w.faults))
}
