// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
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

// openSized returns a store of the test's own with this many bytes.
func openSized(t *testing.T, size int64) *volume.Store {
	t.Helper()
	requireRoot(t)
	store, err := volume.Open(filepath.Join(t.TempDir(), "store"), volume.WithSize(size))
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	return store
}

func freeIn(t *testing.T, path string) int64 {
	t.Helper()
	var stat unix.Statfs_t
	check(t, unix.Statfs(path, &stat))
	return int64(stat.Bfree) * stat.Bsize
}

// pairAnd is a volume's files with a bundle of a size.
func pairAnd(bundle int) map[string][]byte {
	return map[string][]byte{
		"tls.crt": bytes.Repeat([]byte("c"), 3000), "tls.key": bytes.Repeat([]byte("k"), 300), "ca.crt": bytes.Repeat([]byte("b"), bundle),
	}
}

// A bundle that grows fills what is free for it and no more, however many volumes
// are written at a time, and every volume can be renewed with what it has then.
func TestGrowingVolumesLeaveRoomForRenewals(t *testing.T) {
	t.Parallel()
	const volumes, reserve = 100, 512 << 10
	store := openSized(t, 8<<20)
	name := func(n int) string { return fmt.Sprintf("csi-%d", n) }
	for n := range volumes {
		check(t, store.WriteReserving(name(n), pairAnd(2<<10), volume.Metadata{}))
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	large := map[string]bool{}
	for worker := range 4 {
		group.Go(func() {
			for n := worker; n < volumes; n += 4 {
				err := store.WriteReserving(name(n), pairAnd(220<<10), volume.Metadata{})
				if err != nil && !errors.Is(err, volume.ErrFull) {
					t.Errorf("got %v, want ErrFull", err)
				}
				mu.Lock()
				large[name(n)] = err == nil
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if free := freeIn(t, store.Root()); free < reserve {
		t.Errorf("%d KiB are free, want the reserve", free>>10)
	}
	written := 0
	for n := range volumes {
		files := pairAnd(2 << 10)
		if large[name(n)] {
			written++
			files = pairAnd(220 << 10)
		}
		if err := store.Write(name(n), files, volume.Metadata{}); err != nil {
			t.Errorf("renewal %d: %v", n, err)
		}
	}
	if written < 20 || written > 30 {
		t.Errorf("%d volumes have the large bundle, want those that there is room for", written)
	}
	// What has become smaller is written though less than the reserve is free.
	// The files that the renewals have replaced may fill it by themselves.
	if size := freeIn(t, store.Root()) - 100<<10; size > 0 {
		check(t, store.Write("filler", map[string][]byte{"x": make([]byte, size)}, volume.Metadata{}))
	}
	if free := freeIn(t, store.Root()); free >= reserve {
		t.Fatalf("%d KiB are free, want less than the reserve", free>>10)
	}
	for n := range volumes {
		if err := store.WriteReserving(name(n), pairAnd(1<<10), volume.Metadata{}); err != nil {
			t.Errorf("smaller bundle %d: %v", n, err)
		}
	}
}

// A volume that is larger than the reserve leaves as much as it takes.
func TestVolumesLargerThanTheReserve(t *testing.T) {
	t.Parallel()
	store := openSized(t, 4<<20)
	check(t, store.WriteReserving(id, pairAnd(1200<<10), volume.Metadata{}))
	if err := store.WriteReserving("other", pairAnd(1200<<10), volume.Metadata{}); err != nil {
		t.Errorf("there is room for it and one renewal: %v", err)
	}
	if err := store.WriteReserving("third", pairAnd(1200<<10), volume.Metadata{}); !errors.Is(err, volume.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	check(t, store.Write(id, pairAnd(1200<<10), volume.Metadata{}))
	check(t, store.Write("other", pairAnd(1200<<10), volume.Metadata{}))
	mustHold(t, store, pairAnd(1200<<10))
}

func TestWriteSparingChecksItsInput(t *testing.T) {
	t.Parallel()
	store := open(t)
	if err := store.WriteReserving("../x", nil, volume.Metadata{}); !errors.Is(err, volume.ErrInvalidID) {
		t.Errorf("got %v, want ErrInvalidID", err)
	}
	check(t, store.WriteReserving(id, generation(1), volume.Metadata{}))
	check(t, unix.Mount("", store.Root(), "", unix.MS_REMOUNT|unix.MS_RDONLY|tmpfsFlags, ""))
	if err := store.WriteReserving("other", generation(1), volume.Metadata{}); !errors.Is(err, volume.ErrReadOnly) {
		t.Errorf("got %v, want ErrReadOnly", err)
	}
}
