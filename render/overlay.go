package render

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/math/fixed"

	"github.com/pacl/pacl/imaging"
)

// Entry is a line of an overlay's legend.
type Entry struct {
	Name  string
	Color color.RGBA
	Share float64 // of the area
}

// Overlay is a photo with the colours of a mask over it, made row by row.
type Overlay struct {
	photo          *imaging.Image
	mask           *imaging.Mask
	labels         int
	inside, border *blend
}

// NewOverlay blends the colours of a mask over a photo of the same size. Ids from labels on are left as they are. Borders between labels
// are drawn in full colour.
func NewOverlay(photo *imaging.Image, mask *imaging.Mask, labels int, opacity float64) (*Overlay, error) {
	if photo.Width != mask.Width || photo.Height != mask.Height {
		return nil, fmt.Errorf("overlay: mask of %dx%d on a photo of %dx%d", mask.Width, mask.Height, photo.Width, photo.Height)
	}
	alpha := int32(math.Round(256 * min(max(opacity, 0), 1)))
	colors := make([]color.RGBA, labels)
	for l := range colors {
		colors[l] = Color(l)
	}
	return &Overlay{photo, mask, labels, newBlend(colors, alpha), newBlend(colors, min(alpha+100, 256))}, nil
}

// Size is the photo's.
func (o *Overlay) Size() (width, height int) { return o.photo.Width, o.photo.Height }

// Row sets dst [width, 3] to row y.
func (o *Overlay) Row(dst []uint8, y int) {
	width := o.photo.Width
	ids := o.mask.ID[y*width:][:width]
	below := ids // the last row has none that could differ
	if y+1 < o.photo.Height {
		below = o.mask.ID[(y+1)*width:][:width]
	}
	row := o.photo.Pix[3*y*width:][:3*width]
	for x, id := range ids {
		from, to := (*[3]uint8)(row[3*x:]), (*[3]uint8)(dst[3*x:])
		switch {
		case int(id) >= o.labels:
			*to = *from
		case below[x] != id || ids[min(x+1, len(ids)-1)] != id:
			o.border.over(to, from, id)
		default:
			o.inside.over(to, from, id)
		}
	}
}

// Image makes all rows.
func (o *Overlay) Image() *imaging.Image { return imaging.FromRows(o) }

// blend lays colours over others.
type blend struct {
	keep    int32
	colours [][3]int32 // times their share
}

// newBlend takes alpha of 256 parts of the colours.
func newBlend(colors []color.RGBA, alpha int32) *blend {
	b := &blend{keep: 256 - alpha}
	for _, c := range colors {
		b.colours = append(b.colours, [3]int32{int32(c.R) * alpha, int32(c.G) * alpha, int32(c.B) * alpha})
	}
	return b
}

func (b *blend) over(to, from *[3]uint8, label uint16) {
	c := &b.colours[label]
	to[0] = uint8((int32(from[0])*b.keep + c[0]) >> 8)
	to[1] = uint8((int32(from[1])*b.keep + c[1]) >> 8)
	to[2] = uint8((int32(from[2])*b.keep + c[2]) >> 8)
}

// mostEntries bounds a legend; the rest is counted in a last line.
const mostEntries = 24

// WithLegend puts a legend under a picture.
func WithLegend(picture imaging.Rows, entries []Entry) (*imaging.Image, error) {
	if len(entries) == 0 {
		return imaging.FromRows(picture), nil
	}
	width, height := picture.Size()
	strip, err := Legend(width, entries)
	if err != nil {
		return nil, err
	}
	result := imaging.New(width, height+strip.Height)
	for y := range height {
		picture.Row(result.Pix[3*y*width:3*(y+1)*width], y)
	}
	copy(result.Pix[3*height*width:], strip.Pix)
	return result, nil
}

// Legend draws a legend of so many pixels across: a swatch, a name and a share for each entry, at least one, in as many columns as fit.
func Legend(width int, entries []Entry) (*imaging.Image, error) {
	size := min(max(float64(width)/34, 11), 28)
	text, err := newTextFace(size)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	lines := make([]string, 0, len(entries))
	more := 0
	for i, e := range entries {
		if i == mostEntries {
			more = len(entries) - mostEntries
			break
		}
		lines = append(lines, fmt.Sprintf("%s  %s", e.Name, percent(e.Share)))
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	height := int(math.Ceil(size * 1.55))
	swatch, gap, margin := int(size*0.9), int(size*0.5), int(size*0.7)
	column := 0
	for i, line := range lines {
		lines[i] = fit(text, line, width-2*margin-swatch-gap)
		column = max(column, font.MeasureString(text, lines[i]).Ceil())
	}
	column += swatch + gap + 2*margin
	columns := min(max(1, (width-margin)/column), len(lines))
	rows := (len(lines) + columns - 1) / columns
	canvas := image.NewRGBA(image.Rect(0, 0, width, rows*height+margin))
	draw.Draw(canvas, canvas.Bounds(), image.NewUniform(color.RGBA{250, 250, 248, 255}), image.Point{}, draw.Src)
	pen := font.Drawer{Dst: canvas, Src: image.NewUniform(color.RGBA{30, 30, 30, 255}), Face: text}
	for i, line := range lines {
		x, y := margin+i/rows*column, margin/2+i%rows*height
		if i < len(entries) && i < mostEntries {
			top := y + (height-swatch)/2
			draw.Draw(canvas, image.Rect(x, top, x+swatch, top+swatch), image.NewUniform(entries[i].Color), image.Point{}, draw.Src)
		}
		pen.Dot = fixed.P(x+swatch+gap, y+int(float64(height)*0.5+size*0.36))
		pen.DrawString(line)
	}
	return fromRGBA(canvas), nil
}

func percent(share float64) string {
	switch {
	case share > 0 && share < 0.001:
		return "<0.1 %"
	case share < 0.1:
		return fmt.Sprintf("%.1f %%", 100*share)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

// fit cuts a line so that it is no wider than width.
func fit(face font.Face, line string, width int) string {
	if font.MeasureString(face, line).Ceil() <= width {
		return line
	}
	runes := []rune(line)
	for n := len(runes) - 1; n > 0; n-- {
		if cut := string(runes[:n]) + "…"; font.MeasureString(face, cut).Ceil() <= width {
			return cut
		}
	}
	return ""
}
