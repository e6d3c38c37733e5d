package render

import (
	"fmt"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Curve is a line of a chart whose axes go from 0 to 1.
type Curve struct {
	Name   string
	Points [][2]float64 // x, y from 0 to 1
}

// ROC draws ROC curves, the true positive rate over the false positive rate with the diagonal that guessing gives, and
// writes them as a PNG.
func ROC(w io.Writer, curves []Curve) error {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "false positive rate", "true positive rate"
	for _, f := range []*font.Font{
		&p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		f.Variant = "Sans"
	}
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Legend.Padding = vg.Points(2)
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(-6), vg.Points(6)
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, 1
	var ticks plot.ConstantTicks
	for i := range 6 {
		ticks = append(ticks, plot.Tick{Value: float64(i) / 5, Label: fmt.Sprintf("%.1f", float64(i)/5)})
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks, ticks
	guess, err := plotter.NewLine(plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}})
	if err != nil {
		return fmt.Errorf("ROC curves: %w", err)
	}
	guess.Color = color.Gray{170}
	p.Add(plotter.NewGrid(), guess)
	for i, curve := range curves {
		points := make(plotter.XYs, len(curve.Points))
		for k, at := range curve.Points {
			points[k] = plotter.XY{X: at[0], Y: at[1]}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return fmt.Errorf("ROC curve of %s: %w", curve.Name, err)
		}
		line.Color, line.Width = Color(i), vg.Points(1.6)
		p.Add(line)
		p.Legend.Add(curve.Name, line)
	}
	const side = 4.8 * vg.Inch
	canvas := vgimg.NewWith(vgimg.UseWH(side, side), vgimg.UseDPI(curvesDPI), vgimg.UseBackgroundColor(color.White))
	p.Draw(draw.Crop(draw.New(canvas), vg.Points(4), vg.Points(-10), vg.Points(4), vg.Points(-10)))
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(w); err != nil {
		return fmt.Errorf("ROC curves: %w", err)
	}
	return nil
}
