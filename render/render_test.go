package render

import (
	"bytes"
	"image/png"
	"testing"

	"golang.org/x/image/math/fixed"

	"github.com/pacl/pacl/imaging"
)

func TestColorsDiffer(t *testing.T) {
	const labels = 40
	for a := range labels {
		for b := range a {
			ca, cb := Color(a), Color(b)
			d := func(x, y uint8) int { return (int(x) - int(y)) * (int(x) - int(y)) }
			if d(ca.R, cb.R)+d(ca.G, cb.G)+d(ca.B, cb.B) < 300 {
				t.Errorf("labels %d and %d have nearly the same colour: %v, %v", b, a, cb, ca)
			}
		}
	}
}

func TestOverlay(t *testing.T) {
	photo, mask := imaging.New(4, 3), imaging.NewMask(4, 3)
	mask.ID[5] = 1
	mask.ID[6] = 2 // no label
	overlay, err := NewOverlay(photo, mask, 2, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	im := overlay.Image()
	if r, g, b := im.At(2, 1); r != 0 || g != 0 || b != 0 {
		t.Error("a pixel without a label was coloured")
	}
	if r, _, _ := im.At(0, 0); r != Color(0).R/2 {
		t.Errorf("red %d, expected half of %d", r, Color(0).R)
	}
	if _, err := NewOverlay(photo, imaging.NewMask(3, 3), 2, 0.5); err == nil {
		t.Error("a mask of another size was accepted")
	}
}

func TestLegendFitsNarrowPictures(t *testing.T) {
	entries := make([]Entry, 60)
	for i := range entries {
		entries[i] = Entry{Name: "a label with a rather long name", Color: Color(i), Share: float64(i) / 60}
	}
	for _, width := range []int{1, 40, 300, 2000} {
		im, err := WithLegend(imaging.New(width, 20), entries)
		if err != nil {
			t.Fatal(err)
		}
		if im.Width != width || im.Height <= 20 {
			t.Errorf("width %d: picture of %dx%d", width, im.Width, im.Height)
		}
		var buffer bytes.Buffer
		if err := imaging.EncodePNG(&buffer, im); err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(&buffer); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHeatmapOfNothing(t *testing.T) {
	if _, err := Heatmap(imaging.New(2, 2), make([]float32, 4)); err != nil {
		t.Fatal(err)
	}
	if HeatColor(0) != inferno[0] || HeatColor(2) != inferno[8] {
		t.Error("the ends of the colour map are wrong")
	}
}

// Labels in Hangul, kana and Chinese characters are drawn, each character as itself.
func TestLegendInOtherScripts(t *testing.T) {
	for _, size := range []float64{11, 18, 28} {
		face, err := newTextFace(size)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]rune{}
		for _, r := range "별달집も猫Aя" {
			bounds, mask, at, advance, ok := face.Glyph(fixed.P(3, 40), r)
			if width, _ := face.GlyphAdvance(r); !ok || advance != width || advance <= 0 || advance > fixed.I(40) {
				t.Fatalf("size %g, %c: advance %v, as text is measured %v", size, r, advance, width)
			}
			var ink []byte
			for y := range bounds.Dy() {
				for x := range bounds.Dx() {
					_, _, _, a := mask.At(at.X+x, at.Y+y).RGBA()
					ink = append(ink, byte(a>>8))
				}
			}
			if len(ink) == 0 || bytes.Count(ink, []byte{0}) == len(ink) {
				t.Errorf("size %g: %c is not drawn", size, r)
			}
			if other, ok := seen[string(ink)]; ok {
				t.Errorf("size %g: %c looks like %c", size, r, other)
			}
			seen[string(ink)] = r
		}
	}
}
