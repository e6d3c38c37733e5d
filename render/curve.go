package render

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"

	"github.com/pacl/pacl/imaging"
)

// Curve is a line of a chart whose axes go from 0 to 1.
type Curve struct {
	Name   string
	Points [][2]float64 // x, y from 0 to 1
}

// ROC draws ROC curves: the true positive rate over the false positive rate, with the diagonal that guessing gives.
func ROC(curves []Curve) (*imaging.Image, error) {
	const (
		side, left, top, right = 480, 70, 24, 24
		line                   = 22 // of the legend
		bottom                 = 76
	)
	text, err := face(15)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	width, height := left+side+right, top+side+bottom+line*len(curves)
	canvas := image.NewRGBA(image.Rect(0, 0, width, height))
	fill := func(r image.Rectangle, c color.Color) {
		draw.Draw(canvas, r, image.NewUniform(c), image.Point{}, draw.Over)
	}
	fill(canvas.Bounds(), color.White)
	ink, grid := color.RGBA{40, 40, 40, 255}, color.RGBA{226, 226, 226, 255}
	pen := font.Drawer{Dst: canvas, Src: image.NewUniform(ink), Face: text}
	write := func(s string, x, y int) {
		pen.Dot = fixed.P(x, y)
		pen.DrawString(s)
	}
	for i := range 6 {
		at := i * side / 5
		fill(image.Rect(left+at, top, left+at+1, top+side+1), grid)
		fill(image.Rect(left, top+at, left+side+1, top+at+1), grid)
		label := fmt.Sprintf("%.1f", float64(i)/5)
		half := font.MeasureString(text, label).Ceil() / 2
		write(label, left+at-half, top+side+20)
		write(label, left-2*half-8, top+side-at+5)
	}
	for _, edge := range []image.Rectangle{
		image.Rect(left, top, left+side, top+1), image.Rect(left, top+side, left+side+1, top+side+1),
		image.Rect(left, top, left+1, top+side), image.Rect(left+side, top, left+side+1, top+side),
	} {
		fill(edge, color.RGBA{120, 120, 120, 255})
	}
	const across, up = "false positive rate", "true positive rate"
	write(across, left+(side-font.MeasureString(text, across).Ceil())/2, top+side+44)
	writeUp(canvas, text, ink, up, 20, top+side/2)
	stroke := func(points [][2]float64, width float32, c color.RGBA) {
		raster := vector.NewRasterizer(canvas.Rect.Dx(), canvas.Rect.Dy())
		at := func(p [2]float64) (x, y float32) {
			return float32(left + side*clamp(p[0])), float32(top + side*(1-clamp(p[1])))
		}
		for i := 1; i < len(points); i++ {
			x0, y0 := at(points[i-1])
			x1, y1 := at(points[i])
			dx, dy := x1-x0, y1-y0
			length := float32(math.Hypot(float64(dx), float64(dy)))
			if length == 0 {
				continue
			}
			dx, dy = dx/length*width/2, dy/length*width/2
			// Longer by half the width at each end, so that the pieces join.
			raster.MoveTo(x0-dx-dy, y0-dy+dx)
			raster.LineTo(x1+dx-dy, y1+dy+dx)
			raster.LineTo(x1+dx+dy, y1+dy-dx)
			raster.LineTo(x0-dx+dy, y0-dy-dx)
			raster.ClosePath()
			raster.Draw(canvas, canvas.Bounds(), image.NewUniform(c), image.Point{})
			raster.Reset(canvas.Rect.Dx(), canvas.Rect.Dy())
		}
	}
	stroke([][2]float64{{0, 0}, {1, 1}}, 1, color.RGBA{170, 170, 170, 255})
	for i, curve := range curves {
		c := Color(i)
		stroke(curve.Points, 2.5, c)
		y := top + side + bottom + i*line
		fill(image.Rect(left, y-6, left+24, y-2), c)
		write(fit(text, curve.Name, side-32), left+32, y)
	}
	return fromRGBA(canvas), nil
}

// writeUp writes a text from the bottom to the top, centred at y.
func writeUp(dst *image.RGBA, text font.Face, ink color.Color, s string, x, y int) {
	length, height := font.MeasureString(text, s).Ceil(), text.Metrics().Height.Ceil()
	flat := image.NewRGBA(image.Rect(0, 0, length, height))
	pen := font.Drawer{Dst: flat, Src: image.NewUniform(ink), Face: text, Dot: fixed.P(0, text.Metrics().Ascent.Ceil())}
	pen.DrawString(s)
	turned := image.NewRGBA(image.Rect(0, 0, height, length))
	for v := range height {
		for u := range length {
			turned.SetRGBA(v, length-1-u, flat.RGBAAt(u, v))
		}
	}
	at := image.Pt(x-height/2, y-length/2)
	draw.Draw(dst, turned.Bounds().Add(at), turned, image.Point{}, draw.Over)
}

func clamp(v float64) float64 {
	if !(v > 0) {
		return 0
	}
	return min(v, 1)
}

// fromRGBA drops the alpha of an opaque picture.
func fromRGBA(im *image.RGBA) *imaging.Image {
	result := imaging.New(im.Rect.Dx(), im.Rect.Dy())
	for i := range result.Width * result.Height {
		copy(result.Pix[3*i:3*i+3], im.Pix[4*i:4*i+3])
	}
	return result
}

// SideBySide puts pictures of one height in a row, on white.
func SideBySide(gap int, pictures ...*imaging.Image) (*imaging.Image, error) {
	width, height := -gap, 0
	for _, p := range pictures {
		width += p.Width + gap
		height = max(height, p.Height)
	}
	if width < 1 || height < 1 {
		return nil, fmt.Errorf("side by side: %d pictures, expected at least one", len(pictures))
	}
	row := imaging.New(width, height)
	for i := range row.Pix {
		row.Pix[i] = 255
	}
	x := 0
	for _, p := range pictures {
		for y := range p.Height {
			copy(row.Pix[3*(y*width+x):], p.Pix[3*y*p.Width:3*(y+1)*p.Width])
		}
		x += p.Width + gap
	}
	return row, nil
}
