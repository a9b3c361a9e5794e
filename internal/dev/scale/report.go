// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// report is what one simulation has measured, in order.
type report struct {
	Scenario string    `json:"scenario"`
	Began    time.Time `json:"began"`
	Rows     []row     `json:"rows"`
	// Series are counts by slices of time.
	Series []series `json:"series,omitempty"`
}

// row is one number.
type row struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// series are counts in slices of time.
type series struct {
	Name   string  `json:"name"`
	Slice  float64 `json:"sliceSeconds"`
	Counts []int   `json:"counts"`
}

func newReport(scenario string) *report { return &report{Scenario: scenario, Began: time.Now()} }

// add leaves out what is not known, as the quotient of two numbers that are not
// there yet: the API server estimates sizes once a minute.
func (r *report) add(name string, value float64, unit string) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	r.Rows = append(r.Rows, row{name, value, unit})
}

func (r *report) addSeries(name string, slice time.Duration, counts []int) {
	r.Series = append(r.Series, series{name, slice.Seconds(), counts})
}

// write prints the report as a table, and writes it as JSON into a folder.
func (r *report) write(out io.Writer, folder string) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "\n%s\n", r.Scenario)
	for _, row := range r.Rows {
		_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\n", row.Name, short(row.Value), row.Unit)
	}
	_ = table.Flush()
	for _, s := range r.Series {
		_, _ = fmt.Fprintf(out, "  %s, each %.0f s: %v\n", s.Name, s.Slice, s.Counts)
	}
	if folder == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, r.Scenario+"-"+r.Began.UTC().Format("20060102T150405")+".json"), append(data, '\n'), 0o600)
}

// short has three digits or all before the point.
func short(value float64) string {
	switch {
	case value == float64(int64(value)), value >= 100 || value <= -100:
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	default:
		return fmt.Sprintf("%.2f", value)
	}
}
