package feature

import (
	"math"
	"math/rand/v2"

	"github.com/pacl/pacl/imaging"
)

// pixelsOf cuts and resizes a photo into all views that the preprocessing asks for, each size x size. number is that of
// the image in the list: random crops depend on it and the seed alone.
func (p Preprocessing) pixelsOf(im *imaging.Image, number int64, filter imaging.Filter) []*imaging.Image {
	plain := p.fit(im, filter)
	views := []*imaging.Image{plain}
	if p.Views.Flip {
		views = append(views, plain.FlipHorizontal())
	}
	for crop := range p.Views.Crops {
		rng := rand.New(rand.NewPCG(p.Views.Seed, uint64(number)<<16|uint64(crop)))
		scale := p.Views.MinScale + (1-p.Views.MinScale)*rng.Float64()
		w, h := im.Width, im.Height
		if p.Fit == FitCrop {
			w, h = min(w, h), min(w, h)
		}
		w, h = max(1, int(math.Round(scale*float64(w)))), max(1, int(math.Round(scale*float64(h))))
		x, y := rng.IntN(im.Width-w+1), rng.IntN(im.Height-h+1)
		view := imaging.Resize(im.Crop(x, y, w, h), p.Size, p.Size, filter)
		if rng.IntN(2) == 1 {
			view = view.FlipHorizontal()
		}
		views = append(views, view)
	}
	return views
}

// fit makes the photo square: its short side resized and the centre cropped, or both sides resized.
func (p Preprocessing) fit(im *imaging.Image, filter imaging.Filter) *imaging.Image {
	if p.Fit == FitSquash || im.Width == im.Height {
		if im.Width == p.Size && im.Height == p.Size {
			return im
		}
		return imaging.Resize(im, p.Size, p.Size, filter)
	}
	// Cropping before resizing keeps a long, thin picture from becoming a huge one.
	side := min(im.Width, im.Height)
	square := im.Crop((im.Width-side)/2, (im.Height-side)/2, side, side)
	return imaging.Resize(square, p.Size, p.Size, filter)
}
