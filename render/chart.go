package render

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/go-analyze/charts/chartdraw"
	"github.com/go-analyze/charts/chartdraw/drawing"
	"github.com/golang/freetype/truetype"
	"golang.org/x/image/font/gofont/goregular"

	"github.com/pacl/pacl/imaging"
)

// chart is a diagram of lines over a grid.
type chart struct {
	width, height         int // pixels
	title, xLabel, yLabel string
	lines                 []chartLine
	x, y                  axis
	legendOnTop           bool // in the upper right corner, otherwise in the lower right one
}

type chartLine struct {
	name  string // none: not in the legend
	x, y  []float64
	color color.RGBA
	width float64 // pixels
}

// axis is what a chart shows of a dimension, and the numbers that are written beside it.
type axis struct {
	low, high float64
	ticks     []chartdraw.Tick
}

// newAxis goes from low to high, with about so many round numbers at most; whole goes on to round numbers at both ends.
func newAxis(low, high float64, most int, whole bool) axis {
	if largest := max(math.Abs(low), math.Abs(high)); high-low <= 1e-9*largest { // all the same
		low, high = low-max(math.Abs(low)/2, 1e-6), high+max(math.Abs(high)/2, 1e-6)
	}
	rough := (high - low) / float64(most)
	power := math.Floor(math.Log10(rough))
	unit := math.Pow(10, power)
	step := 10 * unit
	for _, factor := range []float64{1, 2, 5} {
		if factor*unit >= rough*(1-1e-9) {
			step = factor * unit
			break
		}
	}
	if step >= 10*unit {
		power++
	}
	first, last := math.Ceil(low/step-1e-9), math.Floor(high/step+1e-9)
	if whole {
		first, last = math.Floor(low/step+1e-9), math.Ceil(high/step-1e-9)
		low, high = first*step, last*step
	}
	a := axis{low: low, high: high}
	for n := first; n <= last; n++ {
		value := n*step + 0 // never -0
		a.ticks = append(a.ticks, chartdraw.Tick{Value: value, Label: strconv.FormatFloat(value, 'f', int(max(0, -power)), 64)})
	}
	return a
}

// chartOversampling is how many times larger a chart is drawn than it becomes, because the library puts points at whole pixels.
const chartOversampling = 2

var chartFont = sync.OnceValues(func() (*truetype.Font, error) { return truetype.Parse(goregular.TTF) })

// draw draws the chart on white. Numbers that are not finite are an error.
func (c *chart) draw() (*imaging.Image, error) {
	font, err := chartFont()
	if err != nil {
		return nil, err
	}
	const scale = chartOversampling
	grey := func(y uint8) drawing.Color { return drawing.Color{R: y, G: y, B: y, A: 255} }
	text := func(size float64) chartdraw.FontStyle {
		return chartdraw.FontStyle{Font: font, FontSize: size, FontColor: grey(30)}
	}
	line := func(y uint8, width float64) chartdraw.Style {
		return chartdraw.Style{StrokeColor: grey(y), StrokeWidth: width * scale, FontStyle: text(9)}
	}
	// The library leaves no room for the title and for the name of an axis at the left.
	padding := chartdraw.NewBox(12*scale, 16*scale, 14*scale, 8*scale)
	if c.title != "" {
		padding.Top += 24 * scale
	}
	if c.yLabel != "" {
		padding.Left += 22 * scale
	}
	d := chartdraw.Chart{
		Width: c.width * scale, Height: c.height * scale, DPI: 96 * scale, Font: font, Title: c.title,
		TitleStyle: chartdraw.Style{FontStyle: text(11), Padding: chartdraw.NewBox(10*scale, 0, 0, 0)},
		Background: chartdraw.Style{Padding: padding},
		XAxis: chartdraw.XAxis{
			Name: c.xLabel, NameStyle: chartdraw.Style{FontStyle: text(10)}, Style: line(90, 1), Range: c.x.span(), Ticks: c.x.bounded(),
			GridLines: c.x.grid(line(215, 1)), GridMajorStyle: line(215, 1),
		},
		YAxis: chartdraw.YAxis{
			AxisType: chartdraw.YAxisSecondary, // at the left
			Style:    line(90, 1), Range: c.y.span(), Ticks: c.y.bounded(), GridLines: c.y.grid(line(215, 1)), GridMajorStyle: line(215, 1), Zero: chartdraw.GridLine{Style: chartdraw.Hidden()},
		},
		YAxisSecondary: chartdraw.YAxis{Style: chartdraw.Hidden()},
		Elements:       []chartdraw.Renderable{c.legend(text(8.5)), c.name(text(10))},
	}
	for _, l := range c.lines {
		if err := l.check(); err != nil {
			return nil, err
		}
		if len(l.x) > 0 {
			d.Series = append(d.Series, chartdraw.ContinuousSeries{XValues: l.x, YValues: l.y, Style: l.style()})
		}
	}
	if len(d.Series) == 0 { // the library wants one: a white point
		d.Series = []chartdraw.Series{chartdraw.ContinuousSeries{XValues: []float64{c.x.low}, YValues: []float64{c.y.low},
			Style: chartdraw.Style{StrokeColor: drawing.ColorWhite, StrokeWidth: 1}}}
	}
	var drawn chartdraw.ImageWriter
	if err := d.Render(chartdraw.PNG, &drawn); err != nil {
		return nil, err
	}
	im, err := drawn.Image()
	if err != nil {
		return nil, err
	}
	rgba, ok := im.(*image.RGBA)
	if !ok {
		return nil, fmt.Errorf("a picture of %T, expected RGBA", im)
	}
	return imaging.Resize(fromRGBA(rgba), c.width, c.height, imaging.Bicubic), nil
}

