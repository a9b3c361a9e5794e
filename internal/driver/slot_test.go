// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// When a renewal lets another begin, while its request comes as far as it does.
func TestRenewalGivesItsSlotBack(t *testing.T) {
	t.Parallel()
	const never = time.Duration(-1)
	type reached struct {
		stage issuance.Stage
		at    time.Duration
	}
	for _, row := range []struct {
		name     string
		patience time.Duration
		stages   []reached
		lands    time.Duration
		want     time.Duration
	}{
		{"not while it is signed in time", 3 * time.Second, []reached{
			{issuance.StageCreate, 0}, {issuance.StageApprove, time.Second}, {issuance.StageSign, 2 * time.Second},
		}, 3 * time.Second, never},
		{"when it is not approved in time", 3 * time.Second, []reached{
			{issuance.StageCreate, 0}, {issuance.StageApprove, time.Second},
		}, never, 4 * time.Second},
		{"no later if it is approved, and not signed in time", 3 * time.Second, []reached{
			{issuance.StageCreate, 0}, {issuance.StageApprove, time.Second}, {issuance.StageSign, 2 * time.Second},
		}, never, 4 * time.Second},
		{"when it is created, after a failure", 0, []reached{
			{issuance.StageCreate, 0}, {issuance.StageApprove, 2 * time.Second},
		}, never, 2 * time.Second},
		{"when it is not created for long", time.Second, []reached{{issuance.StageCreate, time.Second}}, never, mostPatience + time.Second},
		{"when one before it is not deleted for long, counted once", 0, []reached{
			{issuance.StageClear, time.Second}, {issuance.StageCreate, 9 * time.Second},
		}, never, mostPatience + time.Second},
		{"not while nothing can be asked for", 0, []reached{{issuance.StagePrepare, 0}}, never, never},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, got := time.Now(), never
				f := &flight{
					attempt: observe.NewIssuances().Begin(observe.Renewing, began), document: documentOf(0, time.Hour),
					asking: newMilestone(), created: newMilestone(), landed: make(chan struct{}),
				}
				go func() {
					for _, stage := range row.stages {
						time.Sleep(time.Until(began.Add(stage.at)))
						f.reach(stage.stage)
					}
					if row.lands != never {
						time.Sleep(time.Until(began.Add(row.lands)))
						close(f.landed)
					}
				}()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := (&volumeState{flight: f}).await(ctx, f, slot{func() { got = time.Since(began) }, row.patience})
				if got != row.want {
					t.Errorf("the slot was given back after %s, want %s", got, row.want)
				}
				if landed := row.lands != never; landed != (err == nil) || !landed && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}

// A request that is under way already is waited for no longer than a new one.
func TestRenewalThatFindsARequestUnderWayGivesItsSlotBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &flight{
			attempt: observe.NewIssuances().Begin(observe.Renewing, time.Now()),
			asking:  newMilestone(), created: newMilestone(), landed: make(chan struct{}),
		}
		f.reach(issuance.StageCreate)
		f.reach(issuance.StageApprove)
		time.Sleep(time.Hour)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		given := time.Duration(-1)
		_ = (&volumeState{}).await(ctx, f, slot{func() { given = time.Since(began) }, 0})
		if given != 0 {
			t.Errorf("given back after %s, want at once", given)
		}
	})
}

// A namespace whose quota never has room for a request keeps no slots from others.
func TestRenewalThatWaitsForAQuotaGivesItsSlotBack(t *testing.T) {
	t.Parallel()
	for name, patience := range map[string]time.Duration{"the first attempt": 3 * time.Second, "after a failure": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, given := time.Now(), time.Duration(-1)
				f := &flight{
					attempt: observe.NewIssuances().Begin(observe.Renewing, began),
					asking:  newMilestone(), created: newMilestone(), landed: make(chan struct{}),
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				go func() {
					for err := error(nil); err == nil; err = f.backOff(ctx, time.Second) {
						f.reach(issuance.StageCreate)
					}
				}()
				_ = (&volumeState{}).await(ctx, f, slot{func() { given = time.Since(began) }, patience})
				if given != patience {
					t.Errorf("given back after %s, want %s", given, patience)
				}
			})
		})
	}
}

func TestPatienceOfARenewal(t *testing.T) {
	t.Parallel()
	lasting := func(lifetime time.Duration) *volume.Metadata {
		now := time.Now()
		return &volume.Metadata{NotBefore: now, NotAfter: now.Add(lifetime)}
	}
	for _, row := range []struct {
		name   string
		live   *volume.Metadata
		failed bool
		want   time.Duration
	}{
		{"a sixtieth", lasting(3 * time.Minute), false, 3 * time.Second},
		{"at least a second", lasting(9 * time.Second), false, time.Second},
		{"at most ten", lasting(24 * time.Hour), false, 10 * time.Second},
		{"none after a failure", lasting(time.Hour), true, 0},
		{"none if the volume has just gone", nil, false, 0},
	} {
		if got := patience(row.live, row.failed); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}
