// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
)

// toleratedFailures is after how many failures in a row nobody waits for a volume.
const toleratedFailures = 3

// requireMeasured checks how many changes were measured, and how long they took together.
func requireMeasured(t *testing.T, f *observe.FanOut, n int, sum time.Duration) {
	t.Helper()
	got := observetest.Samples(t, f.Collectors()...)
	if count, seconds := got["fan_out_duration_seconds_count{}"], got["fan_out_duration_seconds_sum{}"]; count != float64(n) || seconds != sum.Seconds() {
		t.Errorf("%g changes of %g s are measured, want %d of %s", count, seconds, n, sum)
	}
}

func requireReached(t *testing.T, got *observe.Reached, want observe.Reached) {
	t.Helper()
	if got == nil || *got != want {
		t.Errorf("it ended as %+v, want %+v", got, want)
	}
}

// However often volumes become outdated and catch up meanwhile, what is measured is from
// the first to the last.
func TestFanOutIsMeasuredFromTheFirstToTheLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := observe.NewFanOut()
		f.Outdated("a")
		time.Sleep(time.Second)
		f.Outdated("b")
		f.Outdated("a")
		if n := f.Count(); n != 2 || !f.IsOutdated("a") || f.IsOutdated("c") {
			t.Errorf("%d are outdated, want a and b", n)
		}
		for _, row := range []struct {
			id   string
			want int
		}{{"a", 1}, {"a", 2}, {"b", 1}} {
			if n, reached := f.Failed(row.id); n != row.want || reached != nil {
				t.Errorf("%s: %d failures, want %d; ended: %v", row.id, n, row.want, reached)
			}
		}
		if n := observetest.Samples(t, f.Collectors()...)["fan_out_failures_total{}"]; n != 3 {
			t.Errorf("%g failures of all", n)
		}
		if reached := f.CaughtUp("a"); reached != nil {
			t.Error("one is left")
		}
		if reached := f.CaughtUp("unknown"); reached != nil {
			t.Error("one that was not outdated was the last")
		}
		time.Sleep(time.Second)
		requireReached(t, f.CaughtUp("b"), observe.Reached{Written: 2, Took: 2 * time.Second})
		requireMeasured(t, f, 1, 2*time.Second)
	})
}

// A volume that catches up before others are known to be outdated does not end the change.
func TestFanOutIsHeldUntilAllVolumesAreKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := observe.NewFanOut()
		release := f.Hold()
		f.Outdated("a")
		time.Sleep(time.Second)
		if reached := f.CaughtUp("a"); reached != nil {
			t.Errorf("it ended as %+v", reached)
		}
		f.Outdated("b")
		if reached := release(); reached != nil {
			t.Errorf("it ended as %+v, and b is left", reached)
		}
		time.Sleep(time.Second)
		requireReached(t, f.CaughtUp("b"), observe.Reached{Written: 2, Took: 2 * time.Second})
		release = f.Hold() // the next change
		f.Outdated("a")
		time.Sleep(time.Second)
		f.CaughtUp("a")
		requireReached(t, release(), observe.Reached{Written: 1, Took: time.Second})
		if reached := f.Hold()(); reached != nil {
			t.Errorf("a change of nothing ended as %+v", reached)
		}
		requireMeasured(t, f, 2, 3*time.Second)
	})
}

// An attempt that fails after the volume has stopped being outdated does not make it so
// again: it would be measured from a moment long ago.
func TestFanOutForgetsWhatFailsTooLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := observe.NewFanOut()
		f.Outdated("a")
		f.CaughtUp("a")
		time.Sleep(time.Hour)
		if n, reached := f.Failed("a"); n != 0 || reached != nil || f.Count() != 0 {
			t.Errorf("%d failures, %v, %d are outdated", n, reached, f.Count())
		}
		f.Outdated("a")
		time.Sleep(time.Second)
		requireReached(t, f.CaughtUp("a"), observe.Reached{Written: 1, Took: time.Second})
	})
}

// One volume that stays broken ends neither this change nor those that follow, and the
// time until it is given up is not theirs.
func TestFanOutDoesNotWaitForWhatStaysBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := observe.NewFanOut()
		f.Outdated("broken")
		f.Outdated("a")
		time.Sleep(time.Second)
		if reached := f.CaughtUp("a"); reached != nil {
			t.Errorf("it ended as %+v before the other had failed", reached)
		}
		var ended []*observe.Reached
		for range toleratedFailures + 2 {
			time.Sleep(time.Minute)
			if _, reached := f.Failed("broken"); reached != nil {
				ended = append(ended, reached)
			}
		}
		if len(ended) != 1 {
			t.Fatalf("it ended %d times", len(ended))
		}
		requireReached(t, ended[0], observe.Reached{Written: 1, Left: 1, Took: time.Second})
		f.Outdated("broken") // the next change
		f.Outdated("a")
		time.Sleep(time.Second)
		requireReached(t, f.CaughtUp("a"), observe.Reached{Written: 1, Left: 1, Took: time.Second})
		requireMeasured(t, f, 2, 2*time.Second)
		// Nobody waited for it, so that it is not measured when it is fixed.
		requireReached(t, f.CaughtUp("broken"), observe.Reached{Written: 1, Took: (toleratedFailures+2)*time.Minute + 2*time.Second})
		requireMeasured(t, f, 2, 2*time.Second)
	})
}

// Where nothing at all could be written there is nothing to measure.
func TestFanOutToABrokenVolumeAlone(t *testing.T) {
	t.Parallel()
	f := observe.NewFanOut()
	f.Outdated("broken")
	for range toleratedFailures {
		if _, reached := f.Failed("broken"); reached != nil {
			t.Errorf("it ended as %+v", reached)
		}
	}
	requireMeasured(t, f, 0, 0)
	if f.Count() != 1 {
		t.Errorf("%d are outdated", f.Count())
	}
}
