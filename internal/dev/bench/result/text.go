// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// String says what it was measured on, in one sentence without an end.
func (m Machine) String() string {
	parts := []string{fmt.Sprintf("%d × %s, %s memory", m.Cores, m.CPU, Byte.String(float64(m.Memory))), "Linux " + m.Kernel, m.Go}
	for _, version := range []struct{ of, is string }{{"Kubernetes", m.Kubernetes}, {"cert-manager", m.CertManager}} {
		if version.is != "" {
			parts = append(parts, version.of+" "+version.is)
		}
	}
	return strings.Join(append(parts, "keys: "+m.Key), ", ")
}

// String says for how long, to the second.
func (s Seconds) String() string {
	return time.Duration(float64(s) * float64(time.Second)).Round(time.Second).String()
}

// Text is a scenario as the terminal shows it.
func (s Scenario) Text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %s\nfloor: %s\n", s.Name, s.About, s.Floor)
	for _, t := range s.tables() {
		out.WriteString("\n" + t.text())
	}
	for _, note := range slices.Concat(s.floors(), s.Notes) {
		out.WriteString("note: " + note + "\n")
	}
	if s.Error != "" {
		out.WriteString("FAILED: " + s.Error + "\n")
	}
	return out.String()
}

// Text is the run as the terminal shows it.
func (r *Run) Text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "csi-driver-spiffe %s on %s%s\n", r.Machine.Version, r.Machine, r.caveat())
	for _, s := range r.Scenarios {
		out.WriteString("\n" + s.Text())
	}
	return out.String()
}

// Markdown is the run as README.md has it.
func (r *Run) Markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured on %s at %s, in %s: %s%s.\n", r.Began.UTC().Format(time.DateOnly), r.Machine.Version, r.Took, r.Machine, r.caveat())
	for _, s := range r.Scenarios {
		fmt.Fprintf(&out, "\n**%s**: %s Floor: %s\n", s.Name, s.About, s.Floor)
		for _, t := range s.tables() {
			out.WriteString("\n" + t.markdown())
		}
		if notes := slices.Concat(s.floors(), s.Notes); len(notes) > 0 {
			out.WriteString("\n" + strings.Join(notes, " ") + "\n")
		}
		if s.Error != "" {
			out.WriteString("\nThis scenario failed: " + s.Error + "\n")
		}
	}
	return out.String()
}

func (r *Run) caveat() string {
	if r.Quick {
		return " (a quick run: small sizes, rough numbers)"
	}
	return ""
}

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

// A scale is a multiple of a unit that numbers are written in.
type scale struct {
	from   float64 // the least that is written in it
	factor float64
	name   string
}

func scales(u Unit) []scale {
	switch u {
	case Second:
		return []scale{{1, 1, "s"}, {1e-3, 1e3, "ms"}, {0, 1e6, "µs"}}
	case Byte:
		return []scale{{1 << 30, 1.0 / (1 << 30), "GiB"}, {1 << 20, 1.0 / (1 << 20), "MiB"}, {1 << 10, 1.0 / (1 << 10), "KiB"}, {0, 1, "B"}}
	case PerSecond:
		return []scale{{0, 1, "/s"}}
	case Count:
	}
	return []scale{{0, 1, ""}}
}

// Scale returns what values of the size of v are multiplied with, and the name of
// what they are in then.
func (u Unit) Scale(v float64) (factor float64, name string) {
	of := scales(u)
	for _, s := range of {
		if math.Abs(v) >= s.from {
			return s.factor, s.name
		}
	}
	return of[0].factor, of[0].name
}

// String writes a value as people read it: three digits, in a fitting multiple of
// the unit. What is not known is "–".
func (u Unit) String(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	if v == 0 {
		return "0"
	}
	factor, name := u.Scale(v)
	if name != "" && name[0] != '/' {
		name = " " + name
	}
	return digits(v*factor) + name
}

// digits writes three digits, and all those before the point.
func digits(v float64) string {
	switch size := math.Abs(v); {
	case size >= 99.95 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case size >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// FormatRatio writes a ratio, or "–" if there is none.
func FormatRatio(ratio float64) string {
	switch {
	case math.IsNaN(ratio) || math.IsInf(ratio, 0):
		return "–"
	case ratio >= 99.5:
		return fmt.Sprintf("%.0f", ratio)
	case ratio >= 9.95:
		return fmt.Sprintf("%.1f", ratio)
	}
	return fmt.Sprintf("%.2f", ratio)
}
