// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// A node boots with a clock that is wrong, publishes a pod, and has its clock set by NTP.
// The issuer's clock is right all the time. From then on the renewal is due as it would
// be had the clock been right, or earlier: the SVID expires by the right time.
func TestRenewalAfterTheClockOfABootingNodeWasSet(t *testing.T) {
	t.Parallel()
	signed := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		// ahead is by how much the node's clock is ahead of the issuer's when it gets the
		// certificate.
		ahead    time.Duration
		duration time.Duration
		// expired is whether the SVID seems to have expired then, so that no pod gets it.
		expired bool
	}{
		"right":          {0, time.Hour, false},
		"an hour behind": {-time.Hour, time.Hour, false},
		"a day behind":   {-24 * time.Hour, time.Hour, false},
		"in 1970":        {-signed.Sub(time.Unix(0, 0)), time.Hour, false},
		"an hour ahead":  {time.Hour + time.Second, time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testConfig(t)
			right := &volume.Metadata{NotBefore: signed, NotAfter: signed.Add(row.duration), Obtained: signed, Duration: row.duration}
			wrong := *right
			wrong.Obtained = signed.Add(row.ahead)
			if got := lifetimeOf(&wrong).hasEnded(wrong.Obtained); got != row.expired {
				t.Fatalf("expired: %t, want %t", got, row.expired)
			}
			if row.expired {
				return
			}
			got, want := renewalTime(c, testVolume, &wrong), renewalTime(c, testVolume, right)
			if late := got.Sub(want); late > 0 {
				t.Errorf("it is due %s after it was signed, %s later than with a clock that is right, and %s before it expires",
					got.Sub(signed), late, right.NotAfter.Sub(got))
			}
			if got.Before(want) {
				t.Errorf("it is due %s after it was signed, %s earlier than with a clock that is right", got.Sub(signed), want.Sub(got))
			}
		})
	}
}
