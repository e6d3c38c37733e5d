// Package imaging turns picture files into pixels as the encoders' authors did: decoded and turned upright like Pillow,
// resampled like Pillow to the bit. It also reads and writes label masks.
package imaging

import "fmt"

// Image is a photo of 8-bit RGB, rows from the top, without padding.
type Image struct {
	Width, Height int
	Pix           []uint8 // [Height, Width, 3]
}

// New returns a black image.
func New(width, height int) *Image {
	return &Image{Width: width, Height: height, Pix: make([]uint8, 3*width*height)}
}

// At returns the colour of a pixel.
func (im *Image) At(x, y int) (r, g, b uint8) {
	p := im.Pix[3*(y*im.Width+x):]
	return p[0], p[1], p[2]
}

// Size is the width and height in pixels.
func (im *Image) Size() (width, height int) { return im.Width, im.Height }

// Row copies row y to dst [Width, 3].
func (im *Image) Row(dst []uint8, y int) { copy(dst, im.Pix[3*y*im.Width:3*(y+1)*im.Width]) }

// FromRows makes all rows of a picture.
func FromRows(rows Rows) *Image {
	im := New(rows.Size())
	for y := range im.Height {
		rows.Row(im.Pix[3*y*im.Width:3*(y+1)*im.Width], y)
	}
	return im
}

// Crop copies the rectangle of the given size whose upper left corner is (x, y); it must lie inside the image.
func (im *Image) Crop(x, y, width, height int) *Image {
	if x < 0 || y < 0 || width < 1 || height < 1 || x+width > im.Width || y+height > im.Height {
		panic(fmt.Sprintf("imaging: crop %dx%d at (%d, %d) of an image of %dx%d", width, height, x, y, im.Width, im.Height))
	}
	result := New(width, height)
	for row := range height {
		copy(result.Pix[3*row*width:3*(row+1)*width], im.Pix[3*((y+row)*im.Width+x):])
	}
	return result
}

// FlipHorizontal returns the mirror image.
func (im *Image) FlipHorizontal() *Image { return im.upright(2) }

// upright undoes one of the eight EXIF orientations.
func (im *Image) upright(orientation int) *Image {
	w, h := im.Width, im.Height
	var first, right, down int // the pixel that becomes the first one, and how many on the next to the right and below are
	switch orientation {
	case 2:
		first, right, down = w-1, -1, w
	case 3:
		first, right, down = w*h-1, -1, -w
	case 4:
		first, right, down = w*(h-1), 1, -w
	case 5:
		first, right, down = 0, w, 1
	case 6:
		first, right, down = w*(h-1), -w, 1
	case 7:
		first, right, down = w*h-1, -w, -1
	case 8:
		first, right, down = w-1, w, -1
	default:
		return im
	}
	if orientation >= 5 {
		w, h = h, w
	}
	result := New(w, h)
	for y := range h {
		row, from := result.Pix[3*y*w:][:3*w], first+y*down
		for x := 0; x < len(row); x += 3 {
			*(*[3]uint8)(row[x:]) = *(*[3]uint8)(im.Pix[3*from:])
			from += right
		}
	}
	return result
}
