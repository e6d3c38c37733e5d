package pacl

import (
	"context"
	"fmt"
	"math"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/readout"
)

// MaxScales bounds ImageOptions.Scales.
const MaxScales = 6

// look is one of the ways that a photo is looked at: at one size, mirrored or not.
type look struct {
	ImageOptions
	mirrored bool
}

// looks are the ways that the options ask for, the finest size last.
func (m *Model) looks(o ImageOptions) ([]look, error) {
	info := m.Info()
	if o.Scales == 0 {
		o.Scales = info.Scales
	}
	if o.Scales < 1 || o.Scales > MaxScales {
		return nil, fmt.Errorf("%d scales, expected 1 to %d", o.Scales, MaxScales)
	}
	if o.Size == 0 && o.Width == 0 && o.Height == 0 {
		o.Size = info.InputSize
	}
	var looks []look
	for scale := range o.Scales {
		larger := o
		grow := func(side int) int { return int(math.Round(float64(side) * math.Pow(2, float64(scale)/2))) }
		larger.Size, larger.Width, larger.Height = grow(o.Size), grow(o.Width), grow(o.Height)
		if m.mirrors(o) {
			looks = append(looks, look{larger, true})
		}
		looks = append(looks, look{larger, false})
	}
	return looks, nil
}

// mirrors says whether a photo is looked at in the mirror as well.
func (m *Model) mirrors(o ImageOptions) bool {
	return o.Mirror == On || o.Mirror == Own && m.Info().Mirror
}

// Encode encodes a photo: one forward pass for each scale, window and mirror image, however many words are scored later.
func (m *Model) Encode(ctx context.Context, im *imaging.Image, o ImageOptions) (*Encoded, error) {
	encoded, err := m.EncodeBatch(ctx, []*imaging.Image{im}, o)
	if err != nil {
		return nil, err
	}
	return encoded[0], nil
}

// EncodeBatch is Encode for several photos: those whose inputs have the same size, and that are looked at whole, go
// through the encoder together. The results are in the order of the photos and do not depend on their company.
func (m *Model) EncodeBatch(ctx context.Context, photos []*imaging.Image, o ImageOptions) ([]*Encoded, error) {
	looks, err := m.looks(o)
	if err != nil {
		return nil, err
	}
	all := make([][]*Encoded, len(looks))
	for i, look := range looks {
		seen := photos
		if look.mirrored {
			seen = make([]*imaging.Image, len(photos))
			for p, photo := range photos {
				seen[p] = photo.FlipHorizontal()
			}
		}
		if all[i], err = m.encodeOnce(ctx, seen, look.ImageOptions); err != nil {
			return nil, err
		}
		if look.mirrored {
			for _, e := range all[i] {
				e.Geometry.Mirror(e.Patches, e.Width)
			}
		}
	}
	results := all[len(looks)-1]
	for p, e := range results {
		for i := range len(looks) - 1 {
			if err := e.add(all[i][p]); err != nil {
				return nil, err
			}
		}
		for i := range e.Patches {
			e.Patches[i] /= float32(len(looks))
		}
	}
	return results, nil
}

// add adds the vectors of another look at the photo, brought to the patches of this one.
func (e *Encoded) add(other *Encoded) error {
	vectors := other.Patches
	if other.Geometry != e.Geometry {
		var err error
		if vectors, err = readout.Resample(other.Patches, e.Width, other.Geometry, e.Geometry); err != nil {
			return err
		}
	}
	for i, v := range vectors {
		e.Patches[i] += v
	}
	return nil
}
