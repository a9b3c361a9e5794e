// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A report is the table that the test prints in the end.
type report struct{ rows [][3]string }

// add adds what was done, how long it took, and what pods saw.
func (r *report) add(what string, took time.Duration, saw string) {
	r.rows = append(r.rows, [3]string{what, took.Round(100 * time.Millisecond).String(), saw})
}

// timed adds what has just been done since start.
func (r *report) timed(what string, start time.Time, format string, args ...any) {
	r.add(what, time.Since(start), fmt.Sprintf(format, args...))
}

// write writes the table in Markdown.
func (r *report) write(w io.Writer) {
	fmt.Fprint(w, "\n| what | took | what pods saw |\n|---|---|---|\n")
	for _, row := range r.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row[:], " | "))
	}
	fmt.Fprintln(w)
}
