// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

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
