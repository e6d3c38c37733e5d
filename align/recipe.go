package align

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// Recipe is everything that, with a cache, decides what a training ends with.
type Recipe struct {
	Head Config `json:"head"`

	Epochs      int     `json:"epochs"`
	Batch       int     `json:"batch"`
	Rate        float64 `json:"rate"`       // peak of the learning rate
	RateFloor   float64 `json:"rate_floor"` // what the cosine goes down to
	Warmup      int     `json:"warmup"`     // steps
	WeightDecay float64 `json:"weight_decay"`
	Beta1       float64 `json:"beta1"`
	Beta2       float64 `json:"beta2"`
	Epsilon     float64 `json:"epsilon"`

	// Start is what the head starts as: "" for random numbers, or StartProjection.
	Start           string  `json:"start,omitempty"`
	LogitScale      float64 `json:"logit_scale"` // at the start
	TrainLogitScale bool    `json:"train_logit_scale"`

	// ExtraShare is how often a caption is replaced by one of its extra texts: names or noun phrases.
	ExtraShare float64 `json:"extra_share"`
	// Views says that each image is drawn from all its cached views, not only the photo itself.
	Views bool `json:"views"`
	// Validation is the share of images that are kept out of training.
	Validation float64 `json:"validation"`
	Seed       uint64  `json:"seed"`
	Precision  string  `json:"precision"` // "bf16" or "f32"
}

// StartProjection is the start at a CLIP's own projection of its patches, which training then bends: TrainOptions.Projection.
const StartProjection = "projection"

// DefaultRecipe returns the recipe for patch tokens and sentence vectors of these widths.
func DefaultRecipe(tokenWidth, textWidth int) Recipe {
	return Recipe{
		Head: Config{
			TokenWidth: tokenWidth, TextWidth: textWidth, Hidden: 2 * tokenWidth, Width: min(textWidth, 256),
			Text: TextLinear, Pooling: PoolingPACL, TauPatch: 0.07,
		},
		Epochs: 10, Batch: 128, Rate: 1e-3, Warmup: 20, WeightDecay: 0.01, Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-6,
		LogitScale: 1 / 0.07, TrainLogitScale: true,
		ExtraShare: 0.7, Views: true, Validation: 0.1, Seed: 1, Precision: kernel.Default().String(),
	}
}

// Validate says what is wrong with the recipe, if anything.
func (r Recipe) Validate() error {
	if err := r.Head.Validate(); err != nil {
		return err
	}
	between := func(name string, value, least, most float64) error {
		if !(value >= least && value <= most) {
			return fmt.Errorf("recipe: %s is %g, expected %g to %g", name, value, least, most)
		}
		return nil
	}
	for _, check := range []error{
		between("epochs", float64(r.Epochs), 1, 1e6),
		between("batch", float64(r.Batch), 1, 1<<20),
		between("learning rate", r.Rate, 0, 10),
		between("floor of the learning rate", r.RateFloor, 0, r.Rate),
		between("warm-up", float64(r.Warmup), 0, 1e9),
		between("weight decay", r.WeightDecay, 0, 10),
		between("beta1", r.Beta1, 0, 0.999999),
		between("beta2", r.Beta2, 0, 0.999999),
		between("epsilon", r.Epsilon, 1e-12, 1),
		between("logit scale", r.LogitScale, 1e-3, math.Exp(MaxLogitScale)+1e-9),
		between("share of extra texts", r.ExtraShare, 0, 1),
		between("share of validation images", r.Validation, 0, 0.9),
	} {
		if check != nil {
			return check
		}
	}
	if r.Start != "" && r.Start != StartProjection {
		return fmt.Errorf("recipe: start is %q, expected nothing or %s", r.Start, StartProjection)
	}
	if _, err := r.precision(); err != nil {
		return err
	}
	return nil
}

func (r Recipe) precision() (kernel.Precision, error) {
	for _, p := range []kernel.Precision{kernel.Float32, kernel.BFloat16} {
		if r.Precision == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("recipe: precision is %q, expected f32 or bf16", r.Precision)
}

// hash names the recipe.
func (r Recipe) hash() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // a struct of numbers and strings
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
