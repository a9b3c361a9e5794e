// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

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
