// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

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

// barPanel shows measurements of one group side by side, product and
// floor of each, with a whisker from the least to the greatest sample.
func barPanel(group []result.Measurement) *plot.Plot {
	highest := 0.0
	for _, m := range group {
		highest = max(highest, result.Quantile(m.Product, 1))
		if len(m.Floor) > 0 {
			highest = max(highest, result.Quantile(m.Floor, 1))
		}
	}
	factor, scaled := group[0].Unit.Scale(highest)
	title := group[0].Group
	if title == "" {
		title = group[0].Name
	}
	p := newPanel(title, "", axisLabel(group[0].Unit, scaled))
	each := (panelWidth - 4*gap) / vg.Length(len(group))
	width := min(each*0.34, 1.4*vg.Centimeter)
	addBars(p, group, factor, width, -1)
	addBars(p, group, factor, width, 1)
	names := make([]string, len(group))
	for i, m := range group {
		if m.Group != "" {
			names[i] = strings.Join(wrap(p.X.Tick.Label, m.Name, each), "\n")
		}
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.6, float64(len(group))-0.4
	// Room for the numbers on top.
	p.Y.Min, p.Y.Max = 0, max(highest*factor*1.18, 1e-9)
	return p
}

// addBars adds those of the product (side -1) or of the floor (side 1).
func addBars(p *plot.Plot, group []result.Measurement, factor float64, width vg.Length, side int) {
	bars := &valuesOnTop{}
	offset := float64(side) * 0.21
	var medians plotter.Values
	for i, m := range group {
		samples := m.Product
		if side > 0 {
			samples = m.Floor
		}
		median := m.Center(samples) * factor
		if math.IsNaN(median) {
			medians = append(medians, 0)
			bars.add(float64(i)+offset, 0, 0, "no floor")
			continue
		}
		medians = append(medians, median)
		bars.add(float64(i)+offset, result.Quantile(samples, 0)*factor, result.Quantile(samples, 1)*factor, strconv.FormatFloat(median, 'g', 3, 64))
	}
	chart, err := plotter.NewBarChart(medians, width)
	if err != nil {
		return // there are values, which is all that it asks
	}
	chart.Color, chart.LineStyle.Width = productColor(), 0
	if side > 0 {
		chart.Color = floorColor()
	}
	chart.XMin = offset
	p.Add(chart)
	bars.addTo(p)
}

// valuesOnTop writes numbers over bars, and draws their whiskers.
type valuesOnTop struct {
	tops   plotter.XYs
	ranges plotter.YErrors
	names  []string
}

func (v *valuesOnTop) add(x, least, most float64, name string) {
	v.tops = append(v.tops, plotter.XY{X: x, Y: most})
	v.ranges = append(v.ranges, struct{ Low, High float64 }{Low: most - least})
	v.names = append(v.names, name)
}

func (v *valuesOnTop) addTo(p *plot.Plot) {
	whiskers, err := plotter.NewYErrorBars(struct {
		plotter.XYs
		plotter.YErrors
	}{v.tops, v.ranges})
	if err == nil {
		whiskers.CapWidth = 4
		p.Add(whiskers)
	}
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: v.tops, Labels: v.names})
	if err != nil {
		return
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i] = textStyle(labels.TextStyle[i], 7)
		labels.TextStyle[i].XAlign, labels.TextStyle[i].YAlign = text.XCenter, text.YBottom
	}
	labels.Offset = vg.Point{Y: 2}
	p.Add(labels)
}

// spare is the part of a width that is left to fonts which are wider than the one
// that is reckoned with.
const spare = 0.15

// wrap breaks a text into lines that are no wider than a width, where it can.
func wrap(style draw.TextStyle, text string, width vg.Length) []string {
	width *= 1 - spare
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		longer := strings.TrimSpace(line + " " + word)
		if line != "" && style.Width(longer) > width {
			lines = append(lines, line)
			longer = word
		}
		line = longer
	}
	return append(lines, line)
}

// newPanel is an empty plot in the fonts of all pictures, with axes that begin at
// nought.
func newPanel(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.TextStyle = textStyle(p.Title.TextStyle, 10)
	p.Title.Text = strings.Join(wrap(p.Title.TextStyle, title, panelWidth-2*gap), "\n")
	p.Title.Padding = 4
	for axis, label := range map[*plot.Axis]string{&p.X: x, &p.Y: y} {
		axis.Label.Text = label
		axis.Label.TextStyle = textStyle(axis.Label.TextStyle, 9)
		axis.Tick.Label = textStyle(axis.Tick.Label, 8)
		axis.Tick.Marker = plot.TickerFunc(ticks)
		axis.Min = 0
	}
	return p
}

// ticks are about five round numbers, each written without needless digits.
func ticks(least, most float64) []plot.Tick {
	if !(most > least) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10(most-least)))
	for _, part := range []float64{1, 0.5, 0.25, 0.2, 0.1} {
		if (most-least)/(step*part) >= 4 {
			step *= part
			break
		}
	}
	var marks []plot.Tick
	for i := math.Ceil(least / step); i*step <= most*(1+1e-9); i++ {
		marks = append(marks, plot.Tick{Value: i * step, Label: strconv.FormatFloat(i*step, 'g', 4, 64)})
	}
	return marks
}
