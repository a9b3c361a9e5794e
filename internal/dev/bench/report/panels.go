// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// panelsOf returns a panel for each distribution and series, and one for the bars
// of each group.
func panelsOf(s result.Scenario) []*plot.Plot {
	var panels []*plot.Plot
	drawn := map[string]bool{}
	for _, m := range s.Measurements {
		if len(m.Product) == 0 {
			continue
		}
		switch m.Shape {
		case result.Distribution:
			panels = append(panels, distributionPanel(m))
		case result.Series:
			panels = append(panels, seriesPanel(m))
		case result.Bar:
			if key := groupKey(m); !drawn[key] {
				drawn[key] = true
				panels = append(panels, barPanel(group(s.Measurements, key)))
			}
		}
	}
	return panels
}

// groupKey is the same for measurements whose bars stand side by side.
func groupKey(m result.Measurement) string {
	name := m.Group
	if name == "" {
		name = m.Name
	}
	return name + "\x00" + string(m.Unit)
}

func group(all []result.Measurement, key string) []result.Measurement {
	return slices.DeleteFunc(slices.Clone(all), func(m result.Measurement) bool {
		return m.Shape != result.Bar || groupKey(m) != key || len(m.Product) == 0
	})
}

// axisLabel names a quantity in a multiple of its unit.
func axisLabel(u result.Unit, scaled string) string {
	switch u {
	case result.Second:
		return "time (" + scaled + ")"
	case result.Byte:
		return "size (" + scaled + ")"
	case result.PerSecond:
		return "per second"
	case result.Count:
	}
	return "number"
}

// distributionPanel shows for each value how many samples are no greater: the
// steeper and the further to the left, the better.
func distributionPanel(m result.Measurement) *plot.Plot {
	factor, scaled := m.Unit.Scale(slices.Max(slices.Concat(m.Product, m.Floor)))
	p := newPanel(m.Label(), axisLabel(m.Unit, scaled), "share of samples (%)")
	p.Y.Max = 100
	p.Add(plotter.NewGrid())
	for _, of := range []struct {
		samples []float64
		floor   bool
	}{{m.Floor, true}, {m.Product, false}} {
		if len(of.samples) == 0 {
			continue
		}
		line, err := plotter.NewLine(steps(of.samples, factor))
		if err != nil {
			continue // there are samples, which is all that it asks
		}
		line.StepStyle = plotter.PostStep
		line.Width = vg.Points(1.8)
		line.Color = productColor()
		if of.floor {
			line.Color = floorColor()
			line.Dashes = []vg.Length{5, 2}
		}
		p.Add(line)
	}
	return p
}

// steps are the samples in order, each with the share that is no greater.
func steps(samples []float64, factor float64) plotter.XYs {
	sorted := slices.Sorted(slices.Values(samples))
	points := plotter.XYs{{X: sorted[0] * factor, Y: 0}}
	for i, value := range sorted {
		points = append(points, plotter.XY{X: value * factor, Y: 100 * float64(i+1) / float64(len(sorted))})
	}
	return points
}

// seriesPanel shows values one after another.
func seriesPanel(m result.Measurement) *plot.Plot {
	factor, scaled := m.Unit.Scale(slices.Max(slices.Concat(m.Product, m.Floor)))
	p := newPanel(m.Label(), "in order", axisLabel(m.Unit, scaled))
	var values plotter.Values
	for _, v := range m.Product {
		values = append(values, v*factor)
	}
	width := (panelWidth - 3*gap) / vg.Length(len(values)+2) * 0.75
	if bars, err := plotter.NewBarChart(values, width); err == nil {
		bars.Color, bars.LineStyle.Width, bars.XMin = productColor(), 0, 1
		p.Add(bars)
	}
	var floor plotter.XYs
	for i, v := range m.Floor {
		floor = append(floor, plotter.XY{X: float64(i) + 0.5, Y: v * factor}, plotter.XY{X: float64(i) + 1.5, Y: v * factor})
	}
	if line, err := plotter.NewLine(floor); err == nil {
		line.Color, line.Width = floorColor(), vg.Points(2.5)
		p.Add(line)
	}
	p.X.Min, p.X.Max = 0, float64(len(values))+1
	var ticks plot.ConstantTicks
	for i := range values {
		ticks = append(ticks, plot.Tick{Value: float64(i + 1), Label: strconv.Itoa(i + 1)})
	}
	p.X.Tick.Marker = ticks
	p.Y.Min = 0
	return p
}
