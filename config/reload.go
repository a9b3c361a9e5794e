// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// Outcome tells of one look at a file that had changed.
type Outcome struct {
	// Time is when it was looked at.
	Time time.Time
	// Config is the one that is running now: the file's, or, if that was
	// refused, the one that had been running before, whole.
	Config *Config
	// Changes are what is different in Config from before. There are none if
	// the file was refused, if only its comments or its layout changed, and if
	// it is again what is running, after it had been refused.
	Changes []Change
	// Err is why the file was refused, nil if it was not: [Faults], a
	// [*RestartError], or what the operating system said to reading it.
	Err error
}

// Reloader keeps a Holder in step with its file. Make it with NewReloader.
//
// It hears of changes from the kernel, by a watch on the file's folder, and
// looks from time to time besides: for files that change unheard, on a network
// file system, behind a symlink that leads far away, or because the machine has
// run out of watches.
//
// Whatever can fail, fails before the Holder is changed. While the file is bad,
// or cannot be read, or demands what only a restart can do, the Config that is
// running stays.
type Reloader struct {
	// Settle is how long a file must have been left alone to be read, so that
	// one that is being written is not read by halves: 100 ms by default.
	Settle time.Duration
	// Poll is the time between two looks without being told, longer than Settle:
	// 30 s by default.
	Poll time.Duration
	// Log is told when the folder cannot be watched. By default that is told
	// to nobody.
	Log *slog.Logger

	path   string
	holder *Holder
	report func(Outcome)

	folder folder
	// watch is folder.watch.
	watch func() error
	// deaf is set while the folder cannot be watched.
	deaf bool
	// seen is what was looked at last; zero: nothing yet.
	seen digest
	// stamp is that of the file when a poll last read it.
	stamp stamp
	// pending is what a poll has found and is to be looked at when it has
	// stayed so; zero: nothing.
	pending digest
}

// NewReloader returns a Reloader of the file at path, from which the Config in
// holder was loaded. Run calls report after each look at a file that had
// changed, one call after the other. Content that is the same to the byte as
// before is not reported, so that a bad file is reported once.
func NewReloader(path string, holder *Holder, report func(Outcome)) *Reloader {
	r := &Reloader{
		Settle: 100 * time.Millisecond, Poll: 30 * time.Second, Log: slog.New(slog.DiscardHandler),
		path: path, holder: holder, report: report, folder: folder{file: path},
	}
	r.watch = r.folder.watch
	return r
}

// Run follows the file until ctx ends, and returns nil then. A receive from
// hangup, which may be nil, has it look at once. Standard input and whatever
// else can be read only once is not followed.
func (r *Reloader) Run(ctx context.Context, hangup <-chan os.Signal) error {
	if info, err := os.Stat(r.path); r.path == "-" || err == nil && !info.Mode().IsRegular() {
		<-ctx.Done()
		return nil
	}
	r.listen()
	defer r.folder.close()
	// The file may have changed since it was loaded.
	settled := time.NewTimer(r.Settle)
	defer settled.Stop()
	poll := time.NewTicker(r.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			r.look(readContent(r.path))
		case event := <-r.folder.events():
			if r.folder.concerns(event) {
				settled.Reset(r.Settle)
			}
		case <-r.folder.errors():
			settled.Reset(r.Settle)
		case <-poll.C:
			r.listen()
			if !r.untouched() && r.found(readContent(r.path)) {
				settled.Reset(r.Settle)
			}
		case <-settled.C:
			r.listen() // the folder itself may have been replaced
			if r.settled(readContent(r.path)) {
				settled.Reset(r.Settle)
			}
		}
	}
}

// listen watches the folder, if that can be done.
func (r *Reloader) listen() {
	err := r.watch()
	if err != nil && !r.deaf {
		r.Log.Warn("the folder of the configuration file cannot be watched; the file is looked at from time to time",
			"folder", r.folder.path(), "every", r.Poll, "error", err)
	}
	r.deaf = err != nil
}

// found notes what a poll has found, and reports whether it is to be looked at
// again after a while.
func (r *Reloader) found(c content) (again bool) {
	r.pending = digest{}
	if now := c.digest(); now != r.seen {
		r.pending = now
	}
	return r.pending != digest{}
}

// settled looks at the file when nothing has been heard of it for a while. What
// was found by a poll must have stayed so: nothing would have been heard.
func (r *Reloader) settled(c content) (again bool) {
	if r.pending != (digest{}) && r.pending != c.digest() {
		return r.found(c)
	}
	r.pending = digest{}
	r.look(c)
	return false
}
