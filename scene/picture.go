package scene

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"io"

	"github.com/pacl/pacl/imaging"
)

// Ignored is the id of ground in masks: it is not scored.
const Ignored = 255

// Image returns the picture without a copy.
func (p *Picture) Image() *imaging.Image {
	return &imaging.Image{Width: p.Width, Height: p.Height, Pix: p.RGB}
}

// Mask returns the index mask of kinds: at every pixel the kind's index, Ignored for ground.
func (p *Picture) Mask(s *Scene) *imaging.Mask {
	mask := imaging.NewMask(p.Width, p.Height)
	for i, id := range p.Object {
		mask.ID[i] = Ignored
		if id > 0 {
			mask.ID[i] = uint16(s.Objects[id-1].Kind)
		}
	}
	return mask
}

// format is how a picture's file is encoded.
type format struct {
	extension string
	encode    func(w io.Writer, p *Picture) error
}

var (
	pngFormat  = format{".png", func(w io.Writer, p *Picture) error { return imaging.EncodePNG(w, p.Image()) }}
	jpegFormat = format{".jpg", encodeJPEG}
)

func encodeJPEG(w io.Writer, p *Picture) error {
	rgba := image.NewRGBA(image.Rect(0, 0, p.Width, p.Height))
	for i := 0; i < p.Width*p.Height; i++ {
		copy(rgba.Pix[4*i:], p.RGB[3*i:3*i+3])
		rgba.Pix[4*i+3] = 255
	}
	return jpeg.Encode(w, rgba, &jpeg.Options{Quality: 92})
}

func (p *Picture) encode(f format) ([]byte, error) {
	var buffer bytes.Buffer
	if err := f.encode(&buffer, p); err != nil {
		return nil, fmt.Errorf("encode scene as %s: %w", f.extension, err)
	}
	return buffer.Bytes(), nil
}
