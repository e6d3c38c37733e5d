package render

import (
	"fmt"
	"io"
	"math"

	"github.com/pacl/pacl/imaging"
)

// Series is a line of a panel.
type Series struct {
	Name string
	X, Y []float64
	// Strong lines are thicker: a mean over the noise that it is the mean of.
	Strong bool
}

// Panel is one diagram of a picture of curves.
type Panel struct {
	Title  string
	XLabel string
	Series []Series
}

// Size of a panel in pixels, and how many stand in a row.
const (
	curvesWidth  = 506
	curvesHeight = 330
	curvesARow   = 2
)

// Curves draws panels, two a row, and writes them as a PNG. Numbers that are not finite are an error.
func Curves(w io.Writer, panels []Panel) error {
	rows := (len(panels) + curvesARow - 1) / curvesARow
	if rows == 0 {
		return fmt.Errorf("curves: no panel to draw")
	}
	sheet := white(curvesARow*curvesWidth, rows*curvesHeight)
	for i, panel := range panels {
		drawn, err := panel.chart().draw()
		if err != nil {
			return fmt.Errorf("curves: %s: %w", panel.Title, err)
		}
		paste(sheet, drawn, i%curvesARow*curvesWidth, i/curvesARow*curvesHeight)
	}
	if err := imaging.EncodePNG(w, sheet); err != nil {
		return fmt.Errorf("curves: %w", err)
	}
	return nil
}

func (panel Panel) chart() *chart {
	c := &chart{width: curvesWidth, height: curvesHeight, title: panel.Title, xLabel: panel.XLabel, legendOnTop: panel.falls()}
	end, low, high := 0.0, math.Inf(1), math.Inf(-1)
	for i, s := range panel.Series {
		line := chartLine{name: s.Name, x: s.X, y: s.Y, color: Color(i), width: 1.2}
		if s.Strong {
			line.width = 2.8
		}
		c.lines = append(c.lines, line)
		for _, x := range s.X {
			end = max(end, x)
		}
		for _, y := range s.Y {
			low, high = min(low, y), max(high, y)
		}
	}
	if low > high {
		low, high = 0, 1
	}
	c.x, c.y = newAxis(0, end, 6, false), newAxis(low, high, 5, true)
	return c
}

// falls says whether the curves leave the upper right corner free rather than the lower one.
func (panel Panel) falls() bool {
	low, high, sum, n := math.Inf(1), math.Inf(-1), 0.0, 0
	for _, s := range panel.Series {
		for i, y := range s.Y {
			low, high = min(low, y), max(high, y)
			if i >= len(s.Y)/2 {
				sum, n = sum+y, n+1
			}
		}
	}
	return sum < float64(n)*(low+high)/2
}
