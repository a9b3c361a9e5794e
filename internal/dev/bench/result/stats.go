// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"math"
	"slices"
)

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
