// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

const id = "csi-5a8a6b"

// requireRoot skips a test that mounts where that is not allowed.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, or root of a user namespace, to mount: run `make test`")
	}
}

// open returns a store of the test's own.
func open(t *testing.T) *volume.Store {
	t.Helper()
	requireRoot(t)
	return openAt(t, filepath.Join(t.TempDir(), "store"))
}

func openAt(t *testing.T, root string) *volume.Store {
	t.Helper()
	store, err := volume.Open(root)
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	return store
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mountsAt returns what the kernel says is mounted at a path, the topmost last.
func mountsAt(t *testing.T, path string) []*mountinfo.Info {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	check(t, err)
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != path, false })
	check(t, err)
	return mounts
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	var out []string
	for _, entry := range entries {
		out = append(out, entry.Name())
	}
	return out
}
