// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package mounts_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
)

func TestATargetIsOfOneVolume(t *testing.T) {
	t.Parallel()
	var r mounts.TargetRegistry
	check(t, r.Check("/a", "1"))
	for range 2 {
		check(t, r.Claim("/a", "1"))
		check(t, r.Claim("/b", "1"))
	}
	for name, err := range map[string]error{"check": r.Check("/a", "2"), "claim": r.Claim("/a", "2"), "unmount": r.Unmount("2", "/a", "")} {
		if !errors.Is(err, mounts.ErrOccupied) {
			t.Errorf("%s: got %v, want %v", name, err, mounts.ErrOccupied)
		}
	}
	check(t, r.Check("/a", "1"))
	r.Release("/a", "2") // which is not there
	if got := r.Volume("/a"); got != "1" {
		t.Errorf("at the target is %q", got)
	}
	r.Release("/a", "1")
	check(t, r.Claim("/a", "2"))
	if got := r.Targets("1"); !slices.Equal(got, []string{"/b"}) {
		t.Errorf("the targets of the first are %q", got)
	}
	r.ReleaseAll("1")
	if r.Volume("/a") != "2" || r.Volume("/b") != "" || len(r.Targets("1")) != 0 {
		t.Errorf("after all, %q is at /a and %q at /b", r.Volume("/a"), r.Volume("/b"))
	}
}
