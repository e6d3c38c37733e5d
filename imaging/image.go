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
func (im *Image) FlipHorizontal() *Image {
	result := New(im.Width, im.Height)
	for y := range im.Height {
		src, dst := im.Pix[3*y*im.Width:], result.Pix[3*y*im.Width:]
		for x := range im.Width {
			from := 3 * (im.Width - 1 - x)
			copy(dst[3*x:3*x+3], src[from:from+3])
		}
	}
	return result
}

// upright undoes one of the eight EXIF orientations.
func (im *Image) upright(orientation int) *Image {
	if orientation < 2 || orientation > 8 {
		return im
	}
	width, height := im.Width, im.Height
	if orientation >= 5 {
		width, height = height, width
	}
	result := New(width, height)
	for y := range height {
		for x := range width {
			var sx, sy int
			switch orientation {
			case 2:
				sx, sy = im.Width-1-x, y
			case 3:
				sx, sy = im.Width-1-x, im.Height-1-y
			case 4:
				sx, sy = x, im.Height-1-y
			case 5:
				sx, sy = y, x
			case 6:
				sx, sy = y, im.Height-1-x
			case 7:
				sx, sy = im.Width-1-y, im.Height-1-x
			case 8:
				sx, sy = im.Width-1-y, x
			}
			from := 3 * (sy*im.Width + sx)
			copy(result.Pix[3*(y*width+x):][:3], im.Pix[from:from+3])
		}
	}
	return result
}
