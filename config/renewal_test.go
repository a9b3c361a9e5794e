// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"fmt"
	"testing"
	"testing/quick"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

func TestRenewalTime(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		certificate string
		lifetime    time.Duration
		// latest is without jitter, counted from notBefore.
		latest time.Duration
	}{
		"default":                      {"{}", time.Hour, 40*time.Minute + 12*time.Second},
		"percentage":                   {"{renewBeforePercentage: 50}", time.Hour, 30 * time.Minute},
		"percentage of what was given": {"{renewBeforePercentage: 50}", time.Minute, 30 * time.Second},
		"fixed":                        {"{renewBefore: 20m}", time.Hour, 40 * time.Minute},
		"fixed, one second more":       {"{renewBefore: 20m}", 20*time.Minute + time.Second, time.Second},
		"fixed, as long as lifetime":   {"{renewBefore: 20m}", 20 * time.Minute, 804 * time.Second},
		"fixed, longer than lifetime":  {"{renewBefore: 20m}", 100 * time.Second, 67 * time.Second},
		"one nanosecond":               {"{}", 1, 1},
		"no lifetime":                  {"{}", 0, 0},
		"ends before it begins":        {"{}", -time.Hour, 0},
	}
	notBefore := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := parse(t, minimal+"certificate: "+test.certificate)
			latest := notBefore.Add(test.latest)
			earliest := latest.Add(-test.latest / 10)
			for i := range 100 {
				got := c.RenewalTime(notBefore, notBefore.Add(test.lifetime), fmt.Sprint("volume-", i))
				if got.Before(earliest) || got.After(latest) {
					t.Fatalf("seed %d: got %v, want from %v to %v", i, got, earliest, latest)
				}
				early := c.EarlyRenewalTime(notBefore, notBefore.Add(test.lifetime), fmt.Sprint("volume-", i))
				if early.Before(latest.Add(-test.latest/2)) || early.After(latest) {
					t.Fatalf("seed %d: early is %v, want up to half of the time earlier than %v", i, early, latest)
				}
			}
		})
	}
}

// Whatever the issuer signed for, renewal is within the lifetime, before its
// end, and the same each time.
func TestRenewalTimeProperties(t *testing.T) {
	t.Parallel()
	configs := []*config.Config{
		parse(t, minimal),
		parse(t, minimal+"certificate: {renewBefore: 20m}"),
		parse(t, minimal+"certificate: {renewBeforePercentage: 1}"),
		parse(t, minimal+"certificate: {renewBeforePercentage: 99}"),
	}
	property := func(start uint32, lifetime uint32, seed string) bool {
		notBefore := time.Unix(int64(start), 0)
		notAfter := notBefore.Add(time.Duration(lifetime)*time.Second + time.Second)
		for _, c := range configs {
			got := c.RenewalTime(notBefore, notAfter, seed)
			if got.Before(notBefore) || !got.Before(notAfter) || !got.Equal(c.RenewalTime(notBefore, notAfter, seed)) {
				return false
			}
			early := c.EarlyRenewalTime(notBefore, notAfter, seed)
			if early.Before(notBefore) || !early.Before(notAfter) || !early.Equal(c.EarlyRenewalTime(notBefore, notAfter, seed)) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}

// 110 volumes of one node that were filled at the same moment are not renewed
// at the same moment: each tenth of the window has some of them.
func TestRenewalTimeSpreads(t *testing.T) {
	t.Parallel()
	c := parse(t, minimal+"certificate: {renewBeforePercentage: 50}")
	notBefore := time.Unix(0, 0)
	var tenths [10]int
	for i := range 110 {
		at := c.RenewalTime(notBefore, notBefore.Add(200*time.Second), fmt.Sprint("csi-", i))
		early := notBefore.Add(100 * time.Second).Sub(at)
		tenths[min(9, early/time.Second)]++
	}
	for i, n := range tenths {
		if n == 0 {
			t.Errorf("no renewal in tenth %d: %v", i, tenths)
		}
	}
}
