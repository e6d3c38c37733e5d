package pretrain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/pacl/pacl/internal/kernel"
)

// Config is a recipe: the sizes of the encoders and how they are trained. Zero values mean the defaults of DefaultConfig.
type Config struct {
	Vision     VisionConfig `json:"vision"`
	Text       TextConfig   `json:"text"`
	Projection int          `json:"projection"` // width of the shared space
	Activation string       `json:"activation"` // quick_gelu or gelu

	Steps  int     `json:"steps"`
	Batch  int     `json:"batch"`       // examples of one step; the loss is exact over all of them
	Micro  int     `json:"micro_batch"` // examples in one pass through the encoders
	Rate   float64 `json:"learning_rate"`
	WarmUp int     `json:"warm_up"` // steps
	Decay  float64 `json:"weight_decay"`
	Beta2  float64 `json:"beta2"`
	Clip   float64 `json:"clip_norm"` // of the whole gradient, 0: none
	// Small pictures come first: for SmallSteps steps, pictures of SmallSize pixels stand at random places of the grid of
	// positions. They are cheap, and the same thing is as large in them as later.
	SmallSteps int `json:"small_steps"`
	SmallSize  int `json:"small_size"`
	// EasySteps is for how many steps after those generated scenes hold two objects at most, and CleanSteps for how many of
	// the first steps they are drawn without patterns, light, blur and noise.
	EasySteps  int `json:"easy_steps"`
	CleanSteps int `json:"clean_steps"`
	// Monochrome is the share of generated scenes, after the clean ones, that show no colours and whose captions name none.
	Monochrome float64 `json:"monochrome"`
	// Unnamed is the share of objects, after the clean scenes, in colours of any hue that captions do not name.
	Unnamed float64 `json:"unnamed"`
	// Mosaics is the share of steps, after the small ones, that are of mosaics: four close-ups share a sequence, and the
	// patches of each are compared with its own caption by the pairwise objective. Patches then have to tell what is where
	// they are, not what is anywhere in the picture (after CLIM, Wu et al. 2024).
	Mosaics   float64 `json:"mosaics"`
	Objective string  `json:"objective"` // clip, pacl, or clip+pacl
	TauPatch  float64 `json:"tau_patch"` // of pacl
	// Projector is the width of a hidden layer between the patches and the pairwise objective, 0 for a linear projection. It
	// is left behind with the projection (as in SimCLR, Chen et al. 2020): patches then hold what tells texts apart without
	// lying where texts lie, as those of a CLIP trained by its class token do.
	Projector int `json:"projector,omitempty"`
	// ClassBlocks is how many of the last blocks are trained for the class token alone: the pairwise objective takes the
	// patches before them.
	ClassBlocks int  `json:"class_blocks,omitempty"`
	Recompute   bool `json:"recompute"` // run the forward pass twice and keep no activations of the whole batch
	// LockedWidth and LockedPatches describe the tokens of a locked vision encoder, whose features take the place of the
	// vision transformer. They follow from the features.
	LockedWidth   int `json:"locked_width,omitempty"`
	LockedPatches int `json:"locked_patches,omitempty"`

	Precision string `json:"precision"` // bf16 or f32: of the products; parameters are always float32
	Seed      uint64 `json:"seed"`
}

// VisionConfig are the sizes of the image encoder.
type VisionConfig struct {
	ImageSize int `json:"image_size"`
	PatchSize int `json:"patch_size"`
	Width     int `json:"width"`
	Layers    int `json:"layers"`
	Heads     int `json:"heads"`
	// RopeTheta, where not 0, gives patches rotary positions with periods from 1 up to nearly this in place of learned ones
	// (100 in DINOv3).
	RopeTheta float64 `json:"rope_theta,omitempty"`
}

// TextConfig are the sizes of the text encoder.
type TextConfig struct {
	Context    int `json:"context"`    // longest text in tokens, start and end included
	Vocabulary int `json:"vocabulary"` // of the tokenizer that is learned from the captions
	Width      int `json:"width"`
	Layers     int `json:"layers"`
	Heads      int `json:"heads"`
}

