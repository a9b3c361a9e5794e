// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func TestIsOutdated(t *testing.T) {
	t.Parallel()
	c := testConfig(t) // for an hour
	now := time.Now()
	for name, test := range map[string]struct {
		hash        string
		asked, left time.Duration
		want        bool
	}{
		"as configured":                {c.Policy().IdentityHash(), time.Hour, time.Hour, false},
		"half spent":                   {c.Policy().IdentityHash(), time.Hour, time.Minute, false},
		"asked for longer, much left":  {c.Policy().IdentityHash(), 4 * time.Hour, 3 * time.Hour, true},
		"asked for longer, spent":      {c.Policy().IdentityHash(), 4 * time.Hour, time.Minute, false},
		"signed for longer than asked": {c.Policy().IdentityHash(), time.Hour, 24 * time.Hour, false},
		"made for another issuer":      {"another", time.Hour, time.Hour, true},
		"made by an earlier version":   {"", 0, time.Hour, true},
	} {
		live := &volume.Metadata{IdentityHash: test.hash, Duration: test.asked, NotAfter: now.Add(test.left)}
		if got := isOutdated(c, live, now); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

func TestSpreadStaysInTheWindow(t *testing.T) {
	t.Parallel()
	early, late := 0, 0
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"} {
		moment := spread(time.Hour, id)
		switch {
		case moment < 0 || moment >= time.Hour:
			t.Errorf("%s: %s", id, moment)
		case moment < 30*time.Minute:
			early++
		default:
			late++
		}
	}
	if early == 0 || late == 0 {
		t.Errorf("%d in the first half of the window, %d in the second", early, late)
	}
	if spread(0, "a") != 0 {
		t.Error("without a window it is at once")
	}
}

// A change of what documents are is planned for live volumes, and unplanned
// when it is taken back.
func TestChangeOfPolicyPlansReissue(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	c := testConfig(t)
	state := d.volumes.acquire(testVolume)
	live := &volume.Metadata{IdentityHash: c.Policy().IdentityHash(), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	d.setLive(state, live)
	if n := d.VolumesToReissue(); n != 0 {
		t.Fatalf("%d volumes to re-issue at first", n)
	}
	other := testConfig(t, "certificate: {privateKey: {algorithm: Ed25519}}")
	d.config = config.NewHolder(other)
	d.takeConfig(other)
	if n := d.VolumesToReissue(); n != 1 {
		t.Errorf("%d volumes to re-issue after the change", n)
	}
	d.takeConfig(c)
	if n := d.VolumesToReissue(); n != 0 {
		t.Errorf("%d volumes to re-issue after it was taken back", n)
	}
}
