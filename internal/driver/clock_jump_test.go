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

// A clock that was ahead when the SVID was obtained, and is set back, is not waited for:
// the renewal is due as if the SVID had been obtained then.
func TestRenewalIsPlannedAnewWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		ahead, duration time.Duration
		failures        int
		anew            bool
	}{
		"an hour ahead of twice the duration":              {time.Hour, 2 * time.Hour, 0, true},
		"an hour ahead of a little less than the duration": {time.Hour, 65 * time.Minute, 0, true},
		"a second ahead as clocks differ":                  {time.Second, time.Hour, 0, false},
		"right":                                            {0, time.Hour, 0, false},
		"the next attempt after a failure stays":           {time.Hour, 2 * time.Hour, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireRoot(t)
			n := newNode(t)
			line := "certificate: {duration: " + row.duration.String() + "}"
			c := testConfig(t, line)
			now := time.Now()
			meta := n.metadata()
			meta.NotBefore, meta.NotAfter, meta.Duration = now.Truncate(time.Second), now.Add(row.duration).Truncate(time.Second), row.duration
			meta.Obtained, meta.IdentityHash = now, c.Policy().IdentityHash()
			check(t, n.store.Write(testVolume, svidFiles(t, meta.NotBefore, meta.NotAfter), meta))
			check(t, n.store.Mount(testVolume, n.target))
			d, _, err := n.start(t, line)
			check(t, err)
			state := d.volumes.acquire(testVolume)
			wrong := *state.metadata()
			wrong.Obtained = now.Add(row.ahead)
			state.live, state.failures = &wrong, row.failures
			d.schedule.Schedule(testVolume, renewalTime(c, testVolume, &wrong))
			before, _ := d.schedule.Due(testVolume)
			d.correctObtained()
			d.background.Wait()
			due, _ := d.schedule.Due(testVolume)
			if !row.anew {
				if !due.Equal(before) {
					t.Errorf("it is due %s later than before", due.Sub(before))
				}
				return
			}
			right := wrong
			right.Obtained = now
			if late := due.Sub(renewalTime(c, testVolume, &right)); late < 0 || late > 5*time.Second {
				t.Errorf("it is due %s later than with a clock that is right, %s before it expires", late, meta.NotAfter.Sub(due))
			}
			if noted, err := n.store.ReadMetadata(testVolume); err != nil || noted.Obtained.After(time.Now()) {
				t.Errorf("the next process is told that it was obtained at %s, %v", noted.Obtained, err)
			}
		})
	}
}
