// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

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
	r.Scheduler = issuance.NewScheduler(limit, func(_ context.Context, id string) {
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
		s = issuance.NewScheduler(1, func(_ context.Context, id string) {
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
		s := issuance.NewScheduler(1, func(ctx context.Context, _ string) {
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

// Whoever is asked before a call is told how late it is, holds up the others, and
// may take long enough for the call not to be wanted any more. Then the next one
// has waited, too.
func TestSchedulerAsksBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		began := time.Now()
		var calls []string
		s := issuance.NewScheduler(1, func(_ context.Context, id string) {
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

// settableClock is a wall clock that is set, beside one that only runs forwards:
// the clock of a machine cannot be set for one test.
type settableClock struct {
	began time.Time

	mu sync.Mutex
	// ahead is by how much the wall clock was set, or for how long the machine
	// was suspended.
	ahead time.Duration
}

func (c *settableClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead).Round(0)
}

func (c *settableClock) Running() time.Duration { return time.Since(c.began) }

func (c *settableClock) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += by
}

// Renewals are due by the wall clock, however it is set, and attempts after a
// failure by the time that has passed.
func TestSchedulerFollowsTheWallClock(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		// told is whether the kernel tells of the change.
		told bool
		// by is how the clock is set ten minutes after the beginning.
		by time.Duration
		// want is when the calls come, after the beginning.
		want map[string]time.Duration
	}{
		{"not set", true, 0, map[string]time.Duration{"at 1h": time.Hour, "at 2h": 2 * time.Hour, "after 1h30m": 90 * time.Minute}},
		{"forwards", true, 30 * time.Minute, map[string]time.Duration{"at 1h": 30 * time.Minute, "at 2h": 90 * time.Minute, "after 1h30m": 90 * time.Minute}},
		{"forwards beyond what is due", true, 3 * time.Hour, map[string]time.Duration{"at 1h": 10 * time.Minute, "at 2h": 10 * time.Minute, "after 1h30m": 90 * time.Minute}},
		{"backwards", true, -5 * time.Minute, map[string]time.Duration{"at 1h": 65 * time.Minute, "at 2h": 125 * time.Minute, "after 1h30m": 90 * time.Minute}},
		{"backwards by a day", true, -24 * time.Hour, map[string]time.Duration{"at 1h": 25 * time.Hour, "at 2h": 26 * time.Hour, "after 1h30m": 90 * time.Minute}},
		{"forwards, unheard", false, 3 * time.Hour, map[string]time.Duration{"at 1h": 11 * time.Minute, "at 2h": 11 * time.Minute, "after 1h30m": 90 * time.Minute}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				clock := &settableClock{began: time.Now()}
				var mu sync.Mutex
				called := map[string]time.Duration{}
				s := issuance.NewSchedulerWithClock(1, func(_ context.Context, id string) {
					mu.Lock()
					defer mu.Unlock()
					called[id] = time.Since(clock.began)
				}, clock)
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { s.Run(ctx) })
				s.Schedule("at 2h", clock.Wall().Add(2*time.Hour))
				s.Schedule("at 1h", clock.Wall().Add(time.Hour))
				s.ScheduleAfter("after 1h30m", 90*time.Minute)

				time.Sleep(10*time.Minute + time.Second/2)
				clock.set(row.by)
				if row.told {
					s.Wake()
				}
				time.Sleep(48 * time.Hour)
				cancel()
				running.Wait()
				for id, want := range row.want {
					if late := called[id] - want; late < 0 || late > 2*time.Second {
						t.Errorf("%q was called after %s, want %s", id, called[id], want)
					}
				}
			})
		})
	}
}

// setClockVariable allows a test to set the machine's clock, to what it is.
const setClockVariable = "CSI_DRIVER_SPIFFE_TEST_SET_CLOCK"

// The kernel tells when the wall clock is set. The clock is set to what it says.
func TestFollowClockHearsThatTheClockWasSet(t *testing.T) {
	if os.Getenv(setClockVariable) == "" {
		t.Skipf("sets the clock of the machine, to the time that it is: allow that with %s=1 (make torture does)", setClockVariable)
	}
	var mu sync.Mutex
	var called []string
	clock := &settableClock{began: time.Now()}
	s := issuance.NewSchedulerWithClock(1, func(_ context.Context, id string) {
		mu.Lock()
		defer mu.Unlock()
		called = append(called, id)
	}, clock)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	running.Go(func() {
		if err := s.FollowClock(ctx); err != nil {
			t.Error(err)
		}
	})
	s.Schedule("a", clock.Wall().Add(time.Hour))
	clock.set(2 * time.Hour) // which nobody is told of, but for:
	deadline := time.Now().Add(10 * time.Second)
	for {
		now := unix.NsecToTimespec(time.Now().UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
			t.Skipf("the clock cannot be set: %v", err)
		}
		mu.Lock()
		done := slices.Contains(called, "a")
		mu.Unlock()
		if done {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody heard that the clock was set")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	running.Wait()
}

func TestFollowClockEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := issuance.NewScheduler(1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.FollowClock(ctx) }()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Whoever follows the clock is told when it was set, and only then.
func TestSchedulerTellsThatTheClockWasSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := &settableClock{began: time.Now()}
		told := 0
		s := issuance.NewSchedulerWithClock(1, func(context.Context, string) {}, clock)
		s.ClockSet = func() { told++ }
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx)
		s.Schedule("a", clock.Wall().Add(time.Hour))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if told != 0 {
			t.Errorf("told %d times of a clock that was not set", told)
		}
		clock.set(-time.Hour)
		s.Wake()
		synctest.Wait()
		if told != 1 {
			t.Errorf("told %d times that the clock was set back once", told)
		}
		cancel()
		synctest.Wait()
	})
}
