// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// A volume is taken away again, and what was at its target before stays.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	foreign := func(target string) {
		check(t, os.MkdirAll(target, 0o750))
		check(t, unix.Mount("another", target, "tmpfs", 0, ""))
		check(t, os.WriteFile(filepath.Join(target, "precious"), nil, 0o600))
	}
	for _, row := range []struct {
		name    string
		prepare func(target string)
		before  volume.TargetState
		// mount is how the volume is mounted after that.
		mount func(target string) error
	}{
		{"nothing", func(string) {}, volume.TargetState{}, func(target string) error { return store.Mount(id, target) }},
		{"an empty folder", func(target string) { check(t, os.MkdirAll(target, 0o750)) }, volume.TargetState{Exists: true}, func(target string) error { return store.Mount(id, target) }},
		{"something else that is mounted", foreign, volume.TargetState{Exists: true, Mounted: true}, func(target string) error { return store.Mount(id, target) }},
		{"the volume is not read-only yet", foreign, volume.TargetState{Exists: true, Mounted: true}, func(target string) error {
			return unix.Mount(store.DataPath(id), target, "", unix.MS_BIND, "")
		}},
		{"it was not mounted", foreign, volume.TargetState{Exists: true, Mounted: true}, func(string) error { return nil }},
		{"the volume itself", func(target string) { check(t, store.Mount(id, target)) }, volume.TargetState{Exists: true, Mounted: true, Own: true}, func(string) error { return nil }},
	} {
		t.Run(row.name, func(t *testing.T) {
			target := target(t, "mount")
			row.prepare(target)
			before, err := store.InspectTarget(id, target)
			if err != nil || before != row.before {
				t.Errorf("before there is %+v, %v, want %+v", before, err, row.before)
			}
			check(t, row.mount(target))
			check(t, store.UndoMount(id, target, before))
			if after, err := store.InspectTarget(id, target); err != nil || after != before {
				t.Errorf("after there is %+v, %v, want %+v", after, err, before)
			}
			if _, err := os.Lstat(filepath.Join(target, "precious")); (err == nil) != (row.before.Mounted && !row.before.Own) {
				t.Errorf("what the other had: %v", err)
			}
		})
	}
	if _, err := store.InspectTarget("../x", "/"); err == nil {
		t.Error("takes a hostile volume ID")
	}
}

// So it is where nothing is really mounted.
func TestWithdrawWithoutMounts(t *testing.T) {
	t.Parallel()
	store, err := volume.Open(filepath.Join(t.TempDir(), "store"), volume.WithoutMounts())
	check(t, err)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	target := filepath.Join(t.TempDir(), "mount")
	check(t, store.Mount(id, target))
	if at, err := store.InspectTarget(id, target); err != nil || at != (volume.TargetState{Exists: true, Mounted: true, Own: true}) {
		t.Errorf("there is %+v, %v", at, err)
	}
	check(t, store.UndoMount(id, target, volume.TargetState{}))
	if at, err := store.InspectTarget(id, target); err != nil || at != (volume.TargetState{}) {
		t.Errorf("after that there is %+v, %v", at, err)
	}
}
