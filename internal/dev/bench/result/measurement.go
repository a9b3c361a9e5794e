// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import "math"

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
