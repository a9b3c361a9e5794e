// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

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
				s := issuance.NewSchedulerWithClock(1, func(_ context.Context, id string, _ func()) {
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

// What people are told is by the wall clock as it is now.
func TestSchedulerSaysWhenAVolumeIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := &settableClock{began: time.Now()}
		s := issuance.NewSchedulerWithClock(1, nil, clock)
		at := clock.Wall().Add(time.Hour)
		s.Schedule("a", at)
		s.ScheduleAfter("b", time.Minute)
		clock.set(time.Hour)
		if got, ok := s.Due("a"); !ok || !got.Equal(at) {
			t.Errorf("a is due at %s, %v, want %s", got, ok, at)
		}
		if got, ok := s.Due("b"); !ok || !got.Equal(clock.Wall().Add(time.Minute)) {
			t.Errorf("b is due at %s, %v", got, ok)
		}
		if _, ok := s.Due("c"); ok {
			t.Error("knows of a volume that it was not told of")
		}
	})
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
	s := issuance.NewSchedulerWithClock(1, func(_ context.Context, id string, _ func()) {
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
		s := issuance.NewSchedulerWithClock(1, func(context.Context, string, func()) {}, clock)
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
