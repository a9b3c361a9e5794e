// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package result_test

import (
	"math"
	"slices"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

func TestQuantilesAndMedian(t *testing.T) {
	t.Parallel()
	hundred := make([]float64, 101)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, row := range []struct {
		name      string
		got, want float64
	}{
		{"median of many, in any order", result.Quantile(hundred, 0.5), 50},
		{"99th percentile", result.Quantile(hundred, 0.99), 99},
		{"greatest", result.Quantile(hundred, 1), 100},
		{"least", result.Quantile(hundred, 0), 0},
		{"one sample is every quantile", result.Quantile([]float64{7}, 0.99), 7},
		{"median of an even number", result.Median([]float64{4, 1, 3, 2}), 2.5},
		{"median of an odd number", result.Median([]float64{3, 1, 2}), 2},
	} {
		if row.got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, row.got, row.want)
		}
	}
	for name, got := range map[string]float64{"quantile": result.Quantile(nil, 0.5), "median": result.Median(nil)} {
		if !math.IsNaN(got) {
			t.Errorf("%s of nothing: got %v, want NaN", name, got)
		}
	}
}

func TestSamplesOfARoundAreOneObservation(t *testing.T) {
	t.Parallel()
	samples := []float64{1, 2, 3, 10, 20, 30, 5}
	if got, want := result.Independent(samples, 3), []float64{2, 20, 5}; !slices.Equal(got, want) {
		t.Errorf("in rounds of 3: got %v, want %v", got, want)
	}
	if got := result.Independent(samples, 0); !slices.Equal(got, samples) {
		t.Errorf("without rounds: got %v, want %v", got, samples)
	}
}

func TestRatios(t *testing.T) {
	t.Parallel()
	times := result.Measurement{Unit: result.Second, Product: []float64{2, 6, 4}, Floor: []float64{1, 2, 4}}
	rates := result.Measurement{Unit: result.PerSecond, Product: []float64{50}, Floor: []float64{100}}
	sparse := result.Measurement{Unit: result.Count, Sparse: true, Product: []float64{0, 0, 6}, Floor: []float64{0, 0, 3}}
	unpaired := result.Measurement{Unit: result.Second, Product: []float64{2, 4}, Floor: []float64{2}}
	for _, row := range []struct {
		name      string
		got, want float64
	}{
		{"times, by medians", times.Ratio(), 2},
		{"times, the worst of each", times.WorstRatio(), 1.5},
		{"of rates the floor is the higher", rates.Ratio(), 2},
		{"rare events, by means", sparse.Ratio(), 2},
	} {
		if row.got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, row.got, row.want)
		}
	}
	if got, want := times.Ratios(), []float64{2, 3, 1}; !slices.Equal(got, want) {
		t.Errorf("taken in turns: got %v, want %v", got, want)
	}
	if got, want := unpaired.Ratios(), []float64{1, 2}; !slices.Equal(got, want) {
		t.Errorf("not taken in turns: got %v, want %v", got, want)
	}
	if none := (result.Measurement{Unit: result.Second, Product: []float64{1}}); !math.IsNaN(none.Ratio()) || none.Ratios() != nil {
		t.Errorf("without a floor: got %v and %v, want NaN and none", none.Ratio(), none.Ratios())
	}
}

func TestValuesAreWrittenAsPeopleReadThem(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		unit  result.Unit
		value float64
		want  string
	}{
		{result.Second, 0.0603, "60.3 ms"},
		{result.Second, 1.234, "1.23 s"},
		{result.Second, 0.0000421, "42.1 µs"},
		{result.Second, 0, "0"},
		{result.Second, math.NaN(), "–"},
		{result.Byte, 44 << 20, "44 MiB"},
		{result.Byte, 1536, "1.50 KiB"},
		{result.Byte, 3 << 30, "3 GiB"},
		{result.PerSecond, 62.04, "62.0/s"},
		{result.Count, 18, "18"},
	} {
		if got := row.unit.String(row.value); got != row.want {
			t.Errorf("%v of %s: got %q, want %q", row.value, row.unit, got, row.want)
		}
	}
	for ratio, want := range map[float64]string{1.4: "1.40", 12.34: "12.3", 230.4: "230", math.Inf(1): "–"} {
		if got := result.FormatRatio(ratio); got != want {
			t.Errorf("ratio %v: got %q, want %q", ratio, got, want)
		}
	}
}
