// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"errors"
	"testing"
	"testing/quick"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// An SVID is used from when it was obtained, for as long as it is valid, and no longer
// than was requested.
func TestLifetime(t *testing.T) {
	t.Parallel()
	obtained := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := obtained.Add
	const year = 365 * 24 * time.Hour
	for _, row := range []struct {
		name                string
		notBefore, notAfter time.Time
		from, until         time.Time
		overlong, short     bool
	}{
		{"as requested", at(0), at(time.Hour), at(0), at(time.Hour), false, false},
		{"dated back by an hour", at(-time.Hour), at(time.Hour), at(0), at(time.Hour), false, false},
		{"dated back by a year", at(-year), at(time.Hour), at(0), at(time.Hour), false, false},
		{"signed a while ago", at(-5 * time.Minute), at(55 * time.Minute), at(0), at(55 * time.Minute), false, false},
		{"the issuer's clock is behind", at(-20 * time.Second), at(time.Hour - 20*time.Second), at(0), at(time.Hour - 20*time.Second), false, false},
		{"the issuer's clock is ahead", at(30 * time.Second), at(time.Hour + 30*time.Second), at(30 * time.Second), at(time.Hour + 30*time.Second), false, false},
		{"the issuer's clock is far ahead", at(time.Hour), at(2 * time.Hour), at(time.Hour), at(2 * time.Hour), false, false},
		{"less than requested", at(0), at(20 * time.Minute), at(0), at(20 * time.Minute), false, true},
		{"less than requested, dated back", at(-time.Hour), at(20 * time.Minute), at(0), at(20 * time.Minute), false, true},
		{"two hours", at(0), at(2 * time.Hour), at(0), at(time.Hour), true, false},
		{"ten years", at(-time.Minute), at(10 * year), at(0), at(time.Hour), true, false},
		{"ten years, dated back by a day", at(-24 * time.Hour), at(10 * year), at(0), at(time.Hour), true, false},
		{"ten years, the issuer's clock ahead", at(time.Minute), at(10 * year), at(time.Minute), at(time.Hour + time.Minute), true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := lifecycle.Lifetime{NotBefore: row.notBefore, NotAfter: row.notAfter, Obtained: obtained, Requested: time.Hour}
			if !l.From().Equal(row.from) || !l.Until().Equal(row.until) || l.Length() != row.until.Sub(row.from) {
				t.Errorf("used from %s until %s, want %s to %s", l.From(), l.Until(), row.from, row.until)
			}
			if l.IsOverlong() != row.overlong || l.IsShort() != row.short {
				t.Errorf("longer than requested: %t, shorter: %t, want %t and %t", l.IsOverlong(), l.IsShort(), row.overlong, row.short)
			}
		})
	}
}

