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

// A mount that is not read-only, as an earlier version may have left it for the host,
// is covered by one that is, once. What the pod has goes on meanwhile.
func TestMountThatIsNotReadOnlyIsCovered(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	path := target(t, "mount")
	mountWritable(t, store, path)
	for range 3 {
		check(t, store.Mount(id, path))
		mustBeMounted(t, store, path, true)
		if n := len(mountsAt(t, path)); n != 2 {
			t.Errorf("%d mounts, want 2", n)
		}
	}
	mustHaveOthers(t, store, path, "")
	check(t, volume.Unmount(path))
	mustBeMounted(t, store, path, false)
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
