package render

import (
	"bytes"
	"image/png"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pacl/pacl/imaging"
)

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		most      int
		whole     bool
		labels    string
	}{
		{0, 1, 5, true, "0.0 0.2 0.4 0.6 0.8 1.0"},
		{0, 3500, 6, false, "0 1000 2000 3000"},
		{-0.15, 2.1, 5, true, "-0.5 0.0 0.5 1.0 1.5 2.0 2.5"},
		{1e-6, 0.001, 5, true, "0.0000 0.0002 0.0004 0.0006 0.0008 0.0010"},
		{-3, -1, 2, true, "-3 -2 -1"},
		{14.2, 15.9, 5, false, "14.5 15.0 15.5"},
		{8, 8, 4, true, "4 6 8 10 12"},
	} {
		var labels []string
		for _, tick := range newAxis(c.low, c.high, c.most, c.whole).ticks {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != c.labels {
			t.Errorf("from %g to %g: %s, expected %s", c.low, c.high, got, c.labels)
		}
	}
}

// Whatever there is to show, it lies on its axis, with some numbers beside it that are where they say.
func TestAxisHoldsItsNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Float64Range(-1e9, 1e9).Draw(t, "low")
		high := low + rapid.Float64Range(0, 1).Draw(t, "part")*math.Pow(10, rapid.Float64Range(-3, 9).Draw(t, "power"))
		most, whole := rapid.IntRange(2, 9).Draw(t, "most"), rapid.Bool().Draw(t, "whole")
		a := newAxis(low, high, most, whole)
		slack := 1e-6 * (a.high - a.low)
		if !(a.low < a.high) || a.low > low+slack || a.high < high-slack {
			t.Fatalf("from %g to %g: an axis from %g to %g", low, high, a.low, a.high)
		}
		if len(a.ticks) > most+3 || whole && len(a.ticks) < 2 {
			t.Fatalf("from %g to %g: %d numbers", low, high, len(a.ticks))
		}
		for _, tick := range a.ticks {
			said, err := strconv.ParseFloat(tick.Label, 64)
			if err != nil || math.Abs(said-tick.Value) > 1e-6*(a.high-a.low)+1e-9*math.Abs(tick.Value) || tick.Value < a.low-slack || tick.Value > a.high+slack {
				t.Fatalf("from %g to %g: %s stands at %g", a.low, a.high, tick.Label, tick.Value)
			}
			if math.Signbit(said) && said == 0 {
				t.Fatal("-0 is a number of its own")
			}
		}
	})
}

// colouredAt are the columns and rows of a picture between which it has nearly the colour of a label.
func colouredAt(t *testing.T, im *imaging.Image, label int) (left, top, right, bottom int) {
	t.Helper()
	want := Color(label)
	near := func(a, b uint8) bool { return max(a, b)-min(a, b) < 24 }
	left, top = im.Width, im.Height
	for y := range im.Height {
		for x := range im.Width {
			r, g, b := im.At(x, y)
			if near(r, want.R) && near(g, want.G) && near(b, want.B) {
				left, top, right, bottom = min(left, x), min(top, y), max(right, x), max(bottom, y)
			}
		}
	}
	if left == im.Width {
		t.Fatalf("nothing has the colour of line %d", label)
	}
	return left, top, right, bottom
}

// TestChartPutsPointsWhereTheyBelong compares lines with those of which the place is known.
func TestChartPutsPointsWhereTheyBelong(t *testing.T) {
	level := func(y float64) *imaging.Image {
		unit := newAxis(0, 1, 5, true)
		c := &chart{width: 400, height: 300, x: unit, y: unit}
		c.lines = []chartLine{{x: []float64{0, 1}, y: []float64{y, y}, color: Color(0), width: 3}}
		im, err := c.draw()
		if err != nil {
			t.Fatal(err)
		}
		return im
	}
	left, low, right, _ := colouredAt(t, level(0), 0)
	_, high, _, _ := colouredAt(t, level(1), 0)
	_, half, _, _ := colouredAt(t, level(0.5), 0)
	if low-high < 200 || math.Abs(float64(half)-float64(low+high)/2) > 1 {
		t.Errorf("levels 0, a half and 1 lie in the rows %d, %d and %d of 300", low, half, high)
	}
	if left > 60 || right < 370 {
		t.Errorf("a line over all of the axis goes from column %d to %d of 400", left, right)
	}
}

func TestCurvesOfAllKinds(t *testing.T) {
	full := Series{Name: "full", X: []float64{1, 2, 3}, Y: []float64{3, 1, 2}}
	for _, c := range []struct {
		name   string
		panels []Panel
		bad    string
	}{
		{"three", []Panel{{Title: "a", Series: []Series{full}}, {Title: "b", XLabel: "x"}, {Title: "c", Series: []Series{{Name: "none"}, full}}}, ""},
		{"one point", []Panel{{Series: []Series{{Name: "one", X: []float64{0}, Y: []float64{0}}}}}, ""},
		{"none", nil, "no panel"},
		{"lengths", []Panel{{Title: "loss", Series: []Series{{Name: "s", X: []float64{1}, Y: nil}}}}, "loss: s has 1 places and 0 values"},
		{"not a number", []Panel{{Title: "loss", Series: []Series{{Name: "s", X: []float64{1, 2}, Y: []float64{1, math.NaN()}}}}}, "loss: s has the value NaN at 2"},
		{"infinity", []Panel{{Title: "loss", Series: []Series{{Name: "s", X: []float64{1, math.Inf(1)}, Y: []float64{1, 1}}}}}, "at +Inf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var buffer bytes.Buffer
			err := Curves(&buffer, c.panels)
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Fatalf("%v, expected %s", err, c.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			im, err := png.Decode(&buffer)
			if err != nil {
				t.Fatal(err)
			}
			if rows := (len(c.panels) + 1) / 2; im.Bounds().Dx() != 2*curvesWidth || im.Bounds().Dy() != rows*curvesHeight {
				t.Errorf("a picture of %v", im.Bounds())
			}
		})
	}
}

func TestROCLegendNamesEveryCurve(t *testing.T) {
	var one, two bytes.Buffer
	curve := Curve{Name: "a", Points: [][2]float64{{0, 0}, {0.2, 0.7}, {1, 1}}}
	if err := ROC(&one, []Curve{curve}); err != nil {
		t.Fatal(err)
	}
	if err := ROC(&two, []Curve{curve, {Name: "another", Points: curve.Points}}); err != nil {
		t.Fatal(err)
	}
	im, err := imaging.Decode(two.Bytes(), imaging.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	corner := im.Crop(rocSide*3/4, rocSide/2, rocSide/4, rocSide/2) // which the curves leave free
	for label := range 2 {
		if left, top, right, bottom := colouredAt(t, corner, label); right-left < 20 || bottom-top > 4 {
			t.Errorf("line %d of the legend goes from column %d to %d, row %d to %d", label, left, right, top, bottom)
		}
	}
	if slices.Equal(one.Bytes(), two.Bytes()) {
		t.Error("one curve and two look the same")
	}
	if err := ROC(&one, []Curve{{Name: "a", Points: [][2]float64{{math.NaN(), 0}}}}); err == nil {
		t.Error("a curve of no numbers was drawn")
	}
}
