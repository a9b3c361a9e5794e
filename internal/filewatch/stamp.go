// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package filewatch

import (
	"os"
	"syscall"
	"time"
)

// stamp is what tells without reading a file that it is as it was. The zero
// value is that of no file.
type stamp struct {
	device, inode    uint64
	size             int64
	changed, written syscall.Timespec
}

// restless is for how long after a change the next one might leave the stamp as
// it is: the clock of a file system has gaps.
const restless = 2 * time.Second

// stampOf returns the stamp of a file, wherever links lead, or the zero value if
// it says nothing.
func stampOf(path string, now time.Time) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || now.Sub(time.Unix(stat.Ctim.Unix())).Abs() < restless {
		return stamp{}
	}
	return stamp{stat.Dev, stat.Ino, stat.Size, stat.Ctim, stat.Mtim}
}

// untouched reports whether the file is the one that the last poll read. A
// program that has nothing to do reads nothing.
func (w *Watcher) untouched() bool {
	now := stampOf(w.path, time.Now())
	same := now != stamp{} && now == w.stamp
	w.stamp = now
	return same
}
