// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

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
