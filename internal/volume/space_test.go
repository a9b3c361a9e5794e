// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

const tmpfsFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	var stat unix.Statfs_t
	check(t, unix.Statfs(path, &stat))
	return int64(stat.Blocks) * stat.Bsize
}

func TestSizeOfTheTmpfs(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	store, err := volume.Open(filepath.Join(t.TempDir(), "store"), volume.WithSize(4<<20))
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	if got := sizeOf(t, store.Root()); got != 4<<20 {
		t.Errorf("%d bytes, want 4 MiB", got)
	}
	// The next process has another size in its file.
	check(t, store.Write(id, map[string][]byte{"tls.key": bytes.Repeat([]byte("k"), 3<<20)}, volume.Metadata{}))
	larger, err := volume.Open(store.Root(), volume.WithSize(8<<20))
	check(t, err)
	check(t, larger.Resize())
	if got := sizeOf(t, store.Root()); got != 8<<20 {
		t.Errorf("%d bytes after a restart, want 8 MiB", got)
	}
	smaller, err := volume.Open(store.Root(), volume.WithSize(2<<20))
	check(t, err)
	if err := smaller.Resize(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("got %v for less than is in it, want EINVAL", err)
	}
	if got := sizeOf(t, store.Root()); got != 8<<20 {
		t.Errorf("%d bytes after that, want 8 MiB still", got)
	}
}

// What live volumes need for their renewals is not given to new ones.
func TestHasRoom(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	store, err := volume.Open(filepath.Join(t.TempDir(), "store"), volume.WithSize(1<<20))
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	check(t, store.HasRoom())
	check(t, store.Write("other", map[string][]byte{"tls.key": bytes.Repeat([]byte("k"), 600<<10)}, volume.Metadata{}))
	if err := store.HasRoom(); !errors.Is(err, volume.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	check(t, store.Write(id, generation(1), volume.Metadata{})) // a renewal
	check(t, store.Remove("other"))
	check(t, store.HasRoom())

	check(t, unix.Mount("", store.Root(), "", unix.MS_REMOUNT|unix.MS_RDONLY|tmpfsFlags, ""))
	if err := store.HasRoom(); !errors.Is(err, volume.ErrReadOnly) {
		t.Errorf("got %v, want ErrReadOnly", err)
	}
	if err := store.Write(id, generation(2), volume.Metadata{}); !errors.Is(err, volume.ErrReadOnly) {
		t.Errorf("got %v, want ErrReadOnly", err)
	}
	mustHold(t, store, generation(1))
	check(t, unix.Mount("", store.Root(), "", unix.MS_REMOUNT|tmpfsFlags, ""))
	check(t, store.HasRoom())
	check(t, store.Write(id, generation(2), volume.Metadata{}))
}

func TestFullTmpfsSaysSo(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	store, err := volume.Open(filepath.Join(t.TempDir(), "store"), volume.WithSize(1<<20))
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	if err := store.Write(id, map[string][]byte{"tls.key": bytes.Repeat([]byte("k"), 2<<20)}, volume.Metadata{}); !errors.Is(err, volume.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if err := store.WritePending(id, bytes.Repeat([]byte("k"), 2<<20)); !errors.Is(err, volume.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
}

// Replaced files, which readers may have open, give way to new ones.
func TestReplacedFilesGiveWay(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	store, err := volume.Open(filepath.Join(t.TempDir(), "store"), volume.WithSize(1<<20))
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	for n := range 10 {
		check(t, store.Write(id, map[string][]byte{"tls.key": bytes.Repeat([]byte{byte(n)}, 300<<10)}, volume.Metadata{}))
	}
}

// Should somebody unmount the tmpfs, keys must not land on the disk beneath it.
func TestKeysAreWrittenToATmpfsOrNowhere(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	check(t, unix.Unmount(store.Root(), unix.MNT_DETACH))
	check(t, store.Write(id, generation(2), volume.Metadata{}))
	check(t, store.WritePending(id, []byte("key")))
	if n := len(mountsAt(t, store.Root())); n != 1 {
		t.Fatalf("%d mounts, want a new tmpfs", n)
	}
	mustHold(t, store, generation(2))
	check(t, unix.Unmount(store.Root(), 0))
	if left := names(t, store.Root()); len(left) != 0 {
		t.Errorf("beneath the tmpfs are %q", left)
	}
}

// A store whose tmpfs cannot be mounted works as soon as it can.
func TestStoreRecoversWhenItCanBeMounted(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	root := filepath.Join(t.TempDir(), "store")
	check(t, os.WriteFile(root, nil, 0o600))
	store := volume.New(root)
	for name, err := range map[string]error{
		"Ensure":        store.Ensure(),
		"HasRoom":       store.HasRoom(),
		"Write":         store.Write(id, generation(1), volume.Metadata{}),
		"WritePending":  store.WritePending(id, nil),
		"WriteMetadata": store.WriteMetadata(id, volume.Metadata{}),
	} {
		if !errors.Is(err, volume.ErrNotMounted) {
			t.Errorf("%s: got %v, want ErrNotMounted", name, err)
		}
	}
	if err := store.Ready(); !errors.Is(err, volume.ErrNotMounted) {
		t.Errorf("Ready: got %v, want ErrNotMounted", err)
	}
	check(t, os.Remove(root))
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	mustHold(t, store, generation(1))
	check(t, store.Ready())
}
