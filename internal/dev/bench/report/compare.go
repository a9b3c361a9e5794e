// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// confidence is that of the intervals, and one less the level at which two runs
// are told apart.
const confidence = 0.95

// comparison is what differs between two runs.
type comparison struct {
	before, after *result.Run
	rows          []row
	// missing are measurements that only one of the two has.
	missing []string
	// warnings say why the two should not be compared, or not by their times.
	warnings []string
}

// row is one measurement in both runs: its values, and how many times the floor
// they are.
type row struct {
	name          string
	values, ratio delta
}

// delta compares two samples as benchstat does: by their medians, without an
// assumption about how they are distributed.
type delta struct {
	old, new benchmath.Summary
	// change is in percent of the old, or "~" if it may be chance.
	change string
	test   benchmath.Comparison
	exact  bool
	write  func(float64) string
}

// compare puts side by side what both runs have measured.
func compare(before, after *result.Run) comparison {
	c := comparison{before: before, after: after, warnings: differences(before, after)}
	old := byName(before)
	seen := map[string]bool{}
	for _, s := range after.Scenarios {
		for _, m := range s.Measurements {
			name := s.Name + ": " + m.Label()
			seen[name] = true
			earlier, found := old[name]
			if !found {
				c.missing = append(c.missing, name+" (new)")
				continue
			}
			c.rows = append(c.rows, compareOne(name, earlier, m))
		}
	}
	for _, s := range before.Scenarios {
		for _, m := range s.Measurements {
			if name := s.Name + ": " + m.Label(); !seen[name] {
				c.missing = append(c.missing, name+" (no longer)")
			}
		}
	}
	return c
}

func byName(run *result.Run) map[string]result.Measurement {
	all := map[string]result.Measurement{}
	for _, s := range run.Scenarios {
		for _, m := range s.Measurements {
			all[s.Name+": "+m.Label()] = m
		}
	}
	return all
}

// compareOne takes one value for each round of samples that are not independent of
// each other: a hundred pods that started together are one observation.
func compareOne(name string, before, after result.Measurement) row {
	var assume benchmath.Assumption = benchmath.AssumeNothing
	if before.Exact && after.Exact {
		assume = benchmath.AssumeExact
	}
	if before.Sparse && after.Sparse {
		// Of the medians, which are 0 most often, nothing could be told.
		return row{name: name, values: newDelta(benchmath.AssumeNormal, before.Product, after.Product, after.Unit.String)}
	}
	return row{
		name:   name,
		values: newDelta(assume, result.Independent(before.Product, before.Round), result.Independent(after.Product, after.Round), after.Unit.String),
		ratio:  newDelta(assume, before.Ratios(), after.Ratios(), result.FormatRatio),
	}
}

func newDelta(assume benchmath.Assumption, before, after []float64, write func(float64) string) delta {
	if len(before) == 0 || len(after) == 0 {
		return delta{}
	}
	thresholds := benchmath.DefaultThresholds
	old := benchmath.NewSample(slices.Clone(before), &thresholds)
	now := benchmath.NewSample(slices.Clone(after), &thresholds)
	d := delta{
		old: assume.Summary(old, confidence), new: assume.Summary(now, confidence), test: assume.Compare(old, now),
		exact: assume == benchmath.AssumeExact, write: write,
	}
	d.test.Alpha = thresholds.CompareAlpha // which AssumeNormal leaves out
	d.change = d.test.FormatDelta(d.old.Center, d.new.Center)
	return d
}

// differences says what else than the product differs between two runs.
func differences(before, after *result.Run) []string {
	var found []string
	for _, d := range []struct {
		what     string
		old, new any
	}{
		{"CPU", before.Machine.CPU, after.Machine.CPU},
		{"cores", before.Machine.Cores, after.Machine.Cores},
		{"keys", before.Machine.Key, after.Machine.Key},
		{"kernel", before.Machine.Kernel, after.Machine.Kernel},
		{"Go", before.Machine.Go, after.Machine.Go},
		{"Kubernetes", before.Machine.Kubernetes, after.Machine.Kubernetes},
		{"cert-manager", before.Machine.CertManager, after.Machine.CertManager},
		{"quick", before.Quick, after.Quick},
	} {
		if d.old != d.new {
			found = append(found, fmt.Sprintf("%s: %v, now %v", d.what, d.old, d.new))
		}
	}
	return found
}

// text is the comparison as the terminal shows it.
func (c comparison) text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "compared by medians, with their 95%% confidence intervals; ~: not significant (Mann-Whitney U, p > 0.05);\nsamples that are 0 most often by their means (Welch's t-test)\n")
	fmt.Fprintf(&out, "old: %s, %s\nnew: %s, %s\n", c.before.Machine.Version, c.before.Machine, c.after.Machine.Version, c.after.Machine)
	if len(c.warnings) > 0 {
		fmt.Fprintf(&out, "the two runs differ: %s; look at the ratios to the floor alone\n", strings.Join(c.warnings, "; "))
	}
	out.WriteString("\n")
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\told\tnew\tdelta\t\told ratio\tnew ratio\tdelta\t")
	few := false
	for _, r := range c.rows {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", r.name, r.values, r.ratio)
		few = few || r.values.isShort()
	}
	_ = table.Flush()
	if few {
		out.WriteString("\nFour independent samples of each are the least that can show a difference: -rounds.\n")
	}
	if len(c.missing) > 0 {
		fmt.Fprintf(&out, "\nnot in both: %s\n", strings.Join(c.missing, "; "))
	}
	return out.String()
}

// String writes the four cells of a delta.
func (d delta) String() string {
	if d.write == nil {
		return "–\t–\t\t"
	}
	if d.exact {
		return fmt.Sprintf("%s\t%s\t%s\t", d.write(d.old.Center), d.write(d.new.Center), d.change)
	}
	return fmt.Sprintf("%s ± %s\t%s ± %s\t%s\t(%s)",
		d.write(d.old.Center), d.old.PctRangeString(), d.write(d.new.Center), d.new.PctRangeString(), d.change, d.test)
}

// isShort reports whether there are too few samples to tell anything apart.
func (d delta) isShort() bool { return d.write != nil && !d.exact && min(d.test.N1, d.test.N2) < 4 }
