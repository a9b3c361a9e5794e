// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// recorder notes which volume was called when, in virtual time.
type recorder struct {
	*issuance.Scheduler
	began time.Time
	stop  func()

	mu    sync.Mutex
	calls []string
}

// record runs a scheduler in the bubble of a test. Each call takes as long as
// duration says.
func record(t *testing.T, limit int, duration time.Duration) *recorder {
	t.Helper()
	r := &recorder{began: time.Now()}
	r.Scheduler = issuance.NewScheduler(limit, func(_ context.Context, id string, _ func()) {
		r.mu.Lock()
		r.calls = append(r.calls, fmt.Sprintf("%s at %s", id, time.Since(r.began)))
		r.mu.Unlock()
		time.Sleep(duration)
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	return r
}

// at schedules a volume at a time after the beginning.
func (r *recorder) at(id string, after time.Duration) { r.Schedule(id, r.began.Add(after)) }

// mustHaveCalled waits until a time after the beginning, and compares.
func (r *recorder) mustHaveCalled(t *testing.T, until time.Duration, want ...string) {
	t.Helper()
	time.Sleep(time.Until(r.began.Add(until)))
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.calls, want) {
		t.Errorf("after %s: called %q, want %q", until, r.calls, want)
	}
}

func TestSchedulerCallsEachVolumeAtItsTime(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		do   func(r *recorder)
		want []string
	}{
		{"nothing", func(*recorder) {}, nil},
		{"in the order of their times", func(r *recorder) {
			r.at("c", 3*time.Minute)
			r.at("a", time.Second)
			r.at("b", 2*time.Minute)
		}, []string{"a at 1s", "b at 2m0s", "c at 3m0s"}},
		{"at once what is due already", func(r *recorder) { r.at("a", -time.Hour) }, []string{"a at 0s"}},
		{"to the second after a long wait", func(r *recorder) { r.at("a", 5*time.Hour+7*time.Second) }, []string{"a at 5h0m7s"}},
		{"later than was said before", func(r *recorder) {
			r.at("a", time.Minute)
			r.at("a", time.Hour)
		}, []string{"a at 1h0m0s"}},
		{"earlier than was said before", func(r *recorder) {
			r.at("a", time.Hour)
			synctest.Wait() // the timer is set for the first
			r.at("a", time.Minute)
		}, []string{"a at 1m0s"}},
		{"the next when the first is put off", func(r *recorder) {
			r.at("a", time.Minute)
			r.at("b", 2*time.Minute)
			r.at("a", time.Hour)
		}, []string{"b at 2m0s", "a at 1h0m0s"}},
		{"not what was cancelled", func(r *recorder) {
			r.at("a", time.Minute)
			r.at("b", 2*time.Minute)
			r.Cancel("a")
			r.Cancel("never scheduled")
		}, []string{"b at 2m0s"}},
		{"what was cancelled and scheduled again", func(r *recorder) {
			r.at("a", time.Minute)
			r.Cancel("a")
			r.at("a", 2*time.Minute)
		}, []string{"a at 2m0s"}},
		{"one from the middle of many cancelled", func(r *recorder) {
			for i := range 9 {
				r.at(strconv.Itoa(i), time.Duration(i)*time.Second)
			}
			for _, id := range []string{"4", "1", "8", "6", "7", "2"} {
				r.Cancel(id)
			}
		}, []string{"0 at 0s", "3 at 3s", "5 at 5s"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := record(t, 2, 0)
				row.do(r)
				r.mustHaveCalled(t, 24*time.Hour, row.want...)
				r.stop()
			})
		})
	}
}

func TestSchedulerIsDueOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, 1, 0)
		r.at("a", time.Minute)
		r.mustHaveCalled(t, time.Hour, "a at 1m0s")
		r.at("a", 2*time.Hour)
		r.mustHaveCalled(t, 3*time.Hour, "a at 1m0s", "a at 2h0m0s")
		r.stop()
	})
}

func TestSchedulerLimitsConcurrentCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, 2, time.Minute)
		for i, id := range []string{"a", "b", "c", "d", "e"} {
			r.at(id, time.Duration(i)*time.Second)
		}
		r.mustHaveCalled(t, time.Hour, "a at 0s", "b at 1s", "c at 1m0s", "d at 1m1s", "e at 2m0s")
		r.stop()
	})
}

