// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
)

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

// look takes up the content of the file, or refuses it.
func (r *Reloader) look(c filewatch.Content) {
	first := !r.looked
	r.looked = true
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

// check does all that can fail.
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
