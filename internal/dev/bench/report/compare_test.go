// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

func rowOf(t *testing.T, c comparison, name string) row {
	t.Helper()
	i := slices.IndexFunc(c.rows, func(r row) bool { return r.name == name })
	if i < 0 {
		t.Fatalf("no row %q", name)
	}
	return c.rows[i]
}

func TestCompare(t *testing.T) {
	t.Parallel()
	same, slower := compare(example(1), example(1)), compare(example(1), example(2))
	for _, row := range []struct {
		name, of      string
		c             comparison
		change, ratio string
	}{
		{"the same run", "publish: one by one", same, "~", "~"},
		{"twice as slow", "publish: one by one", slower, "+100.00%", "+100.00%"},
		{"two rounds are too few to tell", "publish: 2 at once", slower, "~", "~"},
		{"what is exact differs at once", "idle: size, program", slower, "+100.00%", "+100.00%"},
	} {
		got := rowOf(t, row.c, row.of)
		if got.values.change != row.change || got.ratio.change != row.ratio {
			t.Errorf("%s: got %q, ratio %q, want %q, %q", row.name, got.values.change, got.ratio.change, row.change, row.ratio)
		}
	}
	one := rowOf(t, slower, "publish: one by one")
	if p := one.values.test.P; p <= 0 || p > 0.05 || one.values.test.N1 != 6 {
		t.Errorf("p is %v of %d samples, want at most 0.05 of 6", p, one.values.test.N1)
	}
	if rounds := rowOf(t, slower, "publish: 2 at once").values.test.N1; rounds != 2 {
		t.Errorf("%d observations of 4 samples in rounds of 2, want 2", rounds)
	}
}

// Of samples that are 0 most often the means are compared.
func TestSparseSamplesAreCompared(t *testing.T) {
	t.Parallel()
	idle := func(samples ...float64) result.Measurement {
		return result.Measurement{Name: "CPU", Unit: result.Second, Shape: result.Bar, Sparse: true, Product: samples, Floor: []float64{0, 0, 0, 0, 0}}
	}
	before := idle(0, 0, 0.001, 0, 0)
	for _, row := range []struct {
		name  string
		after result.Measurement
		same  bool
	}{
		{"another moment", idle(0, 0.001, 0, 0, 0), true},
		{"not idle any more", idle(0.05, 0.06, 0.05, 0.07, 0.06), false},
	} {
		if got := compareOne("idle", before, row.after).values.change; (got == "~") != row.same {
			t.Errorf("%s: got %q", row.name, got)
		}
	}
}

// A slower machine is slower for the floor, too: only the ratio says that the
// product is what it was.
func TestASlowerMachineIsNoSlowerProduct(t *testing.T) {
	t.Parallel()
	slower := example(2)
	floor := slower.Scenarios[0].Measurements[0].Floor
	for i := range floor {
		floor[i] *= 2
	}
	slower.Machine.CPU = "Some slow CPU"
	c := compare(example(1), slower)
	one := rowOf(t, c, "publish: one by one")
	if one.values.change != "+100.00%" || one.ratio.change != "~" {
		t.Errorf("got %q, ratio %q, want +100.00%% and ~", one.values.change, one.ratio.change)
	}
	if text := c.text(); !strings.Contains(text, "the two runs differ: CPU: Some CPU, now Some slow CPU; look at the ratios") {
		t.Errorf("no warning:\n%s", text)
	}
}

func TestWhatOnlyOneRunHasIsNamed(t *testing.T) {
	t.Parallel()
	before, after := example(1), example(1)
	before.Scenarios = append(before.Scenarios, result.Scenario{Name: "old", Measurements: []result.Measurement{{Name: "gone"}}})
	after.Scenarios = append(after.Scenarios, result.Scenario{Name: "new", Measurements: []result.Measurement{{Name: "come"}}})
	text := compare(before, after).text()
	if !strings.Contains(text, "not in both: new: come (new); old: gone (no longer)") {
		t.Errorf("not named:\n%s", text)
	}
	if !strings.Contains(text, "-rounds") {
		t.Errorf("two samples are too few, and nobody says so:\n%s", text)
	}
}