func (a axis) span() *chartdraw.ContinuousRange {
	return &chartdraw.ContinuousRange{Min: a.low, Max: a.high}
}

// bounded are the ticks between two without a number, because the library takes the first and the last for the ends of the axis.
func (a axis) bounded() []chartdraw.Tick {
	return slices.Concat([]chartdraw.Tick{{Value: a.low}}, a.ticks, []chartdraw.Tick{{Value: a.high}})
}

func (a axis) grid(style chartdraw.Style) []chartdraw.GridLine {
	lines := make([]chartdraw.GridLine, len(a.ticks))
	for i, tick := range a.ticks {
		lines[i] = chartdraw.GridLine{Value: tick.Value, Style: style}
	}
	return lines
}

// check refuses what cannot be drawn.
func (l *chartLine) check() error {
	if len(l.x) != len(l.y) {
		return fmt.Errorf("%s has %d places and %d values", l.name, len(l.x), len(l.y))
	}
	for i, x := range l.x {
		if y := l.y[i]; math.IsNaN(x+y) || math.IsInf(x+y, 0) {
			return fmt.Errorf("%s has the value %g at %g", l.name, y, x)
		}
	}
	return nil
}

func (l *chartLine) style() chartdraw.Style {
	c := l.color
	return chartdraw.Style{StrokeColor: drawing.Color{R: c.R, G: c.G, B: c.B, A: c.A}, StrokeWidth: l.width * chartOversampling}
}

// legend draws names and pieces of their lines, to the right in a corner.
func (c *chart) legend(text chartdraw.FontStyle) chartdraw.Renderable {
	return func(r chartdraw.Renderer, canvas chartdraw.Box, _ chartdraw.Style) {
		const piece, gap, margin, height = 26 * chartOversampling, 6 * chartOversampling, 8 * chartOversampling, 16 * chartOversampling
		var named []chartLine
		widest := 0
		chartdraw.Style{FontStyle: text}.GetTextOptions().WriteToRenderer(r)
		for _, l := range c.lines {
			if l.name != "" && len(l.x) > 0 {
				named = append(named, l)
				widest = max(widest, r.MeasureText(l.name).Width())
			}
		}
		if len(named) == 0 {
			return
		}
		right, top := canvas.Right-margin, canvas.Top+margin
		if !c.legendOnTop {
			top = canvas.Bottom - margin - height*len(named)
		}
		left := right - piece - gap - widest
		chartdraw.Draw.Box(r, chartdraw.NewBox(top-gap/2, left-gap, right+gap/2, top+height*len(named)+gap/2),
			chartdraw.Style{FillColor: drawing.Color{R: 255, G: 255, B: 255, A: 215}})
		for i, l := range named {
			middle := top + height*i + height/2
			l.style().GetStrokeOptions().WriteToRenderer(r)
			r.MoveTo(right-piece, middle)
			r.LineTo(right, middle)
			r.Stroke()
			chartdraw.Style{FontStyle: text}.GetTextOptions().WriteToRenderer(r)
			box := r.MeasureText(l.name)
			r.Text(l.name, right-piece-gap-box.Width(), middle+height/4)
		}
	}
}

// name writes what the left axis shows, from below upwards; the library puts it off the middle.
func (c *chart) name(text chartdraw.FontStyle) chartdraw.Renderable {
	return func(r chartdraw.Renderer, canvas chartdraw.Box, _ chartdraw.Style) {
		if c.yLabel == "" {
			return
		}
		chartdraw.Style{FontStyle: text}.GetTextOptions().WriteToRenderer(r)
		box := r.MeasureText(c.yLabel)
		r.SetTextRotation(-math.Pi / 2)
		r.Text(c.yLabel, 8*chartOversampling+box.Height(), (canvas.Top+canvas.Bottom+box.Width())/2)
		r.ClearTextRotation()
	}
}
