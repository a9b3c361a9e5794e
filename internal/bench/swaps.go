// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// swaps hears from the kernel when the files of a volume are swapped.
type swaps struct {
	watcher *fsnotify.Watcher

	mu sync.Mutex
	// at has the last swap of each volume since begin, by its folder.
	at  map[string]time.Time
	all int
}

func (b *bench) watchSwaps(requests []*csi.NodePublishVolumeRequest) (*swaps, error) {
	watcher, err := fsnotify.NewBufferedWatcher(1 << 16)
	if err != nil {
		return nil, err
	}
	s := &swaps{watcher: watcher, at: map[string]time.Time{}}
	for _, request := range requests {
		if err := watcher.Add(filepath.Join(b.dir, "tmpfs", request.GetVolumeId(), "data")); err != nil {
			return nil, errors.Join(err, watcher.Close())
		}
	}
	go s.listen()
	return s, nil
}

func (s *swaps) listen() {
	for event := range s.watcher.Events {
		if filepath.Base(event.Name) == "..data" && event.Has(fsnotify.Create) {
			s.mu.Lock()
			s.at[filepath.Dir(event.Name)] = time.Now()
			s.all++
			s.mu.Unlock()
		}
	}
}

func (s *swaps) close() { _ = s.watcher.Close() }

func (s *swaps) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.all = map[string]time.Time{}, 0
}

func (s *swaps) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// wait returns when the last of so many volumes was swapped since begin.
func (s *swaps) wait(ctx context.Context, volumes int) (time.Time, error) {
	return s.waitFor(ctx, volumes, time.Time{})
}

// waitFor is wait for swaps after a moment.
func (s *swaps) waitFor(ctx context.Context, volumes int, after time.Time) (time.Time, error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if last, done := s.last(volumes, after); done {
			return last, nil
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, fmt.Errorf("after a minute, only %d volumes were swapped", len(s.at))
}

func (s *swaps) last(volumes int, after time.Time) (last time.Time, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, at := range s.at {
		if at.After(after) {
			count++
		}
		if at.After(last) {
			last = at
		}
	}
	return last, count == volumes
}

// folderFloor is as many folders in a tmpfs as there are volumes, each with three
// small files behind a symbolic link, and nothing else: no document is read, no
// rights are set, nothing is kept for readers.
type folderFloor struct {
	root    string
	folders int
	written int
}

func newFolderFloor(dir string, folders int) (*folderFloor, error) {
	f := &folderFloor{root: filepath.Join(dir, "floor"), folders: folders}
	if err := volume.New(f.root).Ensure(); err != nil {
		return nil, err
	}
	for i := range folders {
		if err := os.Mkdir(f.folder(i), 0o700); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, f.write()
}

func (f *folderFloor) folder(i int) string { return filepath.Join(f.root, strconv.Itoa(i)) }

func (f *folderFloor) close() error { return volume.Unmount(f.root) }

// write swaps all folders, as many at a time as there are processors.
func (f *folderFloor) write() error {
	f.written++
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range f.folders {
		group.Go(func() error { return f.swap(f.folder(i), strconv.Itoa(f.written)) })
	}
	return group.Wait()
}

func (f *folderFloor) swap(folder, generation string) error {
	made := filepath.Join(folder, generation)
	if err := os.Mkdir(made, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err := os.WriteFile(filepath.Join(made, name), make([]byte, 1000), 0o600); err != nil {
			return err
		}
	}
	if err := os.Symlink(generation, filepath.Join(folder, "new")); err != nil {
		return err
	}
	return os.Rename(filepath.Join(folder, "new"), filepath.Join(folder, "data"))
}
