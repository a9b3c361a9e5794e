// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
)

// Holder holds the one Config that is in force. It is safe for concurrent use.
//
// Each operation takes Current once and works with that to its end, so that it
// never sees half of one version of the file and half of another.
type Holder struct {
	current atomic.Pointer[Config]

	mu          sync.Mutex // orders what Set stores and tells
	subscribers map[chan struct{}]struct{}
}

// NewHolder returns a Holder of c, which must not be nil.
func NewHolder(c *Config) *Holder {
	h := &Holder{subscribers: map[chan struct{}]struct{}{}}
	h.current.Store(c)
	return h
}

// Current returns the Config in force.
func (h *Holder) Current() *Config { return h.current.Load() }

// Set puts c in force, which must not be nil, and tells the subscribers. In a
// daemon only the [Reloader] does this.
func (h *Holder) Set(c *Config) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current.Store(c)
	for changes := range h.subscribers {
		select {
		case changes <- struct{}{}:
		default: // It has not looked since the last change, and will see both.
		}
	}
}

// Subscribe returns a channel that receives after each Set. Changes that come
// before the receiver gets to the first of them are told once: take Current on
// each. The channel is never closed; cancel ends the subscription, any number
// of times.
func (h *Holder) Subscribe() (changes <-chan struct{}, cancel func()) {
	subscriber := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers[subscriber] = struct{}{}
	return subscriber, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subscribers, subscriber)
	}
}

// Outcome is the result of reading a file that had changed.
type Outcome struct {
	// Time is when it was read.
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
	// Log receives a line when the folder cannot be watched. By default it
	// discards it.
	Log *slog.Logger

	path    string
	holder  *Holder
	report  func(Outcome)
	watcher *filewatch.Watcher
	// seen is set when the file has been read.
	seen bool
}

// NewReloader returns a Reloader of the file at path, from which the Config in
// holder was loaded. Run calls report after each look at a file that had
// changed, one call after the other. Content that is the same to the byte as
// before is not reported, so that a bad file is reported once.
func NewReloader(path string, holder *Holder, report func(Outcome)) *Reloader {
	r := &Reloader{path: path, holder: holder, report: report}
	r.watcher = filewatch.New(path, r.reload)
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

// reload puts the content of the file in force, or rejects it.
func (r *Reloader) reload(c filewatch.Content) {
	first := !r.seen
	r.seen = true
	running := r.holder.Current()
	file, changes, err := r.check(c, running)
	switch {
	case err != nil:
		r.report(Outcome{Time: time.Now(), Config: running, Err: err})
		return
	case file.Hash() == running.Hash():
		if first {
			return // It is what was loaded.
		}
		file = running
	default:
		r.holder.Set(file)
	}
	r.report(Outcome{Time: time.Now(), Config: file, Changes: changes})
}

// check parses the content and rejects changes that need a restart.
func (r *Reloader) check(c filewatch.Content, running *Config) (*Config, []Change, error) {
	if c.Err != nil {
		return nil, nil, openError(c.Err)
	}
	file, err := Parse(r.path, c.Data)
	if err != nil {
		return nil, nil, err
	}
	changes := Diff(running, file)
	if restart := RestartRequired(changes); len(restart) > 0 {
		return nil, nil, &RestartError{File: r.path, Changes: restart}
	}
	return file, changes, nil
}

// RestartError refuses a file that is good, but changes fields that are read
// when a program starts and never again.
//
// Such a field may concern one of the daemons only; the other refuses the file
// all the same. It would else run ahead, with a policy that the first does not
// follow before it is restarted.
type RestartError struct {
	// File is its name.
	File string
	// Changes are those of such fields.
	Changes []Change
}

// Error returns a line for each field, without a newline at the end.
func (e *RestartError) Error() string {
	lines := make([]string, len(e.Changes))
	for i, c := range e.Changes {
		lines[i] = fmt.Sprintf("%s: %s: cannot change while the program runs (from %s to %s), a restart takes it up",
			e.File, c.Path, c.Old, c.New)
	}
	return strings.Join(lines, "\n")
}
