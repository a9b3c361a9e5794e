// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"math"
)

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
