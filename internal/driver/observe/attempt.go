// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"sync"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// Attempt is one attempt to bring an SVID into a volume: from the kubelet's call, or
// from when the volume was due for renewal, to its end, which is counted once. It is
// safe for use by many goroutines. Make one with [Issuances.Begin].
type Attempt struct {
	metrics   *Issuances
	operation Operation
	began     time.Time

	mu    sync.Mutex
	stage issuance.Stage
	since time.Time
	// spent is how long it was in each stage before this one.
	spent map[issuance.Stage]time.Duration
	// backingOff is set while it waits before it asks the API server again.
	backingOff bool
	// unwanted is set when nobody will collect what it brings.
	unwanted, over bool
}

// Progress is how far an attempt has come at a moment.
type Progress struct {
	Operation Operation
	// Began is when the kubelet called, or the volume was due.
	Began time.Time
	// Stage is the stage that it is in, or was in when it ended.
	Stage issuance.Stage
	// UnderWay is false once it has ended.
	UnderWay bool
	// BackingOff is set while it waits before it asks the API server again.
	BackingOff bool
}

// Begin begins an attempt at a moment in the past; zero: now.
func (m *Issuances) Begin(op Operation, at time.Time) *Attempt {
	if at.IsZero() {
		at = time.Now()
	}
	return &Attempt{
		metrics: m, operation: op, began: at,
		stage: issuance.StageQueue, since: at, spent: map[issuance.Stage]time.Duration{},
	}
}

// Operation is what the SVID is obtained for.
func (a *Attempt) Operation() Operation { return a.operation }

// Elapsed is how long it has taken so far.
func (a *Attempt) Elapsed() time.Duration { return time.Since(a.began) }

// Progress returns how far it has come.
func (a *Attempt) Progress() Progress {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Progress{Operation: a.operation, Began: a.began, Stage: a.stage, UnderWay: !a.over, BackingOff: a.backingOff}
}

// Enter notes the stage that it has reached. One that its operation does not have
// counts for the one before: what a renewal has brought may be for a volume that
// has to be mounted again.
func (a *Attempt) Enter(stage issuance.Stage) {
	if _, known := a.metrics.stages[a.operation][stage]; !known {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over && a.stage != stage {
		a.leave(time.Now())
		a.stage = stage
	}
}

// SetBackingOff notes whether it waits before it asks the API server again.
func (a *Attempt) SetBackingOff(backingOff bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.backingOff = backingOff
}

// leave ends the present stage. The caller holds the lock.
func (a *Attempt) leave(now time.Time) {
	a.spent[a.stage] += now.Sub(a.since)
	a.since = now
}

// RequestEnded notes that the request to cert-manager has ended, with an SVID
// unless err says why there is none.
func (a *Attempt) RequestEnded(err error) {
	if err != nil {
		a.Fail(err)
		return
	}
	a.Enter(issuance.StageCollect)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unwanted {
		a.end(abandoned, a.stage)
	}
}

// Abandon notes that nobody wants what it brings any more.
func (a *Attempt) Abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unwanted = true
	if a.stage == issuance.StageCollect {
		a.end(abandoned, a.stage)
	}
}

// Fail ends it without an SVID in the volume.
func (a *Attempt) Fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	stage := a.stage
	if known, _ := PlaceOf(err); known != "" {
		stage = known
	}
	a.end(outcomeOf(err, stage), stage)
}

// Succeed ends it with an SVID in the volume. Only then do its times count: those of
// failures, which may be short, would hide how long pods wait.
func (a *Attempt) Succeed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	now := time.Now()
	a.leave(now)
	for stage, spent := range a.spent {
		a.metrics.stages[a.operation][stage].Observe(spent.Seconds())
	}
	a.metrics.durations[a.operation].Observe(now.Sub(a.began).Seconds())
	a.end(succeeded, a.stage)
}

// end counts it, once. The caller holds the lock.
func (a *Attempt) end(as outcome, stage issuance.Stage) {
	if a.over {
		return
	}
	a.over = true
	a.metrics.total.WithLabelValues(string(a.operation), string(as), stage.Word()).Inc()
}
