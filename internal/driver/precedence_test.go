// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestFirstMountsGoBeforeRenewals(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		// mounts are how long each of several takes that begin together.
		mounts []time.Duration
		// then is that of one that begins a second later, if any.
		then   time.Duration
		atMost time.Duration
		want   time.Duration
	}{
		{"none", nil, 0, time.Minute, 0},
		{"one", []time.Duration{time.Second}, 0, time.Minute, time.Second},
		{"until the last", []time.Duration{time.Second, 1500 * time.Millisecond}, 0, time.Minute, 1500 * time.Millisecond},
		{"one that hangs holds up nobody", []time.Duration{time.Hour}, 0, time.Minute, freshFor},
		{"one that began later", []time.Duration{1100 * time.Millisecond}, time.Second, time.Minute, 2 * time.Second},
		{"no longer than the document has time", []time.Duration{time.Second}, 0, 300 * time.Millisecond, 300 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var p precedence
				for _, takes := range row.mounts {
					time.AfterFunc(takes, p.begin())
				}
				if row.then > 0 {
					time.AfterFunc(time.Second, func() { time.AfterFunc(row.then, p.begin()) })
				}
				began := time.Now()
				p.yield(t.Context(), row.atMost)
				if took := time.Since(began); took != row.want {
					t.Errorf("a renewal waited %s, want %s", took, row.want)
				}
				time.Sleep(2 * time.Hour) // until no timer is left
				synctest.Wait()
				if p.fresh != 0 {
					t.Errorf("%d first mounts are left", p.fresh)
				}
			})
		})
	}
}

func TestYieldEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p precedence
		defer p.begin()()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		p.yield(ctx, time.Minute)
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
	})
}
