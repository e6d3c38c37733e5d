package align

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"

	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/internal/kernel"
)

// Streams of random numbers: each use has its own, derived from the seed and from what it is for, so that a training that
// is taken up again needs no state but its step.
const (
	streamOrder      = 1
	streamDraw       = 2
	streamValidation = 3
)

// HeldOut says whether an image is kept out of training when about this share of all is. It goes by a hash of the image's
// key alone: neither the seed nor the rest of the list moves an image across the split, a larger share holds what a
// smaller one does, and an experiment can find the photos that a head has not seen.
func HeldOut(key string, share float64) bool {
	sum := sha256.Sum256([]byte(key))
	return float64(binary.BigEndian.Uint64(sum[:])>>11)/(1<<53) < share
}

func stream(seed uint64, use, epoch, image uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed*0x9e3779b97f4a7c15+use, epoch<<40^image))
}

// sampler draws batches from a cache.
type sampler struct {
	cache      *feature.Cache
	recipe     Recipe
	training   []int // images
	validation []int
	batch      int
	order      []int // images of the epoch
	epoch      int
}

func newSampler(cache *feature.Cache, r Recipe) *sampler {
	s := &sampler{cache: cache, recipe: r, epoch: -1}
	for image := range cache.Len() {
		if HeldOut(cache.Key(image), r.Validation) {
			s.validation = append(s.validation, image)
		} else {
			s.training = append(s.training, image)
		}
	}
	s.batch = min(r.Batch, len(s.training))
	return s
}

// stepsPerEpoch is how many whole batches an epoch has; what is left over is another part in each epoch.
func (s *sampler) stepsPerEpoch() int { return len(s.training) / s.batch }

func (s *sampler) steps() int { return s.recipe.Epochs * s.stepsPerEpoch() }

// draw returns the batch of a step: for each image one text and one view.
func (s *sampler) draw(step int) Batch {
	epoch := step / s.stepsPerEpoch()
	if epoch != s.epoch {
		s.order = append(s.order[:0], s.training...)
		stream(s.recipe.Seed, streamOrder, uint64(epoch), 0).Shuffle(len(s.order), func(i, j int) {
			s.order[i], s.order[j] = s.order[j], s.order[i]
		})
		s.epoch = epoch
	}
	start := step % s.stepsPerEpoch() * s.batch
	images := s.order[start : start+s.batch]
	views, texts := make([]int, len(images)), make([][]float32, len(images))
	for k, image := range images {
		rng := stream(s.recipe.Seed, streamDraw, uint64(epoch), uint64(image))
		texts[k] = s.drawText(rng, image)
		if s.recipe.Views {
			views[k] = rng.IntN(s.cache.Views())
		}
	}
	return s.assemble(images, views, texts)
}

func (s *sampler) drawText(rng *rand.Rand, image int) []float32 {
	caption := rng.IntN(s.cache.CaptionCount(image))
	if extras := s.cache.ExtraCount(image, caption); extras > 0 && rng.Float64() < s.recipe.ExtraShare {
		return s.cache.ExtraVector(image, caption, rng.IntN(extras))
	}
	return s.cache.CaptionVector(image, caption)
}

// validationLimit bounds how many images are compared with each other in a validation.
const validationLimit = 4096

// drawValidation returns the validation images, each with one of its captions: the same in every epoch.
func (s *sampler) drawValidation() Batch {
	images := s.validation[:min(len(s.validation), validationLimit)]
	texts := make([][]float32, len(images))
	for k, image := range images {
		rng := stream(s.recipe.Seed, streamValidation, 0, uint64(image))
		texts[k] = s.cache.CaptionVector(image, rng.IntN(s.cache.CaptionCount(image)))
	}
	return s.assemble(images, make([]int, len(images)), texts)
}

func (s *sampler) assemble(images, views []int, texts [][]float32) Batch {
	patches, width := s.cache.Patches(), s.cache.TokenWidth()
	return Batch{
		Images: len(images), Patches: patches, Texts: texts,
		Tokens: func(i int) kernel.Mat {
			return kernel.FromBFloat16(s.cache.Tokens(images[i], views[i]), patches, width)
		},
	}
}
