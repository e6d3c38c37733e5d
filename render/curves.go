package render

import (
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Series is a line of a panel.
type Series struct {
	Name string
	X, Y []float64
	// Strong lines are drawn over others and thicker: a mean over the noise that it is the mean of.
	Strong bool
}

// Panel is one diagram of a picture of curves.
type Panel struct {
	Title  string
	XLabel string
	Series []Series
}

const (
	panelWidth  = 4.6 * vg.Inch
	panelHeight = 3 * vg.Inch
	panelsARow  = 2
	curvesDPI   = 110
)

// Curves draws panels, two a row, and writes them as a PNG. Numbers that are not finite are an error.
func Curves(w io.Writer, panels []Panel) error {
	rows := (len(panels) + panelsARow - 1) / panelsARow
	if rows == 0 {
		return fmt.Errorf("curves: no panel to draw")
	}
	plots := make([][]*plot.Plot, rows)
	for i := range plots {
		plots[i] = make([]*plot.Plot, panelsARow)
	}
	for i, panel := range panels {
		p, err := panel.plot()
		if err != nil {
			return fmt.Errorf("curves: %s: %w", panel.Title, err)
		}
		plots[i/panelsARow][i%panelsARow] = p
	}
	canvas := vgimg.NewWith(vgimg.UseWH(panelsARow*panelWidth, vg.Length(rows)*panelHeight), vgimg.UseDPI(curvesDPI), vgimg.UseBackgroundColor(color.White))
	const gap = 10
	tiles := draw.Tiles{Rows: rows, Cols: panelsARow, PadX: gap, PadY: gap, PadTop: gap, PadBottom: gap, PadLeft: gap, PadRight: gap}
	for y, row := range plot.Align(plots, tiles, draw.New(canvas)) {
		for x, c := range row {
			if plots[y][x] != nil {
				plots[y][x].Draw(c)
			}
		}
	}
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(w); err != nil {
		return fmt.Errorf("curves: %w", err)
	}
	return nil
}

func (panel Panel) plot() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = panel.Title, panel.XLabel
	p.Title.Padding = vg.Points(4)
	for _, f := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		f.Variant = "Sans"
	}
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Add(plotter.NewGrid())
	p.Legend.Top = panel.falls()
	for i, s := range panel.Series {
		if len(s.X) != len(s.Y) {
			return nil, fmt.Errorf("%s has %d places and %d values", s.Name, len(s.X), len(s.Y))
		}
		points := make(plotter.XYs, len(s.X))
		for k := range points {
			points[k].X, points[k].Y = s.X[k], s.Y[k]
		}
		if len(points) == 0 {
			continue
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		line.Color, line.Width = Color(i), vg.Points(0.8)
		if s.Strong {
			line.Width = vg.Points(2)
		}
		p.Add(line)
		p.Legend.Add(s.Name, line)
	}
	p.X.Min = min(p.X.Min, 0)
	return p, nil
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
