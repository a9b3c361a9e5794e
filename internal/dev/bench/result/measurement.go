// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"math"
	"slices"
)

// Measurement is one quantity, of the product and of the floor.
type Measurement struct {
	// Name tells it from the others of its group, as "110 at once".
	Name string `json:"name"`
	// Group is what measurements of one unit are about that belong side by side,
	// as "CPU time, idle"; it may be empty.
	Group string `json:"group,omitempty"`
	Unit  Unit   `json:"unit"`
	Shape Shape  `json:"shape"`
	// Round is how many samples, one after another, were taken together and are
	// not independent of each other: pods that start together wait for each other.
	// 0 means that each sample stands for itself.
	Round int `json:"round,omitempty"`
	// Exact tells that it is the same whenever it is measured, as the size of a
	// file is: one sample is enough.
	Exact bool `json:"exact,omitempty"`
	// Sparse tells that many samples are 0 and a few are not, as of rare events:
	// then the mean says more than the median.
	Sparse bool `json:"sparse,omitempty"`
	// Product and Floor are the samples, in the order in which they were taken.
	Product []float64 `json:"product"`
	Floor   []float64 `json:"floor"`
	// FloorIs says what the floor is where it is another than the scenario's, or
	// why there is none.
	FloorIs string `json:"floorIs,omitempty"`
}

// Label is group and name in one.
func (m Measurement) Label() string {
	if m.Group == "" || m.Name == "" {
		return m.Group + m.Name
	}
	return m.Group + ", " + m.Name
}

// Shape says how the samples are looked at.
type Shape string

// The shapes of measurements.
const (
	// Distribution is for many samples: what matters is how they lie.
	Distribution Shape = "distribution"
	// Bar is for a few samples of the same: what matters is their median.
	Bar Shape = "bar"
	// Series is for samples that follow each other in time.
	Series Shape = "series"
)

// Unit is what a measurement is counted in.
type Unit string

// The units of measurements.
const (
	Second    Unit = "s"
	Byte      Unit = "B"
	PerSecond Unit = "1/s"
	Count     Unit = "1"
)

// HigherIsBetter reports whether more is better; of all but rates, less is.
func (u Unit) HigherIsBetter() bool { return u == PerSecond }

// StageBar is the time that something takes, in parts that follow each other.
type StageBar struct {
	// Name is whose time it is, as "driver".
	Name   string  `json:"name"`
	Stages []Stage `json:"stages"`
}

// Stage is one part, by the mean of all that were measured.
type Stage struct {
	Name    string  `json:"name"`
	Seconds Seconds `json:"seconds"`
}

// Total is the time of all stages.
func (b StageBar) Total() Seconds {
	var total Seconds
	for _, stage := range b.Stages {
		total += stage.Seconds
	}
	return total
}

// Of returns the time of a stage, and NaN if there is no such stage.
func (b StageBar) Of(name string) Seconds {
	for _, stage := range b.Stages {
		if stage.Name == name {
			return stage.Seconds
		}
	}
	return Seconds(math.NaN())
}

// StageNames returns the names of the stages of all bars, in order.
func StageNames(bars []StageBar) []string {
	var names []string
	seen := map[string]bool{}
	for _, bar := range bars {
		for _, stage := range bar.Stages {
			if !seen[stage.Name] {
				seen[stage.Name] = true
				names = append(names, stage.Name)
			}
		}
	}
	return names
}

// Quantile returns the value below which a part (0 to 1) of the samples lies:
// always one of the samples. It is NaN if there are none.
func Quantile(samples []float64, part float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[int(float64(len(sorted)-1)*part)]
}

// Median is that of the samples, the mean of the two in the middle if their number
// is even. It is NaN if there are none.
func Median(samples []float64) float64 {
	n := len(samples)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Independent returns one value for each round, its median, where samples were
// taken in rounds; else the samples.
func Independent(samples []float64, round int) []float64 {
	if round <= 1 {
		return slices.Clone(samples)
	}
	var medians []float64
	for part := range slices.Chunk(samples, round) {
		medians = append(medians, Median(part))
	}
	return medians
}

// Ratio returns how many times the floor the product is: 1 is the least possible,
// and more is worse, also of rates. It is NaN if there is no floor.
func (m Measurement) Ratio() float64 { return m.ratio(m.Center(m.Product), m.Center(m.Floor)) }

// RatioAt is Ratio of a quantile of each, such as 0.99.
func (m Measurement) RatioAt(part float64) float64 {
	if m.Unit.HigherIsBetter() {
		part = 1 - part
	}
	return m.ratio(Quantile(m.Product, part), Quantile(m.Floor, part))
}

// WorstRatio is Ratio of the worst sample of each.
func (m Measurement) WorstRatio() float64 { return m.RatioAt(1) }

// Center is the one number for samples of this measurement: their median, or their
// mean if they are sparse. It is NaN if there are none.
func (m Measurement) Center(samples []float64) float64 {
	if !m.Sparse || len(samples) == 0 {
		return Median(samples)
	}
	sum := 0.0
	for _, v := range samples {
		sum += v
	}
	return sum / float64(len(samples))
}

// Ratios returns the ratio of each independent value of the product to that of the
// floor which was taken in the same turn, or, where they were not taken in turns,
// to the floor's median.
func (m Measurement) Ratios() []float64 {
	product, floor := Independent(m.Product, m.Round), Independent(m.Floor, m.Round)
	if len(floor) == 0 {
		return nil
	}
	var ratios []float64
	for i, value := range product {
		least := m.Center(floor)
		if len(floor) == len(product) {
			least = floor[i]
		}
		if ratio := m.ratio(value, least); !math.IsNaN(ratio) {
			ratios = append(ratios, ratio)
		}
	}
	return ratios
}

func (m Measurement) ratio(product, floor float64) float64 {
	if m.Unit.HigherIsBetter() {
		product, floor = floor, product
	}
	if floor == 0 {
		return math.NaN()
	}
	return product / floor
}
