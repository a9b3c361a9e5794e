// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// slice is the width of the histograms below, in virtual time.
const slice = time.Minute

// renewalsOf counts, for so long, the renewals of volumes that got their first
// documents within a window from the beginning, by slices of time. A renewal that
// is due in an outage comes in the minute after it. Documents last for an hour.
func renewalsOf(c *config.Config, volumes int, window, until time.Duration, outage [2]time.Duration, early int) []int {
	began, counts := time.Unix(0, 0), make([]int, until/slice)
	for i := range volumes {
		id := fmt.Sprint("csi-", i)
		at := began.Add(window * time.Duration(i) / time.Duration(volumes))
		live := &volume.Metadata{EarlyRenewals: early, Duration: time.Hour, IdentityHash: c.Policy().IdentityHash()}
		for {
			live.NotBefore, live.NotAfter = at, at.Add(live.Duration)
			if at = renewalTime(c, id, live); at.Sub(began) > outage[0] && at.Sub(began) < outage[1] {
				at = began.Add(outage[1] + time.Minute*time.Duration(i)/time.Duration(volumes))
			}
			if at.Sub(began) >= until {
				break
			}
			counts[at.Sub(began)/slice]++
			if early > 0 {
				live.EarlyRenewals = earlyAfter(c, id, live, at)
			}
		}
	}
	return counts
}

// peaks returns the greatest count of each cycle, as a multiple of the mean, and the
// least of the last one.
func peaks(counts []int, volumes int) (peaks []float64, least float64) {
	const cycle = 38 // minutes: two thirds of an hour, less half of the tenth
	mean := float64(volumes) / cycle
	for minutes := range slices.Chunk(counts, cycle) {
		peaks = append(peaks, float64(slices.Max(minutes))/mean)
		least = float64(slices.Min(minutes)) / mean
	}
	return peaks, least
}

// Whatever makes a crowd, no later minute has more than twice the renewals that it
// has when they come evenly, give or take chance, and two cycles later they do.
func TestCrowdsPart(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Certificate.Duration = time.Hour
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
		// The issuer is away for 19 minutes, so that no document has expired. Those
		// that waited for less than six have parted by that already.
		{"after an outage", cycle * time.Minute, [2]time.Duration{300 * time.Minute, 319 * time.Minute}, 13},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, least := peaks(renewalsOf(c, volumes, row.window, 16*cycle*time.Minute, row.outage, earlyRenewals), volumes)
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
			tenth, _ := peaks(renewalsOf(c, volumes, row.window, 16*cycle*time.Minute, row.outage, 0), volumes)
			t.Logf("the same, were each early by up to a tenth: %.1f", tenth)
			if row.window < cycle*time.Minute && tenth[3] < 2*got[3] {
				t.Errorf("a tenth alone makes at most %.2f times the mean in the fourth cycle, and this %.2f", tenth[3], got[3])
			}
		})
	}
}

func TestEarlyAfter(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Certificate.Duration = time.Hour
	began := time.Unix(0, 0)
	good := volume.Metadata{NotBefore: began, NotAfter: began.Add(time.Hour), Duration: time.Hour, IdentityHash: c.Policy().IdentityHash()}
	for _, row := range []struct {
		name     string
		early    int
		identity string
		late     time.Duration
		want     int
	}{
		{"the first renewal", 2, "", 0, 1},
		{"the second", 1, "", 0, 0},
		{"a later one", 0, "", 0, 0},
		{"a little late", 0, "", 5 * time.Minute, 0},
		{"late", 0, "", 7 * time.Minute, earlyRenewals},
		{"late at first", 2, "", 7 * time.Minute, earlyRenewals},
		{"a re-issue", 0, "other", -20 * time.Minute, earlyRenewals},
	} {
		live := good
		live.EarlyRenewals, live.IdentityHash = row.early, row.identity+live.IdentityHash
		if got := earlyAfter(c, "csi-1", &live, renewalTime(c, "csi-1", &live).Add(row.late)); got != row.want {
			t.Errorf("%s: %d early renewals, want %d", row.name, got, row.want)
		}
	}
}
