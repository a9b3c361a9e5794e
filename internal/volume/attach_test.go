// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume/volumetest"
)

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
