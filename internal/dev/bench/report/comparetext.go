// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

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
