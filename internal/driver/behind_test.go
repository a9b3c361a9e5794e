// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// measured is how many durations there are, and how long they are together.
func (b *behind) measured(t *testing.T) (n uint64, sum time.Duration) {
	t.Helper()
	var m dto.Metric
	check(t, b.durations.Write(&m))
	return m.GetHistogram().GetSampleCount(), time.Duration(m.GetHistogram().GetSampleSum() * float64(time.Second))
}

// However often volumes fall behind and catch up meanwhile, what is measured is from
// the first to the last.
func TestBehind(t *testing.T) {
	t.Parallel()
	b := newBehind()
	b.add("a")
	b.add("b")
	b.add("a")
	if n := b.count(); n != 2 {
		t.Errorf("%d are behind, want 2", n)
	}
	for _, row := range []struct {
		id   string
		want int
	}{{"a", 1}, {"a", 2}, {"b", 1}} {
		if n, ended := b.failed(row.id); n != row.want || ended != nil {
			t.Errorf("%s: %d failures, want %d; ended: %v", row.id, n, row.want, ended)
		}
	}
	if n := b.failures.Load(); n != 3 {
		t.Errorf("%d failures of all", n)
	}
	if ended := b.remove("a"); ended != nil {
		t.Error("one is left")
	}
	if ended := b.remove("unknown"); ended != nil {
		t.Error("one that was not behind was the last")
	}
	if ended := b.remove("b"); ended == nil || ended.done != 2 || ended.left != 0 || ended.took <= 0 {
		t.Errorf("it ended as %+v", ended)
	}
	if n := testutil.CollectAndCount(b.durations); n != 1 {
		t.Errorf("%d histograms", n)
	}
	if n, _ := b.measured(t); n != 1 {
		t.Errorf("%d durations, want 1", n)
	}
}

// An attempt that fails after the volume has stopped being behind does not bring
// it back: it would be measured from a moment long ago.
func TestBehindForgetsWhatFailsTooLate(t *testing.T) {
	t.Parallel()
	b := newBehind()
	b.add("a")
	b.remove("a")
	b.began = b.began.Add(-time.Hour)
	if n, ended := b.failed("a"); n != 0 || ended != nil || b.count() != 0 {
		t.Errorf("%d failures, %v, %d are behind", n, ended, b.count())
	}
	b.add("a")
	if ended := b.remove("a"); ended == nil || ended.took > time.Minute {
		t.Errorf("it ended as %+v", ended)
	}
}

// One volume that stays broken ends neither this change nor those that follow, and
// the time until it is given up is not theirs.
func TestBehindDoesNotWaitForWhatStaysBroken(t *testing.T) {
	t.Parallel()
	b := newBehind()
	b.add("broken")
	b.add("a")
	if ended := b.remove("a"); ended != nil {
		t.Errorf("it ended as %+v before the other had failed", ended)
	}
	reached := b.reached
	var ended *fanOut
	for range patienceWithOne + 2 {
		if _, now := b.failed("broken"); now != nil {
			if ended != nil {
				t.Error("it ended twice")
			}
			ended = now
		}
	}
	if ended == nil || ended.done != 1 || ended.left != 1 || ended.took != reached.Sub(b.began) {
		t.Errorf("it ended as %+v, want with what could be reached", ended)
	}
	b.add("broken") // the next change
	b.add("a")
	if ended := b.remove("a"); ended == nil || ended.done != 1 || ended.left != 1 {
		t.Errorf("the next ended as %+v", ended)
	}
	if n, sum := b.measured(t); n != 2 || sum > time.Minute {
		t.Errorf("%d durations of %s, want 2", n, sum)
	}
	if ended := b.remove("broken"); ended == nil || ended.done != 1 || ended.left != 0 {
		t.Errorf("after it is mended: %+v", ended)
	}
	if n, _ := b.measured(t); n != 2 {
		t.Errorf("%d durations, want no more: nobody waited for it", n)
	}
}

// Where nothing at all could be written there is nothing to measure.
func TestBehindAlone(t *testing.T) {
	t.Parallel()
	b := newBehind()
	b.add("broken")
	for range patienceWithOne {
		if _, ended := b.failed("broken"); ended != nil {
			t.Errorf("it ended as %+v", ended)
		}
	}
	if n, _ := b.measured(t); n != 0 || b.count() != 1 {
		t.Errorf("%d durations, %d behind", n, b.count())
	}
}