// Whatever notBefore an issuer has chosen in the past, everything that depends on the
// lifetime is as if it had chosen now.
func TestNotBeforeInThePastMakesNoDifference(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	timings := []lifecycle.Timing{{RenewBeforePercentage: 33}, {RenewBefore: 20 * time.Minute, RenewBeforePercentage: 33}, {RenewBeforePercentage: 90}}
	property := func(back uint32, lasts, passed uint16, early uint8, seed string) bool {
		for _, timing := range timings {
			good := lifecycle.Volume{SVID: lifecycle.SVID{Lifetime: lifecycle.Lifetime{
				NotBefore: now, NotAfter: now.Add(time.Duration(lasts)*time.Second + time.Second), Obtained: now, Requested: time.Hour,
			}}, EarlyRenewals: int(early % 3)}
			datedBack, then := good, now.Add(time.Duration(passed)*time.Second)
			datedBack.NotBefore = now.Add(-time.Duration(back) * time.Second)
			if !timing.RenewalTime(seed, good).Equal(timing.RenewalTime(seed, datedBack)) ||
				good.IsStale(then) != datedBack.IsStale(then) || good.LongestRetry(then) != datedBack.LongestRetry(then) ||
				good.IsOverlong() != datedBack.IsOverlong() || !timing.RenewalTime(seed, datedBack).After(now) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}

// What is left of a volume's lifetime bounds the wait before the next attempt, but when
// there is nothing left to lose.
func TestLongestRetry(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		name             string
		left, passed     time.Duration
		datedBack, wants time.Duration
	}{
		{"an hour", time.Hour, 0, 0, 6 * time.Minute},
		{"an hour, dated back by a day", time.Hour, 0, 24 * time.Hour, 6 * time.Minute},
		{"twenty seconds", 20 * time.Second, 0, 0, 2 * time.Second},
		{"two seconds", 2 * time.Second, 0, 0, time.Second},
		{"two seconds, dated back by a day", 2 * time.Second, 0, 24 * time.Hour, time.Second},
		{"two seconds, and they are over", 2 * time.Second, 3 * time.Second, 0, 6 * time.Minute},
		{"over when it came", -time.Second, 0, time.Hour, 6 * time.Minute},
	} {
		l := lifecycle.Lifetime{NotBefore: now.Add(-row.datedBack), NotAfter: now.Add(row.left), Obtained: now, Requested: time.Hour}
		if got := l.LongestRetry(now.Add(row.passed)); got != row.wants {
			t.Errorf("%s: %s, want %s", row.name, got, row.wants)
		}
	}
}

// A certificate that has expired is rejected, and one that is valid so late that the
// volume should rather get another when the issuer's clock has been set.
func TestUnusable(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name        string
		from, until time.Duration
		requested   time.Duration
		want        string
	}{
		{"valid", -time.Minute, time.Hour, time.Hour, ""},
		{"expires now", -time.Hour, 0, time.Hour, ""},
		{"has expired", -time.Hour, -time.Minute, time.Hour, "it expired at 2026-01-02T03:03:05Z, 1m0s ago by this node's clock; set the clocks of the issuer and the node, by NTP"},
		{"ahead by seconds", 3 * time.Second, time.Hour, time.Hour, ""},
		{"ahead by as long as requested", time.Hour, 2 * time.Hour, time.Hour, ""},
		{
			"ahead by longer than requested", time.Hour + time.Second, 2 * time.Hour, time.Hour,
			"the certificate is not valid yet: the issuer's clock is ahead by 1h0m1s, which is longer than certificate.duration, or this node's clock is behind; set the clocks of the issuer and the node, by NTP",
		},
		{"ends before it begins", 50 * time.Second, 30 * time.Second, time.Hour, "it is valid at no time: from 2026-01-02T03:04:55Z until 2026-01-02T03:04:35Z; fix the issuer"},
		{"valid this moment alone", 0, 0, time.Hour, ""},
		{"ahead, and nobody knows how long it was to last", 365 * 24 * time.Hour, 366 * 24 * time.Hour, 0, ""},
	} {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		l := lifecycle.Lifetime{NotBefore: now.Add(row.from), NotAfter: now.Add(row.until), Obtained: now, Requested: row.requested}
		err := l.Unusable(now)
		var unusable *lifecycle.UnusableError
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", row.name, err)
		case row.want != "" && (!errors.As(err, &unusable) || err.Error() != row.want):
			t.Errorf("%s:\n%v, want\n%s", row.name, err, row.want)
		}
	}
}

// A node boots with a clock that is wrong, publishes a pod, and has its clock set by NTP.
// The issuer's clock is right all the time. From then on the renewal is due as it would
// be had the clock been right.
func TestRenewalAfterTheClockOfABootingNodeWasSet(t *testing.T) {
	t.Parallel()
	signed := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	right := lifecycle.Volume{SVID: lifecycle.SVID{Lifetime: lifecycle.Lifetime{
		NotBefore: signed, NotAfter: signed.Add(time.Hour), Obtained: signed, Requested: time.Hour,
	}}}
	for name, ahead := range map[string]time.Duration{
		"right": 0, "an hour behind": -time.Hour, "a day behind": -24 * time.Hour, "in 1970": -signed.Sub(time.Unix(0, 0)),
	} {
		wrong := right
		wrong.Obtained = signed.Add(ahead)
		timing := lifecycle.Timing{RenewBeforePercentage: 33}
		if got, want := timing.RenewalTime(volumeID, wrong), timing.RenewalTime(volumeID, right); !got.Equal(want) {
			t.Errorf("%s: it is due at %s, and with a clock that is right at %s", name, got, want)
		}
	}
	wrong := right
	wrong.Obtained = signed.Add(time.Hour + time.Second)
	if wrong.Unusable(wrong.Obtained) == nil {
		t.Error("an hour ahead: it is used, though it seems to have expired")
	}
}
