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
	row := white(width, height)
	x := 0
	for _, p := range pictures {
		paste(row, p, x, 0)
		x += p.Width + gap
	}
	return row, nil
}

// white is a picture of nothing.
func white(width, height int) *imaging.Image {
	im := imaging.New(width, height)
	for i := range im.Pix {
		im.Pix[i] = 255
	}
	return im
}

// paste puts a picture into another one, whose pixels from x, y on it must fit into.
func paste(into, im *imaging.Image, x, y int) {
	for row := range im.Height {
		copy(into.Pix[3*((y+row)*into.Width+x):], im.Pix[3*row*im.Width:3*(row+1)*im.Width])
	}
}