// A call that only waits makes room for another, once, and is waited for in the end.
func TestSchedulerCallGivesItsSlotBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var told []string
		tell := func(what, id string) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%s %s at %s", id, what, time.Since(began)))
		}
		s := issuance.NewScheduler(1, func(ctx context.Context, id string, release func()) {
			tell("began", id)
			defer tell("ended", id)
			time.Sleep(time.Second)
			if id == "waits" {
				release()
				release() // and not that of another
				<-ctx.Done()
			}
		})
		for i, id := range []string{"waits", "a", "b"} {
			s.Schedule(id, began.Add(time.Duration(i)*time.Millisecond))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.Run(ctx)
		want := []string{"waits began at 0s", "a began at 1s", "a ended at 2s", "b began at 2s", "b ended at 3s", "waits ended at 1m0s"}
		if !slices.Equal(told, want) {
			t.Errorf("got  %q\nwant %q", told, want)
		}
	})
}

// What waits for its turn has not begun: it can still be cancelled or put off.
func TestSchedulerForgetsWhatWaitsForASlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, 1, time.Minute)
		r.at("a", 0)
		r.at("cancelled", time.Second)
		r.at("put off", 2*time.Second)
		r.at("b", 3*time.Second)
		time.Sleep(10 * time.Second)
		r.Cancel("cancelled")
		r.at("put off", time.Hour)
		r.mustHaveCalled(t, 2*time.Hour, "a at 0s", "b at 1m0s", "put off at 1h0m0s")
		r.stop()
	})
}

func TestSchedulerMayBeChangedByItsCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s *issuance.Scheduler
		calls := 0
		s = issuance.NewScheduler(1, func(_ context.Context, id string, _ func()) {
			calls++
			if calls < 5 {
				s.Schedule(id, time.Now().Add(time.Hour))
			}
		})
		go s.Run(t.Context())
		s.Schedule("a", time.Now())
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if calls != 5 {
			t.Errorf("%d calls, want 5", calls)
		}
	})
}

func TestSchedulerEndsAfterItsCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, ended := 0, 0
		s := issuance.NewScheduler(1, func(ctx context.Context, _ string, _ func()) {
			began++
			<-ctx.Done()
			time.Sleep(time.Minute) // clearing up
			ended++
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		s.Schedule("a", time.Now())
		s.Schedule("waits for a slot, and never gets one", time.Now())
		s.Schedule("much later", time.Now().Add(24*time.Hour))
		start := time.Now()
		s.Run(ctx)
		if took := time.Since(start); took != time.Hour+time.Minute {
			t.Errorf("Run returned after %s, want 1h1m", took)
		}
		if began != 1 || ended != 1 {
			t.Errorf("%d calls began and %d ended, want 1 each", began, ended)
		}
		s.Run(ctx)
		if began != 1 {
			t.Error("a call when the context had ended")
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	const most = 5 * time.Minute
	for _, row := range []struct {
		failures      int
		within, whole time.Duration
	}{
		{-1, most, time.Second},
		{0, most, time.Second},
		{1, most, time.Second},
		{2, most, 2 * time.Second},
		{3, most, 4 * time.Second},
		{9, most, 256 * time.Second},
		{10, most, most},
		{64, most, most},
		{1 << 40, most, most},
		{64, time.Hour, most},
		{2, 3 * time.Second, 2 * time.Second},
		{3, 3 * time.Second, 3 * time.Second}, // and not all of them after exactly that
		{64, 3 * time.Second, 3 * time.Second},
	} {
		seen := map[time.Duration]bool{}
		for range 200 {
			got := issuance.BackoffWithin(row.failures, row.within)
			if row.within == most {
				got = issuance.Backoff(row.failures)
			}
			if got < row.whole/2 || got > row.whole {
				t.Fatalf("after %d failures, within %s: %s, want %s to %s", row.failures, row.within, got, row.whole/2, row.whole)
			}
			seen[got] = true
		}
		if len(seen) < 100 {
			t.Errorf("after %d failures, within %s: %d different waits of 200", row.failures, row.within, len(seen))
		}
	}
}

// Whoever is asked before a call is told how late it is, holds up the others, and
// may take long enough for the call not to be wanted any more. Then the next one
// has waited, too.
func TestSchedulerAsksBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		began := time.Now()
		var calls []string
		s := issuance.NewScheduler(1, func(_ context.Context, id string, _ func()) {
			calls = append(calls, fmt.Sprintf("%s at %s", id, time.Since(began)))
		})
		s.Before = func(_ context.Context, id string, late time.Duration) {
			asked = append(asked, fmt.Sprintf("%s late by %s", id, late))
			if id == "b" {
				s.Cancel("b")
			}
			time.Sleep(2 * time.Second)
		}
		for i, id := range []string{"a", "b", "c"} {
			s.Schedule(id, began.Add(time.Duration(i+1)*time.Second))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.Run(ctx)
		if want := []string{"a late by 0s", "b late by 1s"}; !slices.Equal(asked, want) {
			t.Errorf("asked %q, want %q", asked, want)
		}
		if want := []string{"a at 3s", "c at 5s"}; !slices.Equal(calls, want) {
			t.Errorf("called %q, want %q", calls, want)
		}
	})
}
