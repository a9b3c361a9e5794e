// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// leastPatience and mostPatience bound for how long a renewal keeps its slot while
// it only waits.
const (
	leastPatience = time.Second
	mostPatience  = 10 * time.Second
)

// slot is one of driver.maxConcurrentRenewals. It is for work, and for waiting only
// while that is short: approver and issuer may be those of one namespace, and while
// they do not answer, volumes of others must have their turn. The zero value is for
// who has none.
type slot struct {
	// giveBack lets another renewal begin. It may be called more than once.
	giveBack func()
	// patience is for how long the slot is kept while the request waits for
	// approver and issuer.
	patience time.Duration
}

// patience is that of the slot of a volume's renewal: a small part of the time that
// documents last, and none where the last attempt has shown that it may take long.
func patience(live *volume.Metadata, failed bool) time.Duration {
	if live == nil || failed {
		return 0
	}
	return min(max(lifetimeOf(live).length()/60, leastPatience), mostPatience)
}

// await returns when a request has brought a document, or why there is none. If ctx
// ends first the request goes on, and the error says what it waits for. The slot is
// given back when the request has waited for so long, or the API server has not
// taken it for longer than any has patience: that, too, may be so for one namespace
// alone. What waits for the driver's own watch keeps its slot, for so do all.
func (s *volumeState) await(ctx context.Context, f *flight, slot slot) error {
	asking, created := f.asking.reached, f.created.reached
	if slot.giveBack == nil {
		asking, created = nil, nil
	}
	var enough <-chan time.Time
	for {
		select {
		case <-f.landed:
			return s.take(f, time.Now())
		case <-ctx.Done():
			return f.progress.Err(context.Cause(ctx))
		case <-asking:
			asking, enough = nil, time.After(mostPatience)
		case <-created:
			asking, created, enough = nil, nil, time.After(slot.patience)
		case <-enough:
			slot.giveBack()
		}
	}
}

// reach notes the stage that a request has come to.
func (f *flight) reach(stage issuance.Stage) {
	f.attempt.Enter(stage)
	f.cleared = f.cleared || stage == issuance.StageClear
	switch stage {
	case issuance.StageClear, issuance.StageCreate:
		f.asking.reach()
	case issuance.StageApprove, issuance.StageSign:
		f.created.reach()
	default: // it waits for nobody, or is over
	}
}

// milestone is a point that a request comes to once. The zero value is one that it
// never does.
type milestone struct{ reached chan struct{} }

func newMilestone() milestone { return milestone{make(chan struct{})} }

// reach is for one goroutine.
func (m milestone) reach() {
	select {
	case <-m.reached:
	default:
		close(m.reached)
	}
}
