package render

import (
	"fmt"
	"image"

	"github.com/pacl/pacl/imaging"
)

// fromRGBA drops the alpha of an opaque picture.
func fromRGBA(im *image.RGBA) *imaging.Image {
	result := imaging.New(im.Rect.Dx(), im.Rect.Dy())
	for i := range result.Width * result.Height {
		*(*[3]uint8)(result.Pix[3*i:]) = *(*[3]uint8)(im.Pix[4*i:])
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
