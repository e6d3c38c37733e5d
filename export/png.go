package export

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"

	"github.com/pacl/pacl/imaging"
)

// WritePNG writes the ids themselves as gray values, as evaluators read them: of 8 bits where all are below 256, of 16 bits
// otherwise.
func WritePNG(w io.Writer, m *imaging.Mask) error {
	if err := check(m); err != nil {
		return fmt.Errorf("png: %w", err)
	}
	bounds := image.Rect(0, 0, m.Width, m.Height)
	wide := false
	for _, id := range m.ID {
		wide = wide || id > 255
	}
	var picture image.Image
	if wide {
		gray := image.NewGray16(bounds)
		for i, id := range m.ID {
			gray.SetGray16(i%m.Width, i/m.Width, color.Gray16{Y: id})
		}
		picture = gray
	} else {
		gray := image.NewGray(bounds)
		for i, id := range m.ID {
			gray.Pix[i] = uint8(id)
		}
		picture = gray
	}
	if err := png.Encode(w, picture); err != nil {
		return fmt.Errorf("png: %w", err)
	}
	return nil
}
