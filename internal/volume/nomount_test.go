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

// A store without mounts behaves like one with them, as far as its user can tell,
// and needs no right to mount.
func TestWithoutMounts(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "store")
	target := filepath.Join(t.TempDir(), "pod", "mount")
	const id = "csi-1"
	store, err := volume.Open(root, volume.WithoutMounts())
	if err != nil {
		t.Fatal(err)
	}
	mustBeMounted := func(want bool) {
		t.Helper()
		if got, err := store.Mounted(id, target); err != nil || got != want {
			t.Errorf("mounted %t, %v, want %t", got, err, want)
		}
	}
	mustBeMounted(false)
	if err := store.Write(id, map[string][]byte{"tls.crt": []byte("one"), "tls.key": []byte("two")}, volume.Metadata{}); err != nil {
		t.Fatal(err)
	}
	mustBeMounted(false)
	for range 2 {
		if err := store.Mount(id, target); err != nil {
			t.Fatal(err)
		}
		mustBeMounted(true)
	}
	for _, path := range []string{root, target} {
		if mounted, err := mountinfo.Mounted(path); err != nil || mounted {
			t.Errorf("%s: mounted %t, %v", path, mounted, err)
		}
	}
	if got, err := store.ReadFile(id, "tls.key"); err != nil || string(got) != "two" {
		t.Errorf("got %q, %v", got, err)
	}
	if others, err := store.ForeignMounts(map[string]string{id: target}); err != nil || len(others) > 0 {
		t.Errorf("others %v, %v", others, err)
	}
	if err := volume.Unmount(target); err != nil {
		t.Error(err)
	}
	mustBeMounted(false)
	if err := store.Remove(id); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, id)); !os.IsNotExist(err) {
		t.Errorf("the volume is left: %v", err)
	}
}
