package encoder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
)

// transformerConfig is what a config.json says of one transformer, under the names of all families.
type transformerConfig struct {
	ModelType        string  `json:"model_type"`
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	MLPRatio         float64 `json:"mlp_ratio"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	Activation       string  `json:"hidden_act"`
	NormEps          float32 `json:"layer_norm_eps"`
	ImageSize        int     `json:"image_size"`
	PatchSize        int     `json:"patch_size"`
	ProjectionDim    int     `json:"projection_dim"`
	SwiGLU           bool    `json:"use_swiglu_ffn"`
	RopeTheta        float64 `json:"rope_theta"`
	EOS              *int32  `json:"eos_token_id"`
}

// modelConfig is a config.json.
type modelConfig struct {
	transformerConfig
	Text   *transformerConfig `json:"text_config"`
	Vision *transformerConfig `json:"vision_config"`
}

const largestConfig = 64 << 20

// readJSON reads a JSON file of a model directory; found is false where it does not exist.
func readJSON(path string, v any) (found bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Size() > largestConfig {
		return false, fmt.Errorf("%s: %d bytes, at most %d are read", path, info.Size(), int64(largestConfig))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return true, nil
}

// check refuses sizes that no model has, before anything is allocated by them.
func (c transformerConfig) check() error {
	for _, v := range []struct {
		name           string
		value, largest int
	}{
		{"hidden_size", c.HiddenSize, 1 << 15}, {"num_hidden_layers", c.Layers, 1024},
		{"num_attention_heads", c.Heads, 1024}, {"intermediate_size", c.IntermediateSize, 1 << 18},
	} {
		if v.value < 1 || v.value > v.largest {
			return fmt.Errorf("%s is %d, expected 1 to %d", v.name, v.value, v.largest)
		}
	}
	if c.HiddenSize%c.Heads != 0 {
		return fmt.Errorf("hidden_size %d is no multiple of num_attention_heads %d", c.HiddenSize, c.Heads)
	}
	return nil
}

func activation(name string) (kernel.Activation, error) {
	switch name {
	case "gelu", "":
		return kernel.GELU, nil
	case "gelu_pytorch_tanh", "gelu_new":
		return kernel.GELUTanh, nil
	case "quick_gelu":
		return kernel.QuickGELU, nil
	case "relu":
		return kernel.ReLU, nil
	case "silu", "swish":
		return kernel.SiLU, nil
	}
	return 0, fmt.Errorf("activation %q, expected gelu, gelu_pytorch_tanh, quick_gelu, relu or silu", name)
}

// preprocessing is how images become pixels.
type preprocessing struct {
	mean, std [3]float32
	filter    imaging.Filter
	size      int // short side or both, 0 if the directory does not say
}

var (
	clipMean     = [3]float32{0.48145466, 0.4578275, 0.40821073}
	clipStd      = [3]float32{0.26862954, 0.26130258, 0.27577711}
	imageNetMean = [3]float32{0.485, 0.456, 0.406}
	imageNetStd  = [3]float32{0.229, 0.224, 0.225}
	half         = [3]float32{0.5, 0.5, 0.5}
)

// readPreprocessor overrides the family's habits with what preprocessor_config.json says.
func (p *preprocessing) readPreprocessor(dir string) error {
	path := filepath.Join(dir, "preprocessor_config.json")
	var file struct {
		Mean     []float32       `json:"image_mean"`
		Std      []float32       `json:"image_std"`
		Resample *int            `json:"resample"`
		Size     json.RawMessage `json:"size"`
	}
	found, err := readJSON(path, &file)
	if err != nil || !found {
		return err
	}
	return p.set(path, file.Mean, file.Std, file.Resample)
}

func (p *preprocessing) set(path string, mean, std []float32, resample *int) error {
	if mean != nil && std != nil {
		if len(mean) != 3 || len(std) != 3 {
			return fmt.Errorf("%s: %d means and %d deviations, expected 3 of each", path, len(mean), len(std))
		}
		for c := range 3 {
			if !(std[c] > 0) {
				return fmt.Errorf("%s: standard deviation %v, expected a positive number", path, std[c])
			}
		}
		copy(p.mean[:], mean)
		copy(p.std[:], std)
	}
	if resample != nil { // Pillow's numbers
		switch *resample {
		case 2:
			p.filter = imaging.Bilinear
		case 3:
			p.filter = imaging.Bicubic
		default:
			return fmt.Errorf("%s: resample %d, expected 2 (bilinear) or 3 (bicubic)", path, *resample)
		}
	}
	return nil
}
