// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume/volumetest"
)

// target returns a path to mount at, not made yet.
func target(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pods", name)
	t.Cleanup(func() { check(t, volume.Unmount(path)) })
	return path
}

func mustBeMounted(t *testing.T, store *volume.Store, path string, want bool) {
	t.Helper()
	if got, err := store.Mounted(id, path); err != nil || got != want {
		t.Errorf("Mounted(%s) = %v, %v, want %v", path, got, err, want)
	}
}

func TestMountShowsTheVolumeAndUnmountTakesItAway(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	for _, name := range []string{"plain", "with space", `back\slash`, "tab\tand\nnewline", "käse", "#hash"} {
		path := target(t, name)
		mustBeMounted(t, store, path, false)
		check(t, store.Mount(id, path))
		mustBeMounted(t, store, path, true)
		content, err := os.ReadFile(filepath.Join(path, "tls.crt"))
		if err != nil || string(content) != "generation 1" {
			t.Errorf("%q: the file reads %q, %v", name, content, err)
		}
		check(t, volume.Unmount(path))
		mustBeMounted(t, store, path, false)
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q is still there: %v", name, err)
		}
		check(t, volume.Unmount(path))
	}
	mustHold(t, store, generation(1))
}

func TestThePodSeesTheNextGeneration(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	check(t, store.Mount(id, path))
	check(t, store.Write(id, generation(2), volume.Metadata{}))
	if content, err := os.ReadFile(filepath.Join(path, "tls.key")); err != nil || string(content) != "generation 2" {
		t.Errorf("the file reads %q, %v", content, err)
	}
}

func TestThePodCannotChangeItsVolume(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	check(t, store.Mount(id, path))
	// Even as root, who needs no permission from the modes of files.
	for name, do := range map[string]func() error{
		"make a file":   func() error { return os.WriteFile(filepath.Join(path, "new"), nil, 0o600) },
		"change a file": func() error { return os.WriteFile(filepath.Join(path, "tls.key"), []byte("mine"), 0o600) },
		"delete a file": func() error { return os.Remove(filepath.Join(path, "tls.key")) },
		"change a mode": func() error { return os.Chmod(filepath.Join(path, "tls.key"), 0o666) },
		"move the link": func() error { return os.Rename(filepath.Join(path, "..data"), filepath.Join(path, "..x")) },
	} {
		if err := do(); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, want EROFS", name, err)
		}
	}
	mounts := mountsAt(t, path)
	if len(mounts) != 1 {
		t.Fatalf("%d mounts, want 1", len(mounts))
	}
	options := strings.Split(mounts[0].Options, ",")
	for _, option := range []string{"ro", "nosuid", "nodev", "noexec"} {
		if !slices.Contains(options, option) {
			t.Errorf("mounted with %q, without %s", options, option)
		}
	}
}

func TestMountingTwiceMountsOnce(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	check(t, os.MkdirAll(path, 0o750)) // some kubelets make it
	for range 3 {
		check(t, store.Mount(id, path))
	}
	if n := len(mountsAt(t, path)); n != 1 {
		t.Errorf("%d mounts, want 1", n)
	}
}

func TestMountedTellsVolumesApart(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	check(t, store.Write("other", generation(1), volume.Metadata{}))
	path := target(t, "mount")
	check(t, store.Mount("other", path))
	mustBeMounted(t, store, path, false)
	check(t, store.Mount(id, path)) // over it
	mustBeMounted(t, store, path, true)
	check(t, volume.Unmount(path)) // both
	check(t, store.Remove(id))
	mustBeMounted(t, store, path, false)
}

// A volume that was removed and made again under a live mount is another one.
func TestMountedKnowsThatTheVolumeWasReplaced(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	check(t, store.Mount(id, path))
	check(t, store.Remove(id))
	check(t, store.Write(id, generation(2), volume.Metadata{}))
	mustBeMounted(t, store, path, false)
	check(t, volume.Unmount(path))
	check(t, store.Mount(id, path))
	mustBeMounted(t, store, path, true)
	if content, err := os.ReadFile(filepath.Join(path, "tls.key")); err != nil || string(content) != "generation 2" {
		t.Errorf("the file reads %q, %v", content, err)
	}
}

// A volume that was deleted under a mount, which nobody can mount over.
func TestMountReplacesADeadMount(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	check(t, store.Mount(id, path))
	check(t, store.Remove(id))
	check(t, store.Write(id, generation(2), volume.Metadata{}))
	check(t, store.Mount(id, path))
	mustBeMounted(t, store, path, true)
	if n := len(mountsAt(t, path)); n != 1 {
		t.Errorf("%d mounts, want 1", n)
	}
}

func TestUnmount(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	t.Run("nothing there", func(t *testing.T) {
		t.Parallel()
		check(t, volume.Unmount(filepath.Join(t.TempDir(), "a", "b")))
	})
	t.Run("an empty directory", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "mount")
		check(t, os.Mkdir(path, 0o700))
		check(t, volume.Unmount(path))
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("still there: %v", err)
		}
	})
	t.Run("a directory with a file, which is not ours to delete", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		if err := volume.Unmount(dir); err == nil {
			t.Error("no error")
		}
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("left are %q", got)
		}
	})
	t.Run("three mounts on top of each other", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "mount")
		check(t, os.Mkdir(path, 0o700))
		for range 3 {
			check(t, unix.Mount("test", path, "tmpfs", 0, ""))
		}
		check(t, volume.Unmount(path))
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("still there: %v", err)
		}
	})
}

func TestMountOfAVolumeThatIsNotThere(t *testing.T) {
	t.Parallel()
	store := open(t)
	path := target(t, "mount")
	if err := store.Mount(id, path); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v, want ENOENT", err)
	}
}

