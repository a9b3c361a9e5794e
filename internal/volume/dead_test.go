// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume/volumetest"
)

// deadTarget returns a path at which a file system is mounted that is dead.
func deadTarget(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "with space", "mount")
	t.Cleanup(func() { _ = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH) })
	volumetest.MountDead(t, path)
	if _, err := os.Lstat(path); !errors.Is(err, unix.ENOTCONN) {
		t.Fatalf("the file system is not dead: %v", err)
	}
	return path
}

func TestUnmountOfADeadMount(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for name, way := range map[string]func(path string) string{
		"by its path": func(path string) string { return path },
		"by a link to its folder": func(path string) string { // as /var/lib/kubelet may be
			link := filepath.Join(t.TempDir(), "link")
			check(t, os.Symlink(filepath.Dir(path), link))
			return filepath.Join(link, filepath.Base(path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := deadTarget(t)
			volumetest.MountDead(t, filepath.Join(filepath.Dir(path), "another"))
			t.Cleanup(func() { check(t, volume.Unmount(filepath.Join(filepath.Dir(path), "another"))) })
			check(t, volume.Unmount(way(path)))
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the target: %v", err)
			}
		})
	}
}

func TestDeadMountIsInTheTable(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	path := deadTarget(t)
	for path, want := range map[string]bool{path: true, filepath.Dir(path): false, path + "/mount": false} {
		if got, err := volume.IsInTable(path); err != nil || got != want {
			t.Errorf("%s is mounted: %t, %v, want %t", path, got, err, want)
		}
	}
}

// The volume is beneath a file system that is dead: that goes, and nothing is mounted.
func TestMountFindsTheVolumeBeneathADeadMount(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	check(t, store.Mount(id, path))
	volumetest.MountDead(t, path)
	mustBeMounted(t, store, path, false)
	check(t, store.Mount(id, path))
	mustBeMounted(t, store, path, true)
	mustBeReadOnlyOnce(t, path)
}

// Nobody can use it, so it makes room.
func TestMountReplacesAMountWhoseFileSystemIsDead(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := deadTarget(t)
	mustBeMounted(t, store, path, false)
	mustHaveOthers(t, store, path, "")
	before, err := store.InspectTarget(id, path)
	if want := (volume.TargetState{Exists: true, Mounted: true, Dead: true}); err != nil || before != want {
		t.Errorf("before there is %+v, %v, want %+v", before, err, want)
	}
	if _, err := volume.ReadMounted(path, "tls.crt"); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("reading a file of it: %v", err)
	}
	check(t, store.UndoMount(id, path, before)) // takes nothing away
	check(t, store.Mount(id, path))
	mustBeMounted(t, store, path, true)
	mustBeReadOnlyOnce(t, path)
	check(t, volume.Unmount(path))
}

// It goes also if somebody has a file of it open, or a folder.
func TestUnmountOfADeadMountInUse(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	path := deadTarget(t)
	inUse, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	check(t, err)
	t.Cleanup(func() { _ = unix.Close(inUse) })
	check(t, volume.Unmount(path))
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target: %v", err)
	}
}
