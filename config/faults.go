// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a file.
type Fault struct {
	// File is the name that was given to Parse.
	File string
	// Line and Column count from 1; columns count characters, not bytes. What
	// is missing is reported where it should have been: at its parent.
	Line, Column int
	// Path of the field, such as "certificate.privateKey.size". Empty when the
	// fault concerns the file as a whole.
	Path string
	// Message says what is wrong, what was found and what is allowed, in one
	// line that is safe to print.
	Message string
}

// Error returns FILE:LINE:COLUMN: PATH: MESSAGE.
func (f Fault) Error() string {
	path := f.Path
	if path != "" {
		path += ": "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", f.File, f.Line, f.Column, path, f.Message)
}

// Faults are all the faults of one file, in the order of their positions. Get
// at them with errors.As.
type Faults []Fault

// Error returns a line for each fault, without a newline at the end.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

func (fs Faults) sort() {
	slices.SortFunc(fs, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Message, b.Message),
		)
	})
}
