// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
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
// How it learns of changes is told in package filewatch. Whatever can fail, fails
// before the Holder is changed. While the file is bad, or cannot be read, or
// demands what only a restart can do, the Config that is running stays.
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

	path    string
	holder  *Holder
	report  func(Outcome)
	watcher *filewatch.Watcher
	// looked is set when the file has been looked at.
	looked bool
}

// NewReloader returns a Reloader of the file at path, from which the Config in
// holder was loaded. Run calls report after each look at a file that had
// changed, one call after the other. Content that is the same to the byte as
// before is not reported, so that a bad file is reported once.
func NewReloader(path string, holder *Holder, report func(Outcome)) *Reloader {
	r := &Reloader{path: path, holder: holder, report: report}
	r.watcher = filewatch.New(path, r.look)
	r.Settle, r.Poll, r.Log = r.watcher.Settle, r.watcher.Poll, r.watcher.Log
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
	r.watcher.Settle, r.watcher.Poll, r.watcher.Log, r.watcher.Most = r.Settle, r.Poll, r.Log, maxSize
	r.watcher.Run(ctx, hangup)
	return nil
}
