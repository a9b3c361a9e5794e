// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package filewatch

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// Watcher follows one file. Make it with [New].
//
// It hears of changes from the kernel, by a watch on the file's folder, and
// looks from time to time besides: for files that change unheard, on a network
// file system, behind a symlink that leads far away, or because the machine has
// run out of watches. While the file stays as it is, nothing is read.
type Watcher struct {
	// Settle is how long a file must have been left alone to be read, so that
	// one that is being written is not read by halves: 100 ms by default.
	Settle time.Duration
	// Poll is the time between two looks without being told, longer than Settle:
	// 30 s by default.
	Poll time.Duration
	// Most is how many bytes a good file may have: 1 MiB by default.
	Most int64
	// Log is told when the folder cannot be watched. By default that is told
	// to nobody.
	Log *slog.Logger
	// Refuse, unless nil, is asked before each watch, and an error of it is one
	// of watching. It is for tests.
	Refuse func() error

	path   string
	report func(Content)
	folder folder
	// deaf is set while the folder cannot be watched.
	deaf bool
	// seen is what was reported last; zero: nothing yet.
	seen digest
	// stamp is that of the file when a poll last read it.
	stamp stamp
	// pending is what a poll has found and is to be looked at when it has
	// stayed so; zero: nothing.
	pending digest
}

// New returns a Watcher of the file at path. Run calls report with each content
// that is not the same to the byte, or the same error, as the one before, one
// call after the other; the first is what is there when Run begins.
func New(path string, report func(Content)) *Watcher {
	return &Watcher{
		Settle: 100 * time.Millisecond, Poll: 30 * time.Second, Most: 1 << 20, Log: slog.New(slog.DiscardHandler),
		path: path, report: report, folder: folder{file: path},
	}
}

// Run follows the file until ctx ends. A receive from hangup, which may be nil,
// has it look at once.
func (w *Watcher) Run(ctx context.Context, hangup <-chan os.Signal) {
	w.listen()
	defer w.folder.close()
	// The file may have changed since somebody read it.
	settled := time.NewTimer(w.Settle)
	defer settled.Stop()
	poll := time.NewTicker(w.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			w.look(w.read())
		case event := <-w.folder.events():
			if w.folder.concerns(event) {
				settled.Reset(w.Settle)
			}
		case <-w.folder.errors():
			settled.Reset(w.Settle)
		case <-poll.C:
			w.listen()
			if !w.untouched() && w.found(w.read()) {
				settled.Reset(w.Settle)
			}
		case <-settled.C:
			w.listen() // the folder itself may have been replaced
			if w.settled(w.read()) {
				settled.Reset(w.Settle)
			}
		}
	}
}

func (w *Watcher) read() Content { return Read(w.path, w.Most) }

// listen watches the folder, if that can be done.
func (w *Watcher) listen() {
	err := w.watch()
	if err != nil && !w.deaf {
		w.Log.Warn("the folder of a file cannot be watched; the file is looked at from time to time",
			"file", w.path, "folder", w.folder.path(), "every", w.Poll, "error", err)
	}
	w.deaf = err != nil
}

func (w *Watcher) watch() error {
	if w.Refuse != nil {
		if err := w.Refuse(); err != nil {
			return err
		}
	}
	return w.folder.watch()
}

// found notes what a poll has found, and reports whether it is to be looked at
// again after a while.
func (w *Watcher) found(c Content) (again bool) {
	w.pending = digest{}
	if now := c.digest(); now != w.seen {
		w.pending = now
	}
	return w.pending != digest{}
}

// settled looks at the file when nothing has been heard of it for a while. What
// was found by a poll must have stayed so: nothing would have been heard.
func (w *Watcher) settled(c Content) (again bool) {
	if w.pending != (digest{}) && w.pending != c.digest() {
		return w.found(c)
	}
	w.pending = digest{}
	w.look(c)
	return false
}

// look reports a content unless it is what was reported before.
func (w *Watcher) look(c Content) {
	if now := c.digest(); now != w.seen {
		w.seen = now
		w.report(c)
	}
}
