package render

import (
	"fmt"
	"image/color"
	"io"

	"github.com/pacl/pacl/imaging"
)

// Curve is a line of a chart whose axes go from 0 to 1.
type Curve struct {
	Name   string
	Points [][2]float64 // x, y from 0 to 1
}

// rocSide is the width and height of a picture of ROC curves.
const rocSide = 528

// ROC draws ROC curves, the true positive rate over the false positive rate with the diagonal that guessing gives, and
// writes them as a PNG.
func ROC(w io.Writer, curves []Curve) error {
	unit := newAxis(0, 1, 5, true)
	c := &chart{width: rocSide, height: rocSide, xLabel: "false positive rate", yLabel: "true positive rate", x: unit, y: unit}
	c.lines = []chartLine{{x: []float64{0, 1}, y: []float64{0, 1}, color: color.RGBA{170, 170, 170, 255}, width: 1.5}}
	for i, curve := range curves {
		line := chartLine{name: curve.Name, color: Color(i), width: 2.4}
		for _, at := range curve.Points {
			line.x, line.y = append(line.x, at[0]), append(line.y, at[1])
		}
		c.lines = append(c.lines, line)
	}
	drawn, err := c.draw()
	if err != nil {
		return fmt.Errorf("ROC curves: %w", err)
	}
	if err := imaging.EncodePNG(w, drawn); err != nil {
		return fmt.Errorf("ROC curves: %w", err)
	}
	return nil
}
