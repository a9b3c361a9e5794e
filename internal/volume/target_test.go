// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume/volumetest"
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

// mustHaveOthers fails the test unless what else is mounted at a path is told in
// these words; empty: nothing.
func mustHaveOthers(t *testing.T, store *volume.Store, path, want string) {
	t.Helper()
	got, err := store.ForeignMounts(map[string]string{id: path})
	if err != nil || want == "" && len(got) != 0 || !strings.Contains(got[id], want) {
		t.Errorf("ForeignMounts(%s) = %q, %v, want %q", path, got, err, want)
	}
}

// What was mounted before the volume is seen in its place, and beneath it.
func TestOthers(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	mustHaveOthers(t, store, path, "") // there is not even a folder
	check(t, os.MkdirAll(path, 0o750))
	mustHaveOthers(t, store, path, "")
	check(t, store.Mount(id, path))
	mustHaveOthers(t, store, path, "")
	check(t, volume.Unmount(path))

	check(t, os.MkdirAll(path, 0o750))
	check(t, unix.Mount("earlier driver", path, "tmpfs", 0, ""))
	mustHaveOthers(t, store, path, `a tmpfs of "earlier driver"`)
	check(t, store.Mount(id, path))
	mustBeMounted(t, store, path, true)
	mustHaveOthers(t, store, path, `a tmpfs of "earlier driver"`)
	link := filepath.Join(t.TempDir(), "link") // as /var/lib/kubelet may be
	check(t, os.Symlink(filepath.Dir(path), link))
	mustHaveOthers(t, store, filepath.Join(link, "mount"), "earlier driver")
	check(t, unix.Unmount(path, 0))
	mustHaveOthers(t, store, path, "earlier driver")
	check(t, volume.Unmount(path))
	mustHaveOthers(t, store, path, "")
}

// The volume that was there before it was lost and made anew is another, and so is
// that of another pod.
func TestOthersKnowsThatTheVolumeWasReplaced(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	check(t, store.Write("other", generation(1), volume.Metadata{}))
	path, second := target(t, "mount"), target(t, "second")
	check(t, store.Mount(id, path))
	check(t, store.Mount("other", second))
	mustHaveOthers(t, store, second, "csi-driver-spiffe")
	check(t, store.Remove(id))
	check(t, store.Write(id, generation(2), volume.Metadata{}))
	mustHaveOthers(t, store, path, "csi-driver-spiffe")
	got, err := store.ForeignMounts(map[string]string{id: path, "other": second})
	if err != nil || len(got) != 1 || got["other"] != "" {
		t.Errorf("got %q, %v, want one", got, err)
	}
}

func TestHoldsVolumes(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	root := filepath.Join(t.TempDir(), "store")
	store := volume.New(root)
	mustHoldVolumes := func(want bool) {
		t.Helper()
		if got := volume.New(root).HoldsVolumes(); got != want {
			t.Errorf("HoldsVolumes: %v, want %v", got, want)
		}
	}
	// What lies beneath the tmpfs is none of it.
	check(t, os.MkdirAll(filepath.Join(root, id, "data"), 0o700))
	mustHoldVolumes(false)
	if n := len(mountsAt(t, root)); n != 0 {
		t.Errorf("%d mounts were made by asking", n)
	}
	check(t, os.RemoveAll(filepath.Join(root, id)))
	t.Cleanup(func() { check(t, volume.Unmount(root)) })
	check(t, store.Ensure())
	mustHoldVolumes(false)
	check(t, store.WritePending(id, []byte("key")))
	mustHoldVolumes(false)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	mustHoldVolumes(true)
	check(t, os.Remove(filepath.Join(root, id, "metadata.json"))) // damaged
	mustHoldVolumes(true)
	check(t, store.Remove(id))
	mustHoldVolumes(false)
}

// Where volumes are mounted is told by the mount table alone.
func TestTargets(t *testing.T) {
	t.Parallel()
	store, other := open(t), open(t)
	at, elsewhere, ofOther := target(t, "at"), target(t, "elsewhere"), target(t, "of other")
	for _, s := range []*volume.Store{store, other} {
		check(t, s.Write(id, generation(1), volume.Metadata{}))
	}
	check(t, store.Mount(id, at))
	check(t, other.Mount(id, ofOther))
	check(t, os.MkdirAll(elsewhere, 0o750))
	check(t, unix.Mount(filepath.Join(store.Root(), id), elsewhere, "", unix.MS_BIND, "")) // the folder above
	if got, err := store.Targets(); err != nil || !maps.Equal(got, map[string]string{id: at}) {
		t.Errorf("got %q, %v, want the volume at %s", got, err, at)
	}
}

// What somebody else has mounted is not trusted.
func TestReadMounted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mount")
	check(t, os.MkdirAll(filepath.Join(dir, "..data"), 0o750))
	outside := filepath.Join(filepath.Dir(dir), "outside")
	check(t, os.WriteFile(outside, []byte("secret"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "..data", "tls.crt"), []byte("certificate"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "large"), bytes.Repeat([]byte("x"), 1<<20), 0o600))
	check(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for name, to := range map[string]string{"tls.crt": "..data/tls.crt", "out": outside, "up": "../outside", "loop": "loop"} {
		check(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	for name, want := range map[string]string{"tls.crt": "certificate", "out": "", "up": "", "loop": "", "fifo": "", "..data": "", "none": "", "../outside": ""} {
		if got, err := volume.ReadMounted(dir, name); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	if got, err := volume.ReadMounted(dir, "large"); err != nil || len(got) != 64<<10 {
		t.Errorf("of a large file %d bytes, %v", len(got), err)
	}
}

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