// DefaultConfig is a small dual encoder for pictures of 96 pixels.
func DefaultConfig() Config {
	return Config{
		Vision:     VisionConfig{ImageSize: 96, PatchSize: 8, Width: 192, Layers: 4, Heads: 6},
		Text:       TextConfig{Context: 48, Vocabulary: 1024, Width: 128, Layers: 3, Heads: 4},
		Projection: 128, Activation: "quick_gelu",
		Steps: 2000, Batch: 256, Micro: 16, Rate: 1e-3, WarmUp: 100, Decay: 0.05, Beta2: 0.98, Clip: 1,
		Objective: "clip", TauPatch: 0.07, Precision: kernel.Default().String(), Seed: 1,
	}
}

// ReadConfig reads a recipe in JSON over the defaults. Unknown keys are errors.
func ReadConfig(path string) (Config, error) {
	c := DefaultConfig()
	data, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read recipe: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return c, fmt.Errorf("read recipe %s: %w", path, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("read recipe %s: something follows the recipe's closing brace", path)
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("recipe %s: %w", path, err)
	}
	return c, nil
}

// Check says what is wrong with a recipe.
func (c Config) Check() error {
	for _, limit := range []struct {
		name              string
		value, least, max int
	}{
		{"vision.image_size", c.Vision.ImageSize, 8, 1024}, {"vision.patch_size", c.Vision.PatchSize, 2, 64},
		{"vision.width", c.Vision.Width, 8, 4096}, {"vision.layers", c.Vision.Layers, 1, 64}, {"vision.heads", c.Vision.Heads, 1, 64},
		{"text.context", c.Text.Context, 4, 1024}, {"text.vocabulary", c.Text.Vocabulary, 514, 1 << 20},
		{"text.width", c.Text.Width, 8, 4096}, {"text.layers", c.Text.Layers, 1, 64}, {"text.heads", c.Text.Heads, 1, 64},
		{"projection", c.Projection, 2, 4096}, {"steps", c.Steps, 1, 1 << 30}, {"batch", c.Batch, 2, 1 << 16},
		{"micro_batch", c.Micro, 1, c.Batch}, {"warm_up", c.WarmUp, 0, c.Steps},
	} {
		if limit.value < limit.least || limit.value > limit.max {
			return fmt.Errorf("%s is %d, expected %d to %d", limit.name, limit.value, limit.least, limit.max)
		}
	}
	switch {
	case c.EasySteps < 0 || c.CleanSteps < 0:
		return fmt.Errorf("easy_steps is %d and clean_steps %d, expected 0 or more", c.EasySteps, c.CleanSteps)
	case !(c.Monochrome >= 0 && c.Monochrome <= 1) || !(c.Unnamed >= 0 && c.Unnamed <= 1):
		return fmt.Errorf("monochrome is %g and unnamed %g, expected 0 to 1", c.Monochrome, c.Unnamed)
	case c.SmallSteps < 0 || c.SmallSteps > 0 && (c.SmallSize < c.Vision.PatchSize || c.SmallSize > c.Vision.ImageSize || c.SmallSize%c.Vision.PatchSize != 0):
		return fmt.Errorf("small_size is %d, expected a multiple of vision.patch_size %d up to vision.image_size %d", c.SmallSize, c.Vision.PatchSize, c.Vision.ImageSize)
	case !(c.Mosaics >= 0 && c.Mosaics <= 1):
		return fmt.Errorf("mosaics is %g, expected a share of the steps, 0 to 1", c.Mosaics)
	case c.Mosaics > 0 && (c.Objective == "clip" || c.Vision.ImageSize%(2*c.Vision.PatchSize) != 0 || c.Batch%4 != 0 || c.Micro%4 != 0):
		return fmt.Errorf("mosaics need objective pacl or clip+pacl, an even number of patches a side, and batch and micro_batch that are multiples of 4")
	case c.Vision.ImageSize%c.Vision.PatchSize != 0:
		return fmt.Errorf("vision.image_size %d is no multiple of vision.patch_size %d", c.Vision.ImageSize, c.Vision.PatchSize)
	case c.Vision.Width%c.Vision.Heads != 0:
		return fmt.Errorf("vision.width %d is no multiple of vision.heads %d", c.Vision.Width, c.Vision.Heads)
	case c.Vision.RopeTheta != 0 && !(c.Vision.RopeTheta > 1 && c.Vision.RopeTheta <= 1e6 && c.Vision.Width/c.Vision.Heads%4 == 0):
		return fmt.Errorf("vision.rope_theta is %g for heads of width %d, expected 0, or more than 1 and up to 1e6 for a width that is a multiple of 4", c.Vision.RopeTheta, c.Vision.Width/c.Vision.Heads)
	case c.Text.Width%c.Text.Heads != 0:
		return fmt.Errorf("text.width %d is no multiple of text.heads %d", c.Text.Width, c.Text.Heads)
	case c.Activation != "quick_gelu" && c.Activation != "gelu":
		return fmt.Errorf("activation is %q, expected quick_gelu or gelu", c.Activation)
	case c.Objective != "clip" && c.Objective != "pacl" && c.Objective != "clip+pacl":
		return fmt.Errorf("objective is %q, expected clip, pacl or clip+pacl", c.Objective)
	case c.Precision != "bf16" && c.Precision != "f32":
		return fmt.Errorf("precision is %q, expected bf16 or f32", c.Precision)
	case c.Projector < 0 || c.Projector > 1<<14 || c.Projector > 0 && c.Objective == "clip":
		return fmt.Errorf("projector is %d, expected 0 to %d, and 0 for objective clip, which does not compare patches", c.Projector, 1<<14)
	case c.ClassBlocks < 0 || c.ClassBlocks >= c.Vision.Layers || c.ClassBlocks > 0 && c.Objective != "clip+pacl":
		return fmt.Errorf("class_blocks is %d, expected 0 to %d, less than vision.layers, and 0 unless objective is clip+pacl", c.ClassBlocks, c.Vision.Layers-1)
	case !(c.Rate > 0 && c.Rate < 1), !(c.Decay >= 0 && c.Decay < 10), !(c.Beta2 > 0 && c.Beta2 < 1), !(c.Clip >= 0), !(c.TauPatch > 0):
		return fmt.Errorf("learning_rate %g, weight_decay %g, beta2 %g, clip_norm %g or tau_patch %g is out of range", c.Rate, c.Decay, c.Beta2, c.Clip, c.TauPatch)
	}
	return nil
}

