// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

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
