// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// An SVID that lasts longer than requested is renewed as if it did not.
func TestRenewalFollowsTheRequestedDuration(t *testing.T) {
	t.Parallel()
	obtained := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := obtained.Add
	const tenYears = 87600 * time.Hour
	for _, row := range []struct {
		name                string
		notBefore, notAfter time.Time
		from, until         time.Time
		overlong            bool
	}{
		{"as requested", at(0), at(time.Hour), at(0), at(time.Hour), false},
		{"dated back", at(-time.Hour), at(time.Hour), at(-time.Hour), at(time.Hour), false},
		{"the clocks differ a little", at(30 * time.Second), at(time.Hour + 30*time.Second), at(30 * time.Second), at(time.Hour + 30*time.Second), false},
		{"less than requested", at(0), at(20 * time.Minute), at(0), at(20 * time.Minute), false},
		{"two hours", at(0), at(2 * time.Hour), at(0), at(time.Hour), true},
		{"ten years", at(-time.Minute), at(tenYears), at(0), at(time.Hour), true},
		{"ten years, dated back by a day", at(-24 * time.Hour), at(tenYears), at(0), at(time.Hour), true},
		{"ten years, the issuer's clock ahead", at(time.Minute), at(tenYears), at(time.Minute), at(time.Hour), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := testConfig(t, "certificate: {duration: 1h}")
			live := &volume.Metadata{NotBefore: row.notBefore, NotAfter: row.notAfter, Obtained: obtained, Duration: time.Hour}
			if isOverlong(live) != row.overlong {
				t.Errorf("it is taken for longer than requested: %t", !row.overlong)
			}
			for range earlyRenewals + 1 {
				want := c.RenewalTime(row.from, row.until, testVolume)
				if live.EarlyRenewals > 0 {
					want = c.EarlyRenewalTime(row.from, row.until, testVolume)
				}
				if got := renewalTime(c, testVolume, live); !got.Equal(want) || got.After(at(time.Hour)) {
					t.Errorf("renewal at %s, want %s", got, want)
				}
				live.EarlyRenewals++
			}
		})
	}
}

// Of an SVID of an earlier version, or whose driver was killed before it could note it,
// nobody knows when it was obtained.
func TestGuessObtained(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := now.Add
	for _, row := range []struct {
		name                      string
		notBefore, notAfter, want time.Time
	}{
		{"as requested", at(-10 * time.Minute), at(50 * time.Minute), at(-10 * time.Minute)},
		{"dated back", at(-time.Hour), at(50 * time.Minute), at(-10 * time.Minute)},
		{"ten years", at(-10 * time.Minute), at(87600 * time.Hour), now},
		{"less than requested", at(-10 * time.Minute), at(10 * time.Minute), at(-10 * time.Minute)},
	} {
		live := &volume.Metadata{NotBefore: row.notBefore, NotAfter: row.notAfter, Duration: time.Hour}
		guessObtained(live, now)
		if !live.Obtained.Equal(row.want) {
			t.Errorf("%s: %s, want %s", row.name, live.Obtained, row.want)
		}
	}
}