// The directory of a mount was removed under it: nothing can be mounted over
// what dangles, so it goes first.
func TestMountOverADanglingMount(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	check(t, store.Mount(id, path))
	check(t, os.RemoveAll(store.DataPath(id)))
	check(t, store.Write(id, generation(2), volume.Metadata{}))
	mustBeMounted(t, store, path, false)
	check(t, store.Mount(id, path))
	mustBeMounted(t, store, path, true)
	if content, err := os.ReadFile(filepath.Join(path, "tls.key")); err != nil || string(content) != "generation 2" {
		t.Errorf("the file reads %q, %v", content, err)
	}
}

// A file at the target path is not the driver's.
func TestUnmountLeavesAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mount")
	check(t, os.WriteFile(path, []byte("precious"), 0o600))
	check(t, volume.Unmount(path))
	if content, err := os.ReadFile(path); err != nil || string(content) != "precious" {
		t.Errorf("the file reads %q, %v", content, err)
	}
}

// Who has the kubelet's folder from the host sees what the driver's container mounts
// there as it is there: here it is another path instead of another namespace.
func TestMountIsReadOnlyForPeers(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	driver, host := target(t, "driver"), target(t, "host")
	check(t, os.MkdirAll(driver, 0o750))
	check(t, os.MkdirAll(host, 0o750))
	check(t, unix.Mount("kubelet", driver, "tmpfs", 0, ""))
	check(t, unix.Mount("", driver, "", unix.MS_SHARED, ""))
	check(t, unix.Mount(driver, host, "", unix.MS_BIND, ""))
	check(t, store.Mount(id, filepath.Join(driver, "mount")))
	mustBeReadOnlyOnce(t, filepath.Join(host, "mount"))
	check(t, volume.Unmount(filepath.Join(driver, "mount")))
}

// openShared returns a store as in the driver's container, where mounts are shared with
// the host, and a target beside it.
func openShared(t *testing.T) (store *volume.Store, target string) {
	t.Helper()
	requireRoot(t)
	dir := t.TempDir()
	check(t, unix.Mount("host", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	check(t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
	store, err := volume.Open(filepath.Join(dir, "store"))
	check(t, err)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	return store, filepath.Join(dir, "kubelet", "mount")
}

// A mount that is not read-only, as an earlier version may have left it for the host,
// is made so, and the volume can be written as before.
func TestMountThatIsNotReadOnlyIsMadeSo(t *testing.T) {
	t.Parallel()
	store, path := openShared(t)
	mountWritable(t, store, path)
	for i := range 3 {
		check(t, store.Mount(id, path))
		mustBeMounted(t, store, path, true)
		mustBeReadOnlyOnce(t, path)
		check(t, store.Write(id, generation(2+i), volume.Metadata{}))
	}
	mustHaveOthers(t, store, path, "")
	check(t, volume.Unmount(path))
	mustBeMounted(t, store, path, false)
	check(t, store.Remove(id))
}

// What is mounted over a volume in its pod's folder, and is dead, does not keep the
// volume from being written.
func TestVolumeBeneathADeadMountIsWritten(t *testing.T) {
	t.Parallel()
	store, path := openShared(t)
	check(t, store.Mount(id, path))
	volumetest.MountDead(t, path)
	mustHaveOthers(t, store, path, "")
	check(t, store.Write(id, generation(2), volume.Metadata{}))
	check(t, store.Mount(id, path))
	mustBeReadOnlyOnce(t, path)
	check(t, volume.Unmount(path))
	check(t, store.Remove(id))
}

// Where the kernel makes mounts in two steps, a process may be killed between them.
func TestHalfMadeMountIsCompleted(t *testing.T) {
	t.Parallel()
	store, _ := openInTwoSteps(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	mountWritable(t, store, path)
	check(t, store.Mount(id, path))
	mustBeMounted(t, store, path, true)
	mustBeReadOnlyOnce(t, path)
}

func TestMountInTwoSteps(t *testing.T) {
	t.Parallel()
	store, steps := openInTwoSteps(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	*steps = nil
	for range 2 {
		check(t, store.Mount(id, path))
		mustBeMounted(t, store, path, true)
	}
	mustBeReadOnlyOnce(t, path)
	if want := []string{"target path made", "volume mounted", "mount made read-only"}; !slices.Equal(*steps, want) {
		t.Errorf("got %q, want %q", *steps, want)
	}
}

// mustBeReadOnlyOnce fails the test unless one thing is mounted at a path, with the flags
// of a pod's volume.
func mustBeReadOnlyOnce(t *testing.T, path string) {
	t.Helper()
	var all []string
	for _, m := range mountsAt(t, path) {
		all = append(all, m.Options)
	}
	if len(all) != 1 || !strings.HasPrefix(all[0], "ro,nosuid,nodev,noexec") {
		t.Errorf("at %s is mounted %q", path, all)
	}
}

// openInTwoSteps returns a store that makes mounts as on older kernels, and what
// steps it has made.
func openInTwoSteps(t *testing.T) (*volume.Store, *[]string) {
	t.Helper()
	requireRoot(t)
	var steps []string
	store, err := volume.Open(filepath.Join(t.TempDir(), "store"), volume.InTwoSteps(), volume.WithSteps(func(name string) { steps = append(steps, name) }))
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	return store, &steps
}

// mountWritable mounts a volume at a path so that it is not read-only.
func mountWritable(t *testing.T, store *volume.Store, path string) {
	t.Helper()
	check(t, os.MkdirAll(path, 0o750))
	check(t, unix.Mount(store.DataPath(id), path, "", unix.MS_BIND, ""))
	mustBeMounted(t, store, path, false)
}
