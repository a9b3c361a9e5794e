// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// Sizes of a picture; it is drawn for a page of the web.
const (
	panelWidth  = 9 * vg.Centimeter
	panelHeight = 6.5 * vg.Centimeter
	heading     = 1.7 * vg.Centimeter
	margin      = 0.3 * vg.Centimeter
	gap         = 0.6 * vg.Centimeter
)

// colors of the product and of the floor, which people with any eyes can tell
// apart, in print too.
func productColor() color.Color { return color.RGBA{R: 0x1f, G: 0x5f, B: 0xa8, A: 0xff} }
func floorColor() color.Color   { return color.RGBA{R: 0xf0, G: 0x9a, B: 0x37, A: 0xff} }

// drawAll draws each scenario that has measured anything.
func drawAll(measured *result.Run, folder string) error {
	var errs []error
	for _, s := range measured.Scenarios {
		if panels := panelsOf(s); len(panels) > 0 {
			errs = append(errs, save(filepath.Join(folder, s.Name+".svg"), gridOf(s.Name+": "+s.About, panels)))
		}
		if len(s.Stages) > 0 {
			errs = append(errs, save(filepath.Join(folder, "stages.svg"), stagePicture(s.Stages)))
		}
	}
	return errors.Join(errs...)
}

// A picture knows its size and how to be drawn.
type picture struct {
	width, height vg.Length
	draw          func(draw.Canvas) error
}

func save(path string, p picture) error {
	var out bytes.Buffer
	if err := p.writeSVG(&out); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

// writeSVG names fonts of the same widths for machines that do not have the first.
func (p picture) writeSVG(w io.Writer) error {
	canvas := vgsvg.New(p.width, p.height)
	if err := p.on(draw.New(canvas)); err != nil {
		return err
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return err
	}
	_, err := w.Write(bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")))
	return err
}

func (p picture) on(canvas draw.Canvas) error {
	canvas.FillPolygon(color.White, []vg.Point{
		canvas.Min, {X: canvas.Max.X, Y: canvas.Min.Y}, canvas.Max, {X: canvas.Min.X, Y: canvas.Max.Y},
	})
	return p.draw(canvas)
}

// gridOf puts panels side by side, under a title and a legend.
func gridOf(title string, panels []*plot.Plot) picture {
	columns := min(len(panels), 3)
	if len(panels) == 4 {
		columns = 2
	}
	rows := (len(panels) + columns - 1) / columns
	p := picture{width: panelWidth * vg.Length(columns), height: heading + panelHeight*vg.Length(rows)}
	p.draw = func(canvas draw.Canvas) error {
		drawHeading(canvas, title)
		tiles := draw.Tiles{Cols: columns, Rows: rows, PadX: gap, PadY: gap, PadLeft: margin, PadRight: margin, PadTop: margin, PadBottom: margin}
		body := draw.Crop(canvas, 0, 0, 0, -heading)
		for i, panel := range panels {
			panel.Draw(tiles.At(body, i%columns, i/columns))
		}
		return nil
	}
	return p
}

// drawHeading writes the title, in lines that fit, and beneath it what the two
// colors are.
func drawHeading(canvas draw.Canvas, title string) {
	top := draw.Crop(canvas, margin, -margin, canvas.Max.Y-canvas.Min.Y-heading, -margin)
	style := textStyle(plot.New().Title.TextStyle, 11)
	style.XAlign, style.YAlign = text.XLeft, text.YBottom
	for i, line := range wrap(style, title, top.Max.X-top.Min.X) {
		top.FillText(style, vg.Point{X: top.Min.X, Y: top.Max.Y - vg.Length(i+1)*style.FontExtents().Height}, line)
	}
	small := style
	small.Font.Size = 9
	x := top.Min.X
	for _, entry := range []struct {
		name  string
		color color.Color
	}{{"product", productColor()}, {"floor", floorColor()}} {
		top.FillPolygon(entry.color, []vg.Point{{X: x, Y: top.Min.Y}, {X: x + 16, Y: top.Min.Y}, {X: x + 16, Y: top.Min.Y + 8}, {X: x, Y: top.Min.Y + 8}})
		top.FillText(small, vg.Point{X: x + 20, Y: top.Min.Y}, entry.name)
		x += 80
	}
}

// textStyle is the style in a sans serif font of a size in points.
func textStyle(style draw.TextStyle, size font.Length) draw.TextStyle {
	style.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	return style
}
