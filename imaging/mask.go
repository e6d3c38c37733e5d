package imaging

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
)

// Mask is a map of label ids.
type Mask struct {
	Width, Height int
	ID            []uint16 // [Height, Width]
}

// NewMask returns a mask of zeros.
func NewMask(width, height int) *Mask {
	return &Mask{Width: width, Height: height, ID: make([]uint16, width*height)}
}

// OpenMask reads and decodes a mask file.
func OpenMask(path string) (*Mask, error) {
	data, err := ReadFile(path, Limits{})
	if err != nil {
		return nil, err
	}
	mask, err := DecodeMask(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return mask, nil
}

// DecodeMask reads the ids of a PNG mask: the indices of a palette, or gray values of 8 or 16 bits. Colours carry no ids
// and are refused.
func DecodeMask(data []byte) (*Mask, error) {
	width, height, format, err := DecodeConfig(data)
	if err != nil {
		return nil, fmt.Errorf("mask: %w", err)
	}
	if format != "png" {
		return nil, fmt.Errorf("mask is a %s picture, expected an indexed or gray PNG", format)
	}
	if width < 1 || height < 1 || int64(width) > (Limits{}).pixels()/int64(height) {
		return nil, fmt.Errorf("mask of %dx%d pixels, at most %d million pixels are decoded", width, height, (Limits{}).pixels()/1e6)
	}
	if pixels, ok := decodePlainPNG(data, width, height); ok {
		mask := NewMask(width, height)
		mask.copyBytes(pixels, width)
		return mask, nil
	}
	decoded, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("mask is damaged or cut off: %w", err)
	}
	mask := NewMask(width, height)
	switch src := decoded.(type) {
	case *image.Paletted:
		mask.copyBytes(src.Pix, src.Stride)
	case *image.Gray:
		mask.copyBytes(src.Pix, src.Stride)
	case *image.Gray16:
		for y := range height {
			row, dst := src.Pix[y*src.Stride:][:2*width], mask.ID[y*width:][:width]
			for x := range dst {
				dst[x] = uint16(row[2*x])<<8 | uint16(row[2*x+1])
			}
		}
	default:
		return nil, fmt.Errorf("mask holds colours (%T), expected palette indices or gray values", decoded)
	}
	return mask, nil
}

func (m *Mask) copyBytes(pix []uint8, stride int) {
	for y := range m.Height {
		row, dst := pix[y*stride:][:m.Width], m.ID[y*m.Width:][:m.Width]
		for x, v := range row {
			dst[x] = uint16(v)
		}
	}
}

// EncodeMask writes a mask as an indexed PNG with the palette, or as a 16-bit gray PNG where an id is 256 or more.
func EncodeMask(w io.Writer, m *Mask, palette color.Palette) error {
	largest := uint16(0)
	for _, id := range m.ID {
		largest = max(largest, id)
	}
	if largest > 255 {
		gray := image.NewGray16(image.Rect(0, 0, m.Width, m.Height))
		for i, id := range m.ID {
			gray.Pix[2*i], gray.Pix[2*i+1] = uint8(id>>8), uint8(id)
		}
		return png.Encode(w, gray)
	}
	if int(largest) >= len(palette) {
		return fmt.Errorf("mask holds id %d, the palette has %d colours", largest, len(palette))
	}
	return writePNG(w, m.Width, m.Height, palette[:min(len(palette), 256)], drawingDeflaters, func(dst []byte, y int) {
		for x, id := range m.ID[y*m.Width:][:m.Width] {
			dst[x] = uint8(id)
		}
	})
}
