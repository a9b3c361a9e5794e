// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

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
