// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A table has a header and rows of as many cells.
type table struct {
	header []string
	rows   [][]string
}

// tables returns what there is to say of a scenario: distributions by their
// quantiles, the rest by their medians, and where time goes.
func (s Scenario) tables() []table {
	distributions := table{header: []string{"", "samples", "p50", "p99", "max", "floor p50", "floor p99", "floor max", "ratio p50", "ratio p99", "ratio max"}}
	others := table{header: []string{"", "samples", "median", "from – to", "floor", "from – to", "ratio"}}
	for _, m := range s.Measurements {
		row := []string{m.Label(), strconv.Itoa(len(m.Product))}
		if m.Shape == Distribution {
			row = append(append(row, quantiles(m.Unit, m.Product)...), quantiles(m.Unit, m.Floor)...)
			distributions.rows = append(distributions.rows, append(row, FormatRatio(m.Ratio()), FormatRatio(m.RatioAt(0.99)), FormatRatio(m.WorstRatio())))
			continue
		}
		if m.Sparse {
			row[0] += " (mean)"
		}
		row = append(append(row, m.centerAndRange(m.Product)...), m.centerAndRange(m.Floor)...)
		ratio := m.Ratio()
		if m.Shape == Series {
			// What matters of a series is its highest point.
			ratio = m.WorstRatio()
		}
		others.rows = append(others.rows, append(row, FormatRatio(ratio)))
	}
	var all []table
	for _, t := range []table{distributions, others, s.stageTable()} {
		if len(t.rows) > 0 {
			all = append(all, t)
		}
	}
	return all
}

// floors says what the floor is of measurements that have another than the
// scenario.
func (s Scenario) floors() []string {
	var lines []string
	for _, m := range s.Measurements {
		if m.FloorIs != "" {
			lines = append(lines, "Floor of "+m.Label()+": "+m.FloorIs+".")
		}
	}
	return lines
}

func quantiles(u Unit, samples []float64) []string {
	return []string{u.String(Quantile(samples, 0.5)), u.String(Quantile(samples, 0.99)), u.String(Quantile(samples, 1))}
}

func (m Measurement) centerAndRange(samples []float64) []string {
	center := m.Unit.String(m.Center(samples))
	if len(samples) <= 1 || m.Shape == Series && Quantile(samples, 0) == Quantile(samples, 1) {
		return []string{center, ""}
	}
	return []string{center, m.Unit.String(Quantile(samples, 0)) + " – " + m.Unit.String(Quantile(samples, 1))}
}

func (s Scenario) stageTable() table {
	t := table{header: []string{"mean time by stage"}}
	names := StageNames(s.Stages)
	t.header = append(append(t.header, names...), "all")
	for _, bar := range s.Stages {
		row := []string{bar.Name}
		for _, name := range names {
			row = append(row, Second.String(float64(bar.Of(name))))
		}
		t.rows = append(t.rows, append(row, Second.String(float64(bar.Total()))))
	}
	return t
}

// text aligns the columns, the first to the left and the others to the right.
func (t table) text() string {
	widths := make([]int, len(t.header))
	all := append([][]string{t.header}, t.rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for _, row := range all {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				out.WriteString(cell + pad)
			} else {
				out.WriteString("   " + pad + cell)
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}

func (t table) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "| %s |\n|%s\n", strings.Join(t.header, " | "), strings.Repeat("---|", len(t.header)))
	for _, row := range t.rows {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
	}
	return out.String()
}
