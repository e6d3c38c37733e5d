package pretrain

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/internal/kernel"
)

// NoText stands for a text encoder where features are extracted before there is one: every text has the same vector.
type NoText struct{}

// Embed returns a one for each text.
func (NoText) Embed(_ context.Context, texts []string) ([]float32, error) {
	vectors := make([]float32, len(texts))
	for i := range vectors {
		vectors[i] = 1
	}
	return vectors, nil
}

// Width is 1.
func (NoText) Width() int { return 1 }

// Info names it for the manifest of the features.
func (NoText) Info() encoder.Info {
	return encoder.Info{Family: "none", Dir: "none", Hash: "none", Width: 1}
}

// Features are the tokens of a locked vision encoder with captions, from a cache.
type Features struct {
	Cache *feature.Cache
	// ExtraShare is how often a caption gives way to one of its extra texts.
	ExtraShare float64
}

// Len is the number of pictures.
func (f Features) Len() int { return f.Cache.Len() }

// Name identifies the cache.
func (f Features) Name() string {
	return fmt.Sprintf("features %s, extras %g", f.Cache.Hash(), f.ExtraShare)
}

// text draws a caption of a picture, or one of its extra texts.
func (f Features) text(i int, random *rand.Rand) string {
	caption := random.IntN(f.Cache.CaptionCount(i))
	if extras := f.Cache.ExtraCount(i, caption); extras > 0 && random.Float64() < f.ExtraShare {
		return f.Cache.Extra(i, caption, random.IntN(extras)).Text
	}
	return f.Cache.Caption(i, caption).Text
}

// NewLockedTrainer trains a text encoder against the frozen tokens of a vision encoder: with the pairwise objective, or with
// CLIP's on the mean of a picture's tokens (which LiT, Zhai et al. 2022, does to its pooled vector). The tokens pass through the
// recipe's projector, which is trained along and left out of the directory.
func NewLockedTrainer(c Config, features Features) (*Trainer, error) {
	c.SmallSteps, c.Mosaics = 0, 0
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	c.LockedWidth, c.LockedPatches = features.Cache.TokenWidth(), features.Cache.Patches()
	switch c.Objective {
	case "pacl":
	case "clip":
		// Of a single token the pairwise compatibility is the cosine, and the objective CLIP's.
		c.Objective, c.LockedPatches = "pacl", 1
	default:
		return nil, fmt.Errorf("recipe: objective is %q, expected clip or pacl for a locked vision encoder", c.Objective)
	}
	t := &Trainer{config: c, examples: features}
	t.load = func(step int) ([][]int32, placement, error) { return t.loadFeatures(features, step) }
	err := t.start(func(i, draw uint64) (string, error) {
		return features.text(int(i), rand.New(rand.NewPCG(draw, i))), nil
	}, func() ([]float32, error) { return nil, nil })
	return t, err
}

// loadFeatures fills the pixels with the tokens of a step.
func (t *Trainer) loadFeatures(f Features, step int) ([][]int32, placement, error) {
	c := t.config
	each, whole := c.LockedPatches*c.LockedWidth, f.Cache.Patches()*c.LockedWidth
	t.pixels = grow(&t.pixels, c.Batch*each)
	ids := make([][]int32, c.Batch)
	kernel.Parallel(c.Batch, func(_, i int) {
		number := uint64(step)*uint64(c.Batch) + uint64(i)
		random := rand.New(rand.NewPCG(c.Seed, number))
		picture := int(t.pick(number))
		ids[i] = t.encode(f.text(picture, random))
		tokens, stored := t.pixels[i*each:(i+1)*each], f.Cache.Tokens(picture, random.IntN(f.Cache.Views()))
		if each == whole {
			kernel.FromBF16(tokens, stored)
			return
		}
		all := make([]float32, whole)
		kernel.FromBF16(all, stored)
		clear(tokens)
		for k, v := range all {
			tokens[k%c.LockedWidth] += v / float32(f.Cache.Patches())
		}
	})
	return ids, placement{together: 1, corners: make([]corner, c.Batch)}, nil
}

// lockedImages sets patches [B*T, D] from frozen tokens [B, T, D_in].
func lockedImages[T real](e engine[T], m *dual, p []T, tr *imagePass[T], tokens []T, patches mat[T]) {
	tr.local = matrix(tokens, patches.rows, m.config.LockedWidth)
	project(e, m, p, &tr.projected, tr.local, patches)
}

// lockedImagesGrad adds the gradient of the projector, all that is trained on the side of the pictures.
func lockedImagesGrad[T real](e engine[T], m *dual, p, g []T, tr *imagePass[T], dPatches mat[T]) {
	projectGrad(e, m, p, g, &tr.projected, tr.local, dPatches, mat[T]{})
}
