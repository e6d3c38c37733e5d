package pretrain

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/weights"
)

// Save writes the model as a Hugging Face-style CLIP directory, its tensors in bfloat16 or, with precision f32, float32:
// config.json, model.safetensors, the tokenizer's files and preprocessor_config.json. With a locked vision encoder it
// holds the text encoder alone.
func (t *Trainer) Save(dir, precision string) error {
	if err := t.save(dir, precision); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	return nil
}

func (t *Trainer) save(dir, precision string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := t.vocabulary.Write(dir, t.config.Text.Context); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, "config.json"), huggingFaceConfig(t.config, int(t.tokenizer.Start()), int(t.tokenizer.End()), precision)); err != nil {
		return err
	}
	if t.config.locked() {
		return t.saveTensors(dir, precision)
	}
	size := t.config.Vision.ImageSize
	if err := writeJSON(filepath.Join(dir, "preprocessor_config.json"), map[string]any{
		"image_processor_type": "CLIPImageProcessor", "do_resize": true, "size": map[string]int{"shortest_edge": size}, "resample": 3,
		"do_center_crop": true, "crop_size": map[string]int{"height": size, "width": size}, "do_rescale": true, "rescale_factor": 1.0 / 255,
		"do_normalize": true, "do_convert_rgb": true,
		"image_mean": []float64{pixelMean, pixelMean, pixelMean}, "image_std": []float64{pixelStd, pixelStd, pixelStd},
	}); err != nil {
		return err
	}
	return t.saveTensors(dir, precision)
}

func (t *Trainer) saveTensors(dir, precision string) error {
	tensor := weights.NewBF16
	if precision == "f32" {
		tensor = weights.NewFloat32
	}
	return weights.Write(filepath.Join(dir, "model.safetensors"), directoryTensors(t.m, t.p, tensor), map[string]string{"format": "pt", "recipe": t.Recipe()})
}

// directoryTensors are the parameters of a CLIP directory under their published names.
func directoryTensors(m *dual, p []float32, tensor func(name string, data []float32, shape ...int) weights.Tensor) []weights.Tensor {
	var tensors []weights.Tensor
	for _, parameter := range m.layout.parameters {
		name, values := parameter.name, at(p, parameter.span)
		prefix, kind, fused := strings.Cut(name, ".self_attn.qkv.")
		switch {
		case strings.HasPrefix(name, "patch_"): // of the pairwise objective
		case fused:
			shape := append([]int{parameter.shape[0] / 3}, parameter.shape[1:]...)
			third := len(values) / 3
			for i, part := range []string{"q", "k", "v"} {
				tensors = append(tensors, tensor(fmt.Sprintf("%s.self_attn.%s_proj.%s", prefix, part, kind), values[i*third:(i+1)*third], shape...))
			}
		default:
			tensors = append(tensors, tensor(name, values, parameter.shape...))
		}
	}
	return tensors
}

func huggingFaceConfig(c Config, start, end int, precision string) map[string]any {
	dtype := "bfloat16"
	if precision == "f32" {
		dtype = "float32"
	}
	tower := func(kind string, width, layers, heads int) map[string]any {
		return map[string]any{"model_type": kind, "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
			"num_attention_heads": heads, "hidden_act": c.Activation, "layer_norm_eps": normEps, "projection_dim": c.Projection, "attention_dropout": 0.0}
	}
	vision := tower("clip_vision_model", c.Vision.Width, c.Vision.Layers, c.Vision.Heads)
	vision["image_size"], vision["patch_size"], vision["num_channels"] = c.Vision.ImageSize, c.Vision.PatchSize, 3
	if c.Vision.RopeTheta > 0 {
		vision["rope_theta"] = c.Vision.RopeTheta
	}
	text := tower("clip_text_model", c.Text.Width, c.Text.Layers, c.Text.Heads)
	text["max_position_embeddings"], text["vocab_size"] = c.Text.Context, c.Text.Vocabulary
	text["bos_token_id"], text["eos_token_id"], text["pad_token_id"] = start, end, end
	return map[string]any{"architectures": []string{"CLIPModel"}, "model_type": "clip", "projection_dim": c.Projection, "logit_scale_init_value": startScale,
		"torch_dtype": dtype, "vision_config": vision, "text_config": text}
}

func writeJSON(path string, value any) error {
	return atomicfile.WriteSynced(path, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	})
}
