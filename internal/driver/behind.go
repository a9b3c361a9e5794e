// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// patienceWithOne is how often in a row a volume may fail before a change counts as
// having reached all that it can reach: what stays broken must not hide how long
// the others take.
const patienceWithOne = 3

// behind are the live volumes whose files are not what is asked for now, beside
// their documents: of another trust bundle, or in other forms.
type behind struct {
	// failures counts attempts that failed, all volumes together.
	failures atomic.Int64
	// durations are those from when the first volume fell behind to when the last
	// had caught up of all that are awaited.
	durations prometheus.Histogram

	// comparing is held while a volume is compared with what is asked for, so that
	// what comes of it is that of the last to do so.
	comparing sync.Mutex

	mu      sync.Mutex
	volumes map[string]late
	// awaited counts the volumes that have not failed too often.
	awaited int
	// began is when the first of those fell behind, reached when the last caught
	// up, and done how many have.
	began, reached time.Time
	done           int
}

// late is a volume that is behind.
type late struct {
	since time.Time
	// failures are those in a row.
	failures int
}

// fanOut is a change that has come as far as it could.
type fanOut struct {
	// done is how many volumes caught up, and left how many are behind still.
	done, left int
	took       time.Duration
}

func newBehind() *behind {
	return &behind{volumes: map[string]late{}, durations: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "csi_driver_spiffe_fan_out_duration_seconds",
		Help:    "How long it took to bring a change of the trust bundle, or of what files there are, to every live volume that can be written.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 300},
	})}
}

func (b *behind) add(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.volumes[id]; known {
		return
	}
	now := time.Now()
	if b.awaited == 0 {
		b.began, b.done = now, 0
	}
	b.awaited++
	b.volumes[id] = late{since: now}
}

// failed returns how often the volume has failed in a row, and 0 if it is not
// behind any more; and the change that nothing else is waited for in, or nil.
func (b *behind) failed(id string) (failures int, ended *fanOut) {
	b.failures.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	v, known := b.volumes[id]
	if !known {
		return 0, nil
	}
	v.failures++
	b.volumes[id] = v
	if v.failures != patienceWithOne {
		return v.failures, nil
	}
	b.awaited--
	return v.failures, b.end()
}

// remove returns the change that has reached all it can reach by this, or nil.
func (b *behind) remove(id string) (ended *fanOut) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, known := b.volumes[id]
	if !known {
		return nil
	}
	delete(b.volumes, id)
	if v.failures >= patienceWithOne { // nobody waited for it
		if len(b.volumes) > 0 {
			return nil
		}
		return &fanOut{done: 1, took: time.Since(v.since)}
	}
	b.awaited--
	b.reached, b.done = time.Now(), b.done+1
	return b.end()
}

// end measures the change that is under way, if nothing is waited for any more.
func (b *behind) end() *fanOut {
	if b.awaited > 0 || b.done == 0 {
		return nil
	}
	ended := &fanOut{b.done, len(b.volumes), b.reached.Sub(b.began)}
	b.durations.Observe(ended.took.Seconds())
	return ended
}

func (b *behind) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.volumes)
}
