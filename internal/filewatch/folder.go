// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package filewatch

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// folder watches the folder of a file. Not the file: a file that is replaced
// takes its watch away with it, and a ConfigMap changes by a symlink beside it.
type folder struct {
	// file is the path of the file.
	file    string
	watcher *fsnotify.Watcher
	// info is that of the folder that is watched.
	info os.FileInfo
}

func (f *folder) path() string { return filepath.Dir(f.file) }

// watch begins to watch, if the folder that the path leads to now is not
// watched already.
func (f *folder) watch() error {
	info, err := os.Stat(f.path())
	if err != nil {
		f.close()
		return err
	}
	// The watch of a folder that was removed is gone, though its successor may
	// have the same inode.
	if f.watcher != nil && len(f.watcher.WatchList()) > 0 && os.SameFile(info, f.info) {
		return nil
	}
	f.close()
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	if err := watcher.Add(f.path()); err != nil {
		_ = watcher.Close()
		return err
	}
	f.watcher, f.info = watcher, info
	return nil
}

// events is nil, and blocks, while nothing is watched.
func (f *folder) events() <-chan fsnotify.Event {
	if f.watcher == nil {
		return nil
	}
	return f.watcher.Events
}

// errors is like events. An error means that events may have been lost.
func (f *folder) errors() <-chan error {
	if f.watcher == nil {
		return nil
	}
	return f.watcher.Errors
}

// concerns reports whether an event may change what the file's path leads to:
// one of the file, of the folder, or of the symlink in the folder by which the
// file leads elsewhere, ..data in a ConfigMap.
func (f *folder) concerns(event fsnotify.Event) bool {
	name := filepath.Base(event.Name)
	if name == filepath.Base(f.file) || event.Name == f.path() {
		return true
	}
	target, err := os.Readlink(f.file)
	if err != nil {
		return false
	}
	first, _, _ := strings.Cut(filepath.Clean(target), string(filepath.Separator))
	return name == first
}

func (f *folder) close() {
	if f.watcher != nil {
		_ = f.watcher.Close()
		f.watcher = nil
	}
}