func (c Config) activation() kernel.Activation {
	if c.Activation == "gelu" {
		return kernel.GELU
	}
	return kernel.QuickGELU
}

func (c Config) precision() kernel.Precision {
	if c.Precision == "f32" {
		return kernel.Float32
	}
	return kernel.BFloat16
}

func (c Config) usesCLIP() bool { return c.Objective != "pacl" }
func (c Config) usesPACL() bool { return c.Objective != "clip" }

// sizeAt is the pictures' size in a step, counted from 0.
func (c Config) sizeAt(step int) int {
	switch {
	case step < c.SmallSteps:
		return c.SmallSize
	case c.mosaicAt(step):
		return c.Vision.ImageSize / 2
	}
	return c.Vision.ImageSize
}

// mosaicAt says whether a step, counted from 0, is one of mosaics, which lie evenly among the others.
func (c Config) mosaicAt(step int) bool {
	return step >= c.SmallSteps && evenly(step, c.Mosaics)
}

// evenly picks a share of all numbers from 0 on, one as far from the next as can be.
func evenly(n int, share float64) bool {
	return math.Ceil(float64(n+1)*share) > math.Ceil(float64(n)*share)
}

// patchBlocks is how many blocks patches pass on their way to the pairwise objective.
func (c Config) patchBlocks() int { return c.Vision.Layers - c.ClassBlocks }

func (c Config) locked() bool { return c.LockedWidth > 0 }

// patches is the number of patch tokens of one picture.
func (c Config) patches() int {
	side := c.Vision.ImageSize / c.Vision.PatchSize
	return side * side
}
