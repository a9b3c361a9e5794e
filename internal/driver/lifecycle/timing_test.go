// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/quick"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// lasting is a volume with an SVID of a lifetime that was just obtained, as it was requested.
func lasting(from time.Time, lifetime time.Duration, early int) lifecycle.Volume {
	return lifecycle.Volume{EarlyRenewals: early, SVID: lifecycle.SVID{Lifetime: lifecycle.Lifetime{
		NotBefore: from, NotAfter: from.Add(lifetime), Obtained: from,
	}}}
}

func TestRenewalTime(t *testing.T) {
	t.Parallel()
	third, half := lifecycle.Timing{RenewBeforePercentage: 33}, lifecycle.Timing{RenewBeforePercentage: 50}
	fixed := lifecycle.Timing{RenewBefore: 20 * time.Minute, RenewBeforePercentage: 33}
	from := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name     string
		timing   lifecycle.Timing
		lifetime time.Duration
		// latest is without jitter.
		latest time.Duration
	}{
		{"default", third, time.Hour, 40*time.Minute + 12*time.Second},
		{"percentage", half, time.Hour, 30 * time.Minute},
		{"percentage of what was given", half, time.Minute, 30 * time.Second},
		{"fixed", fixed, time.Hour, 40 * time.Minute},
		{"fixed, one second more", fixed, 20*time.Minute + time.Second, time.Second},
		{"fixed, as long as lifetime", fixed, 20 * time.Minute, 804 * time.Second},
		{"fixed, longer than lifetime", fixed, 100 * time.Second, 67 * time.Second},
		{"one nanosecond", third, 1, 1},
		{"no lifetime", third, 0, 0},
		{"ends before it begins", third, -time.Hour, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			latest := from.Add(row.latest)
			for i := range 100 {
				id := fmt.Sprint("volume-", i)
				if got := row.timing.RenewalTime(id, lasting(from, row.lifetime, 0)); got.Before(latest.Add(-row.latest/10)) || got.After(latest) {
					t.Fatalf("%s: got %v, want at most a tenth earlier than %v", id, got, latest)
				}
				if got := row.timing.RenewalTime(id, lasting(from, row.lifetime, 1)); got.Before(latest.Add(-row.latest/2)) || got.After(latest) {
					t.Fatalf("%s: early is %v, want at most half of the time earlier than %v", id, got, latest)
				}
			}
		})
	}
}

// An issuer that signs for ever shorter is not asked ever faster.
func TestRenewalTimeKeepsALeastInterval(t *testing.T) {
	t.Parallel()
	from := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for requested, want := range map[time.Duration]time.Duration{time.Hour: 10 * time.Second, 5 * time.Minute: 5 * time.Second, 0: time.Second} {
		v := lasting(from, time.Second, 0)
		v.Requested = requested
		got := lifecycle.Timing{RenewBeforePercentage: 33}.RenewalTime(volumeID, v).Sub(from)
		if requested > 0 && got != want || got > want {
			t.Errorf("of an SVID for a second, requested for %s: renewed after %s, want %s", requested, got, want)
		}
	}
}

