package pretrain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
)

// Photos are the captioned images of a source, decoded once and kept small in memory. A photo is drawn with a random
// crop of nine tenths of its side, and mirrored half of the time where Mirror is set.
type Photos struct {
	Mirror bool

	name   string
	size   int // of the crops
	kept   int // side of the pictures kept
	photos []photo
	failed []string
}

type photo struct {
	rgb      []uint8 // [kept, kept, 3]
	captions []string
}

// LoadPhotos reads all of a source. Photos that cannot be read are left out and named in Failed; more than a tenth of
// them is an error.
func LoadPhotos(ctx context.Context, source caption.Source, size int) (*Photos, error) {
	p := &Photos{name: "captions " + source.Hash(), size: size, kept: size * 10 / 9}
	var samples []caption.Sample
	for {
		sample, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read captions: %w", err)
		}
		samples = append(samples, sample)
	}
	all, failures := make([]photo, len(samples)), make([]error, len(samples))
	var stopped atomic.Bool
	kernel.Parallel(len(samples), func(_, i int) {
		if stopped.Load() || ctx.Err() != nil {
			stopped.Store(true)
			return
		}
		all[i].captions = samples[i].Texts
		all[i].rgb, failures[i] = p.read(samples[i])
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i, err := range failures {
		if err != nil {
			p.failed = append(p.failed, fmt.Sprintf("%s: %v", samples[i].Key, err))
			continue
		}
		p.photos = append(p.photos, all[i])
	}
	if len(p.photos) == 0 {
		return nil, fmt.Errorf("read captions: of %d images none can be read with a caption", len(samples))
	}
	if 10*len(p.failed) > len(samples) && len(samples) >= 10 {
		return nil, fmt.Errorf("read captions: %d of %d images cannot be read, the first is %s", len(p.failed), len(samples), p.failed[0])
	}
	return p, nil
}

func (p *Photos) read(sample caption.Sample) ([]uint8, error) {
	data, err := sample.Read()
	if err != nil {
		return nil, err
	}
	im, err := imaging.Decode(data, imaging.Limits{})
	if err != nil {
		return nil, err
	}
	short := min(im.Width, im.Height)
	im = im.Crop((im.Width-short)/2, (im.Height-short)/2, short, short)
	return imaging.Resize(im, p.kept, p.kept, imaging.Bicubic).Pix, nil
}

// Failed names the photos that could not be read.
func (p *Photos) Failed() []string { return p.failed }

// Len is the number of photos.
func (p *Photos) Len() int { return len(p.photos) }

// Name holds the hash of the list.
func (p *Photos) Name() string { return fmt.Sprintf("%s at %d mirrored %v", p.name, p.size, p.Mirror) }

// Caption draws one of a photo's captions.
func (p *Photos) Caption(i, draw uint64) (string, error) {
	captions := p.photos[i].captions
	return captions[draw%uint64(len(captions))], nil
}

// Load draws a crop of a photo and one of its captions.
func (p *Photos) Load(i uint64, size int, draw uint64) ([]uint8, string, error) {
	if size != p.size {
		return nil, "", fmt.Errorf("photos were read for %d pixels, not %d", p.size, size)
	}
	text, err := p.Caption(i, draw)
	if err != nil {
		return nil, "", err
	}
	random := rand.New(rand.NewPCG(draw, i))
	x0, y0 := random.IntN(p.kept-size+1), random.IntN(p.kept-size+1)
	mirror := p.Mirror && random.IntN(2) == 1
	rgb := make([]uint8, 3*size*size)
	for y := 0; y < size; y++ {
		for x := 0; x < size; x++ {
			from := x
			if mirror {
				from = size - 1 - x
			}
			at := 3 * ((y+y0)*p.kept + from + x0)
			copy(rgb[3*(y*size+x):], p.photos[i].rgb[at:at+3])
		}
	}
	return rgb, text, nil
}
