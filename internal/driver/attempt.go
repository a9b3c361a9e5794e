// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// attempt is one way of a document into a volume, or of how far it came: from the
// kubelet's call, or from when the volume was due, to its end, which is counted
// once. It is safe for use by many goroutines.
type attempt struct {
	measured  *issuances
	operation operation
	began     time.Time
	// backingOff is set while it waits before it asks the API server again.
	backingOff atomic.Bool

	mu    sync.Mutex
	stage issuance.Stage
	since time.Time
	// spent is how long it was in each stage before this one.
	spent map[issuance.Stage]time.Duration
	// unwanted is set when nobody will collect what it brings.
	unwanted, over bool
}

// begin begins an attempt, at the latest now.
func (m *issuances) begin(op operation, at time.Time) *attempt {
	if at.IsZero() {
		at = time.Now()
	}
	return &attempt{
		measured: m, operation: op, began: at,
		stage: issuance.StageQueue, since: at, spent: map[issuance.Stage]time.Duration{},
	}
}

// elapsed is how long it has taken so far.
func (a *attempt) elapsed() time.Duration { return time.Since(a.began) }

// enter notes the stage that it has reached. One that its operation does not have
// counts for the one before: what a renewal has brought may be for a volume that
// has to be mounted again.
func (a *attempt) enter(stage issuance.Stage) {
	if _, known := a.measured.stages[a.operation][stage]; !known {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over && a.stage != stage {
		a.leave(time.Now())
		a.stage = stage
	}
}

// leave ends the present stage. The caller holds the lock.
func (a *attempt) leave(now time.Time) {
	a.spent[a.stage] += now.Sub(a.since)
	a.since = now
}

// landed notes that the request to cert-manager has ended, with a document
// unless err says why there is none.
func (a *attempt) landed(err error) {
	if err != nil {
		a.fail(err)
		return
	}
	a.enter(issuance.StageCollect)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unwanted {
		a.end(abandoned, a.stage)
	}
}

// drop notes that nobody wants what it brings any more.
func (a *attempt) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unwanted = true
	if a.stage == issuance.StageCollect {
		a.end(abandoned, a.stage)
	}
}

// fail ends it without a document in the volume.
func (a *attempt) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	stage := a.stage
	if known, _ := placeOf(err); known != "" {
		stage = known
	}
	a.end(outcomeOf(err, stage), stage)
}

// succeed ends it with a document in the volume. Only then do its times count:
// those of failures, which may be short, would hide how long pods wait.
func (a *attempt) succeed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	now := time.Now()
	a.leave(now)
	for stage, spent := range a.spent {
		a.measured.stages[a.operation][stage].Observe(spent.Seconds())
	}
	a.measured.durations[a.operation].Observe(now.Sub(a.began).Seconds())
	a.end(succeeded, a.stage)
}

// end counts it, once. The caller holds the lock.
func (a *attempt) end(as outcome, stage issuance.Stage) {
	if a.over {
		return
	}
	a.over = true
	a.measured.total.WithLabelValues(string(a.operation), string(as), stage.Word()).Inc()
}

// now returns the stage that it is in, and false if it is over.
func (a *attempt) now() (issuance.Stage, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stage, !a.over
}
