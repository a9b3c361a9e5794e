// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// stageColors are light, for the times are written on them, and differ from their
// neighbours; there are as many as the driver can have stages, and one more.
func stageColors() []color.Color {
	return []color.Color{
		color.RGBA{0x8d, 0xd3, 0xc7, 0xff},
		color.RGBA{0xff, 0xff, 0xb3, 0xff},
		color.RGBA{0xbe, 0xba, 0xda, 0xff},
		color.RGBA{0xfb, 0x80, 0x72, 0xff},
		color.RGBA{0x80, 0xb1, 0xd3, 0xff},
		color.RGBA{0xfd, 0xb4, 0x62, 0xff},
		color.RGBA{0xb3, 0xde, 0x69, 0xff},
		color.RGBA{0xfc, 0xcd, 0xe5, 0xff},
		color.RGBA{0xd9, 0xd9, 0xd9, 0xff},
		color.RGBA{0xbc, 0x80, 0xbd, 0xff},
		color.RGBA{0xcc, 0xeb, 0xc5, 0xff},
		color.RGBA{0xff, 0xed, 0x6f, 0xff},
	}
}

// stagePicture shows where time goes: a bar for each, in parts that follow each
// other.
func stagePicture(bars []result.StageBar) picture {
	const (
		width, height = 20 * vg.Centimeter, 7 * vg.Centimeter
		legendWidth   = 3.8 * vg.Centimeter
	)
	longest := 0.0
	for _, bar := range bars {
		longest = max(longest, float64(bar.Total()))
	}
	factor, scaled := result.Second.Scale(longest)
	p := newPanel("", "time ("+scaled+")", "")
	p.Title.Text = "Where time goes: publishes one by one, mean time by stage"
	legend := plot.NewLegend()
	legend.TextStyle = textStyle(legend.TextStyle, 9)
	legend.Top, legend.Left = true, true
	legend.Padding = vg.Points(3)
	var below *plotter.BarChart
	starts := make([]float64, len(bars))
	for i, name := range result.StageNames(bars) {
		chart := stageChart(bars, name, factor, i)
		if chart == nil {
			continue
		}
		if below != nil {
			chart.StackOn(below)
		}
		below = chart
		p.Add(chart)
		legend.Add(name, chart)
		writeTimes(p, bars, name, factor, longest, starts)
	}
	names := make([]string, len(bars))
	for i, bar := range bars {
		names[len(bars)-1-i] = bar.Name + "\n" + result.Second.String(float64(bar.Total()))
	}
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, longest*factor*1.02
	p.Y.Min, p.Y.Max = -0.6, float64(len(bars))-0.4
	return picture{width: width, height: height, draw: func(canvas draw.Canvas) error {
		p.Draw(draw.Crop(canvas, margin, -legendWidth-margin, margin, -margin))
		legend.Draw(draw.Crop(canvas, width-legendWidth, -margin, margin, -heading))
		return nil
	}}
}

// stageChart is one stage of all bars, the first of which is drawn at the top; nil
// if it cannot be drawn.
func stageChart(bars []result.StageBar, name string, factor float64, color int) *plotter.BarChart {
	values := make(plotter.Values, len(bars))
	for i, bar := range bars {
		values[len(bars)-1-i] = timeOf(bar, name) * factor
	}
	chart, err := plotter.NewBarChart(values, 1.5*vg.Centimeter)
	if err != nil {
		return nil
	}
	chart.Horizontal = true
	chart.Color = stageColors()[color%len(stageColors())]
	chart.LineStyle.Width = vg.Points(0.5)
	return chart
}

// timeOf is how long a stage takes, in seconds: none, if the bar has no such stage.
func timeOf(bar result.StageBar, name string) float64 {
	if took := float64(bar.Of(name)); !math.IsNaN(took) {
		return took
	}
	return 0
}

// writeTimes writes the time of a stage onto its part of each bar, where there is
// room, and moves the starts behind it.
func writeTimes(p *plot.Plot, bars []result.StageBar, name string, factor, longest float64, starts []float64) {
	const room = 0.07 // of the longest bar
	var at plotter.XYs
	var times []string
	for i, bar := range bars {
		took := timeOf(bar, name)
		if took > room*longest {
			at = append(at, plotter.XY{X: (starts[i] + took/2) * factor, Y: float64(len(bars) - 1 - i)})
			times = append(times, result.Second.String(took))
		}
		starts[i] += took
	}
	if len(at) == 0 {
		return
	}
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: at, Labels: times})
	if err != nil {
		return
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i] = textStyle(labels.TextStyle[i], 8)
		labels.TextStyle[i].XAlign, labels.TextStyle[i].YAlign = text.XCenter, text.YCenter
	}
	p.Add(labels)
}
