package pretrain

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// tinyConfig has every part of a dual encoder at the smallest size at which the parts differ.
func tinyConfig() Config {
	c := DefaultConfig()
	c.Vision = VisionConfig{ImageSize: 12, PatchSize: 4, Width: 12, Layers: 2, Heads: 3}
	c.Text = TextConfig{Context: 7, Vocabulary: 514, Width: 8, Layers: 2, Heads: 2}
	c.Projection, c.Batch, c.Micro = 6, 5, 2
	c.Objective = "clip+pacl"
	return c
}

func tinyExamples[T real](c Config, count int, seed uint64) (pixels []T, ids [][]int32) {
	random := rand.New(rand.NewPCG(seed, 1))
	pixels = make([]T, count*3*c.Vision.ImageSize*c.Vision.ImageSize)
	for i := range pixels {
		pixels[i] = T(random.NormFloat64())
	}
	for i := 0; i < count; i++ {
		text := make([]int32, 3+random.IntN(c.Text.Context-2))
		for k := range text {
			text[k] = int32(random.IntN(c.Text.Vocabulary))
		}
		ids = append(ids, text)
	}
	ids[count-1] = ids[0] // equal texts share their positives
	return pixels, ids
}

func widen(p []float32) []float64 {
	out := make([]float64, len(p))
	for i, v := range p {
		out[i] = float64(v)
	}
	return out
}

// TestGradient compares the gradient of each parameter tensor of the whole dual encoder, both objectives and gradient
// caching included, with central differences along a random direction and along single axes.
func TestGradient(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(c *Config)
	}{
		{"clip+pacl", func(c *Config) {}},
		{"clip", func(c *Config) { c.Objective = "clip" }},
		{"pacl recomputed", func(c *Config) { c.Objective, c.Recompute = "pacl", true }},
		{"small pictures", func(c *Config) { c.SmallSteps, c.SmallSize = 1, 8 }},
		{"mosaics", func(c *Config) { c.Mosaics, c.Vision.ImageSize, c.Batch, c.Micro, c.Objective = 1, 16, 8, 4, "pacl" }},
		{"mosaics before blocks of the class token", func(c *Config) {
			c.Mosaics, c.Vision.ImageSize, c.Batch, c.Micro, c.Objective, c.ClassBlocks = 1, 16, 8, 4, "pacl", 1
		}},
		{"rotary positions", func(c *Config) { c.Vision.RopeTheta = 100 }},
		{"locked vision", func(c *Config) { c.Objective, c.LockedWidth, c.LockedPatches = "pacl", 7, 4 }},
		{"projector", func(c *Config) { c.Projector = 7 }},
		{"blocks of the class token", func(c *Config) { c.ClassBlocks, c.Projector = 1, 7 }},
		{"blocks of the class token, recomputed", func(c *Config) { c.ClassBlocks, c.Recompute = 1, true }},
		{"projector of locked vision", func(c *Config) { c.Objective, c.LockedWidth, c.LockedPatches, c.Projector = "pacl", 7, 4, 5 }},
		{"gelu recomputed", func(c *Config) { c.Activation, c.Recompute = "gelu", true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := tinyConfig()
			test.edit(&c)
			m := newDual(c)
			p := widen(m.initial(3, nil))
			random := rand.New(rand.NewPCG(4, 5))
			for i := range p {
				p[i] += 0.1 * random.NormFloat64() // no zero biases, no equal norms
			}
			size, together, corners := c.sizeAt(0), 1, make([]corner, c.Batch)
			pixels, ids := tinyExamples[float64](c, c.Batch, 6)
			if c.locked() {
				pixels = pixels[:c.Batch*c.LockedPatches*c.LockedWidth]
			}
			if c.SmallSteps > 0 {
				pixels = pixels[:c.Batch*3*size*size]
				for i := range corners {
					corners[i] = corner{i % 2, (i + 1) / 2 % 2}
				}
			}
			if c.Mosaics > 0 {
				together = 4
				pixels = pixels[:c.Batch*3*size*size]
				for i := range corners {
					corners[i] = corner{1 + i/2%2*2, 3 + i%2*2}
				}
			}
			b := newBatch(m, func() engine[float64] { return exact{} })
			b.run(p, pixels, placement{size, together, corners}, ids)
			gradient := append([]float64(nil), b.gradient...)
			along := func(s span, direction []float64) float64 {
				const h = 1e-4
				start := append([]float64(nil), at(p, s)...)
				value := func(step float64) float64 {
					for i := range start {
						at(p, s)[i] = start[i] + step*direction[i]
					}
					return b.run(p, pixels, placement{size, together, corners}, ids).Loss
				}
				// Fourth order: the error is far below the tolerance.
				d := (8*(value(h)-value(-h)) - (value(2*h) - value(-2*h))) / (12 * h)
				copy(at(p, s), start)
				return d
			}
			for _, tensor := range m.layout.parameters {
				g := at(gradient, tensor.span)
				norm := 0.0
				for _, x := range g {
					norm += x * x
				}
				norm = math.Sqrt(norm)
				if norm == 0 && !(c.Objective == "pacl" && notOfPACL(c, tensor.name)) {
					t.Errorf("%s: the gradient is zero", tensor.name)
				}
				direction := make([]float64, len(g))
				for try := 0; try < 2; try++ {
					length, want := 0.0, 0.0
					for i := range direction {
						direction[i] = random.NormFloat64()
						if try == 0 {
							direction[i] = g[i] // the steepest direction
						}
						length += direction[i] * direction[i]
					}
					length = math.Sqrt(length)
					if length == 0 {
						continue
					}
					for i := range direction {
						direction[i] /= length
						want += g[i] * direction[i]
					}
					if got := along(tensor.span, direction); math.Abs(got-want) > 1e-6*norm+1e-10 {
						t.Errorf("%s: slope %.12g by differences, %.12g by the gradient (norm %g)", tensor.name, got, want, norm)
					}
				}
			}
		})
	}
}

// notOfPACL names what only CLIP's objective moves.
func notOfPACL(c Config, name string) bool {
	for l := c.patchBlocks(); l < c.Vision.Layers; l++ {
		if strings.HasPrefix(name, fmt.Sprintf("vision_model.encoder.layers.%d.", l)) {
			return true
		}
	}
	return name == "visual_projection.weight" || name == "logit_scale" ||
		c.ownPatchNorm() && strings.HasPrefix(name, "vision_model.post_layernorm.")
}