// Whatever the issuer signed for, renewal is within the lifetime, before its end, and the
// same each time.
func TestRenewalTimeProperties(t *testing.T) {
	t.Parallel()
	timings := []lifecycle.Timing{
		{RenewBeforePercentage: 33}, {RenewBefore: 20 * time.Minute, RenewBeforePercentage: 33}, {RenewBeforePercentage: 1}, {RenewBeforePercentage: 99},
	}
	property := func(start, lifetime uint32, early uint8, seed string) bool {
		v := lasting(time.Unix(int64(start), 0), time.Duration(lifetime)*time.Second+time.Second, int(early%3))
		for _, timing := range timings {
			got := timing.RenewalTime(seed, v)
			if got.Before(v.NotBefore) || !got.Before(v.NotAfter) || !got.Equal(timing.RenewalTime(seed, v)) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}

// 110 volumes of one node that were filled at the same moment are not renewed at the same
// moment: each tenth of the window has some of them.
func TestRenewalTimeSpreads(t *testing.T) {
	t.Parallel()
	from := time.Unix(0, 0)
	var tenths [10]int
	for i := range 110 {
		at := lifecycle.Timing{RenewBeforePercentage: 50}.RenewalTime(fmt.Sprint("csi-", i), lasting(from, 200*time.Second, 0))
		early := from.Add(100 * time.Second).Sub(at)
		tenths[min(9, early/time.Second)]++
	}
	if slices.Min(tenths[:]) == 0 {
		t.Errorf("no renewal in a tenth: %v", tenths)
	}
}

// AWS Private CA dates certificates back by an hour. None is due when it arrives, and they
// are renewed after the same time as others.
func TestRenewalsOfAnIssuerThatDatesBack(t *testing.T) {
	t.Parallel()
	const volumes = 2000
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct{ duration, mean time.Duration }{
		{30 * time.Minute, 19 * time.Minute},
		{35 * time.Minute, 22 * time.Minute},
		{time.Hour, 38 * time.Minute},
		{24 * time.Hour, 917 * time.Minute},
	} {
		var sum time.Duration
		for i := range volumes {
			v := lasting(now, row.duration, 0)
			v.NotBefore, v.Requested = now.Add(-time.Hour), row.duration
			due := lifecycle.Timing{RenewBeforePercentage: 33}.RenewalTime(fmt.Sprint("csi-", i), v).Sub(now)
			if due < row.duration/2 {
				t.Errorf("%s: volume %d is due after %s", row.duration, i, due)
			}
			sum += due
		}
		if mean := sum / volumes; (mean - row.mean).Abs() > time.Minute {
			t.Errorf("%s: renewed after %s on average, want %s", row.duration, mean, row.mean)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	const most = 5 * time.Minute
	for _, row := range []struct {
		name        string
		failures    int
		first, most time.Duration
		wantsAtMost time.Duration
	}{
		{"less than none", -1, time.Second, most, time.Second},
		{"none", 0, time.Second, most, time.Second},
		{"the first", 1, time.Second, most, time.Second},
		{"the second", 2, time.Second, most, 2 * time.Second},
		{"the third", 3, time.Second, most, 4 * time.Second},
		{"the ninth", 9, time.Second, most, 256 * time.Second},
		{"the tenth", 10, time.Second, most, most},
		{"many", 64, time.Second, most, most},
		{"ever so many", 1 << 40, time.Second, most, most},
		{"within seconds", 2, time.Second, 3 * time.Second, 2 * time.Second},
		{"bounded, and not all of them after exactly that", 3, time.Second, 3 * time.Second, 3 * time.Second},
		{"many, bounded", 64, time.Second, 3 * time.Second, 3 * time.Second},
		{"bounded below the first", 1, time.Second, 500 * time.Millisecond, 500 * time.Millisecond},
		{"a quota, the first", 1, 100 * time.Millisecond, time.Second, 100 * time.Millisecond},
		{"a quota, the second", 2, 100 * time.Millisecond, time.Second, 200 * time.Millisecond},
		{"a quota, the fourth", 4, 100 * time.Millisecond, time.Second, 800 * time.Millisecond},
		{"a quota, the fifth", 5, 100 * time.Millisecond, time.Second, time.Second},
		{"a quota, many", 1000, 100 * time.Millisecond, time.Second, time.Second},
	} {
		seen := map[time.Duration]bool{}
		for i := range 200 {
			got := lifecycle.Backoff(row.failures, row.first, row.most, lifecycle.Fraction(fmt.Sprint("csi-", i)))
			if got < row.wantsAtMost/2 || got > row.wantsAtMost {
				t.Fatalf("%s: %s, want %s to %s", row.name, got, row.wantsAtMost/2, row.wantsAtMost)
			}
			seen[got] = true
		}
		if len(seen) < 100 {
			t.Errorf("%s: %d different waits of 200", row.name, len(seen))
		}
	}
}

// slice is the width of the histograms below, in virtual time.
const slice = time.Minute

// renewalsOf counts, for so long, the renewals of volumes that got their first SVIDs within a
// window from the beginning, by slices of time. A renewal that is due in an outage comes in
// the minute after it. SVIDs last for an hour.
func renewalsOf(t *testing.T, volumes int, window, until time.Duration, outage [2]time.Duration, early int) []int {
	t.Helper()
	began, counts := time.Unix(0, 0), make([]int, until/slice)
	for i := range volumes {
		id := fmt.Sprint("csi-", i)
		at := began.Add(window * time.Duration(i) / time.Duration(volumes))
		left := early
		for {
			v := lasting(at, time.Hour, left)
			v.Requested, v.Identity = time.Hour, policies[0].Identity
			if at = timings[0].RenewalTime(id, v); at.Sub(began) > outage[0] && at.Sub(began) < outage[1] {
				at = began.Add(outage[1] + time.Minute*time.Duration(i)/time.Duration(volumes))
			}
			if at.Sub(began) >= until {
				break
			}
			counts[at.Sub(began)/slice]++
			if early > 0 {
				left = earlyAfter(t, id, v, at)
			}
		}
	}
	return counts
}

// peaks returns the greatest count of each cycle, as a multiple of the mean, and the least of
// the last one.
func peaks(counts []int, volumes int) (peaks []float64, least float64) {
	const cycle = 38 // minutes: two thirds of an hour, less half of the tenth
	mean := float64(volumes) / cycle
	for minutes := range slices.Chunk(counts, cycle) {
		peaks = append(peaks, float64(slices.Max(minutes))/mean)
		least = float64(slices.Min(minutes)) / mean
	}
	return peaks, least
}

// Whatever makes a crowd, no later minute has more than twice the renewals that it has when
// they come evenly, give or take chance, and two cycles later they do.
func TestCrowdsBecomeEven(t *testing.T) {
	t.Parallel()
	const volumes, cycle = 8000, 38
	for _, row := range []struct {
		name   string
		window time.Duration
		outage [2]time.Duration
		// settled is the first cycle that is even.
		settled int
	}{
		{"all at once", 0, [2]time.Duration{}, 3},
		{"all within five minutes", 5 * time.Minute, [2]time.Duration{}, 3},
		{"all within a cycle", cycle * time.Minute, [2]time.Duration{}, 3},
		// The issuer is away for 19 minutes, so that no SVID has expired. Those that waited
		// for less than six are spread by that already.
		{"after an outage", cycle * time.Minute, [2]time.Duration{300 * time.Minute, 319 * time.Minute}, 13},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, least := peaks(renewalsOf(t, volumes, row.window, 16*cycle*time.Minute, row.outage, lifecycle.EarlyRenewals), volumes)
			t.Logf("most in a minute of each cycle, as a multiple of the mean: %.1f", got)
			if worst := slices.Max(got[row.settled:]); worst > 1.9 || least < 0.6 {
				t.Errorf("from cycle %d on: at most %.2f times the mean, at least %.2f", row.settled, worst, least)
			}
			if row.outage[1] != 0 {
				return
			}
			if slices.Max(got) > 2.3 {
				t.Errorf("at most %.2f times the mean, want about 2", slices.Max(got))
			}
			tenth, _ := peaks(renewalsOf(t, volumes, row.window, 16*cycle*time.Minute, row.outage, 0), volumes)
			if row.window < cycle*time.Minute && tenth[3] < 2*got[3] {
				t.Errorf("a tenth alone makes at most %.2f times the mean in the fourth cycle, and this %.2f", tenth[3], got[3])
			}
		})
	}
}
