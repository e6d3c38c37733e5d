package render

import (
	"image"
	"sync"

	"github.com/hajimehoshi/bitmapfont/v3"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

var loadFont = sync.OnceValues(func() (*opentype.Font, error) { return opentype.Parse(goregular.TTF) })

// textFace draws what the Go font has, Latin, Greek and Cyrillic, and takes Hangul, kana and Chinese characters from a bitmap
// font of 12 pixels, enlarged by a whole factor: labels are in any language.
type textFace struct {
	font.Face
	outlines *sfnt.Font
	buffer   sfnt.Buffer
	bitmaps  font.Face
	enlarge  int
}

// newTextFace makes a face of about size pixels.
func newTextFace(size float64) (*textFace, error) {
	outlines, err := loadFont()
	if err != nil {
		return nil, err
	}
	face, err := opentype.NewFace(outlines, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		return nil, err
	}
	return &textFace{Face: face, outlines: outlines, bitmaps: bitmapfont.Face, enlarge: max(1, int(size/12+0.25))}, nil
}

// missing says whether the bitmap font draws a rune.
func (f *textFace) missing(r rune) bool {
	index, err := f.outlines.GlyphIndex(&f.buffer, r)
	if err != nil || index != 0 {
		return false
	}
	_, ok := f.bitmaps.GlyphAdvance(r)
	return ok
}

func (f *textFace) Glyph(dot fixed.Point26_6, r rune) (image.Rectangle, image.Image, image.Point, fixed.Int26_6, bool) {
	if !f.missing(r) {
		return f.Face.Glyph(dot, r)
	}
	small, mask, at, advance, ok := f.bitmaps.Glyph(fixed.Point26_6{}, r)
	if !ok {
		return f.Face.Glyph(dot, r)
	}
	k := f.enlarge
	large := image.NewAlpha(image.Rect(0, 0, k*small.Dx(), k*small.Dy()))
	for y := range large.Rect.Dy() {
		for x := range large.Rect.Dx() {
			_, _, _, a := mask.At(at.X+x/k, at.Y+y/k).RGBA()
			large.Pix[y*large.Stride+x] = uint8(a >> 8)
		}
	}
	corner := image.Pt(dot.X.Round()+k*small.Min.X, dot.Y.Round()+k*small.Min.Y)
	return large.Rect.Add(corner), large, image.Point{}, advance * fixed.Int26_6(k), true
}

func (f *textFace) GlyphAdvance(r rune) (fixed.Int26_6, bool) {
	if f.missing(r) {
		advance, ok := f.bitmaps.GlyphAdvance(r)
		return advance * fixed.Int26_6(f.enlarge), ok
	}
	return f.Face.GlyphAdvance(r)
}

func (f *textFace) GlyphBounds(r rune) (fixed.Rectangle26_6, fixed.Int26_6, bool) {
	if f.missing(r) {
		bounds, advance, ok := f.bitmaps.GlyphBounds(r)
		k := fixed.Int26_6(f.enlarge)
		bounds.Min, bounds.Max = bounds.Min.Mul(k<<6), bounds.Max.Mul(k<<6)
		return bounds, advance * k, ok
	}
	return f.Face.GlyphBounds(r)
}

func (f *textFace) Kern(a, b rune) fixed.Int26_6 {
	if f.missing(a) || f.missing(b) {
		return 0
	}
	return f.Face.Kern(a, b)
}
