// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// toleratedFailures is how often a volume may fail in a row before a change counts as
// having reached all that it can reach: what stays broken must not hide how long the
// others take.
const toleratedFailures = 3

// FanOut measures how a change of the trust bundle, or of what files there are, reaches
// the files of live volumes: from when the first volume is outdated to when the last has
// caught up that is awaited. It is told of each volume as it happens, and is safe for use
// by many goroutines. Make one with [NewFanOut].
type FanOut struct {
	failures  prometheus.Counter
	durations prometheus.Histogram

	mu      sync.Mutex
	volumes map[string]outdatedVolume
	// awaited counts the volumes that have not failed too often, and holds the changes of
	// which not all volumes are known.
	awaited, holds int
	// began is when the first of those became outdated, reached when the last caught up,
	// and written how many have since then; 0 once that has been measured.
	began, reached time.Time
	written        int
}

// outdatedVolume is a volume whose files are not what is asked for.
type outdatedVolume struct {
	since time.Time
	// failures are those in a row.
	failures int
}

// Reached is a change that has come as far as it can.
type Reached struct {
	// Written is how many volumes caught up, and Left how many are outdated still.
	Written, Left int
	// Took is how long that was from the first volume to the last.
	Took time.Duration
}

// Log tells of it; of nil it tells nothing.
func (r *Reached) Log(log *slog.Logger) {
	switch {
	case r == nil:
	case r.Left == 0:
		log.Info("all live volumes have the present trust bundle and files", "written", r.Written, "duration", r.Took)
	default:
		log.Warn("all live volumes have the present trust bundle and files but for some that cannot be written, which are tried again",
			"written", r.Written, "duration", r.Took, "left", r.Left)
	}
}

// NewFanOut returns a measure of no changes yet.
func NewFanOut() *FanOut {
	return &FanOut{
		volumes: map[string]outdatedVolume{},
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: prefix + "fan_out_failures_total",
			Help: "Attempts to bring a volume the trust bundle or files that failed and are tried again.",
		}),
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    prefix + "fan_out_duration_seconds",
			Help:    "How long it took to bring a change of the trust bundle, or of what files there are, to every live volume that can be written.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 300},
		}),
	}
}

// Collectors returns the metrics.
func (f *FanOut) Collectors() []prometheus.Collector {
	return []prometheus.Collector{f.failures, f.durations}
}

// Hold is called when there is a change, before anybody knows which volumes it makes
// outdated. It has reached nothing for good before all of them are known, when release is
// called. That returns the change if it has reached all that it can by then, or nil.
func (f *FanOut) Hold() (release func() *Reached) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds++
	return func() *Reached {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.holds--
		return f.end()
	}
}

// Outdated notes that the files of a live volume are not what is asked for.
func (f *FanOut) Outdated(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.volumes[id]; known {
		return
	}
	now := time.Now()
	if f.awaited == 0 && f.written == 0 {
		f.began = now
	}
	f.awaited++
	f.volumes[id] = outdatedVolume{since: now}
}

// Failed notes that a volume could not be written. It returns how often that has
// happened in a row, and 0 if the volume is not outdated any more; and the change for
// which nothing else is waited for, or nil.
func (f *FanOut) Failed(id string) (failures int, reached *Reached) {
	f.failures.Inc()
	f.mu.Lock()
	defer f.mu.Unlock()
	v, known := f.volumes[id]
	if !known {
		return 0, nil
	}
	v.failures++
	f.volumes[id] = v
	if v.failures != toleratedFailures {
		return v.failures, nil
	}
	f.awaited--
	return v.failures, f.end()
}

// CaughtUp notes that a volume has the files that are asked for, or is gone. It returns
// the change that has reached all that it can reach by this, or nil.
func (f *FanOut) CaughtUp(id string) *Reached {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, known := f.volumes[id]
	if !known {
		return nil
	}
	delete(f.volumes, id)
	if v.failures >= toleratedFailures { // nobody waited for it
		if len(f.volumes) > 0 {
			return nil
		}
		return &Reached{Written: 1, Took: time.Since(v.since)}
	}
	f.awaited--
	f.reached, f.written = time.Now(), f.written+1
	return f.end()
}

// Count is how many volumes are outdated.
func (f *FanOut) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.volumes)
}

// IsOutdated reports whether a volume is one of them.
func (f *FanOut) IsOutdated(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, known := f.volumes[id]
	return known
}

// end measures the change that is under way, if nothing is waited for any more.
func (f *FanOut) end() *Reached {
	if f.awaited > 0 || f.holds > 0 || f.written == 0 {
		return nil
	}
	reached := &Reached{f.written, len(f.volumes), f.reached.Sub(f.began)}
	f.written = 0
	f.durations.Observe(reached.Took.Seconds())
	return reached
}
