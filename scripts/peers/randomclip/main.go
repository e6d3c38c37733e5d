// Command randomclip writes the directory of a CLIP ViT-B/16 with random weights in F16, as Hugging Face publishes it, to
// time whole processes on files of a real size. The tokenizer is copied from another CLIP's directory.
//
//	go run ./scripts/peers/randomclip ../shared/golden/models/tiny-clip-hf /tmp/clip-b16
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"

	"github.com/pacl/pacl/weights"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: randomclip TOKENIZER-DIRECTORY OUT")
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func write(tokenizer, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"vocab.json", "merges.txt", "tokenizer.json", "preprocessor_config.json"} {
		data, err := os.ReadFile(filepath.Join(tokenizer, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, name), data, 0o644); err != nil {
			return err
		}
	}
	type tower map[string]any
	text := tower{"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "num_hidden_layers": 12,
		"max_position_embeddings": 77, "vocab_size": 49408, "hidden_act": "quick_gelu", "projection_dim": 512, "eos_token_id": 49407}
	vision := tower{"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
		"image_size": 224, "patch_size": 16, "hidden_act": "quick_gelu", "projection_dim": 512}
	config, err := json.MarshalIndent(map[string]any{"model_type": "clip", "projection_dim": 512, "text_config": text, "vision_config": vision}, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "config.json"), config, 0o644); err != nil {
		return err
	}
	return weights.Write(filepath.Join(out, "model.safetensors"), tensors(), nil)
}

func tensors() []weights.Tensor {
	var list []weights.Tensor
	state := uint64(1)
	add := func(name string, around, deviation float64, shape ...int) {
		t := weights.Tensor{Name: name, DType: weights.F16, Shape: shape}
		t.Data = make([]byte, 0, 2*t.Len())
		for range t.Len() {
			state ^= state << 13
			state ^= state >> 7
			state ^= state << 17
			h := half(around + deviation*math.Sqrt(12)*(float64(state>>11)/(1<<53)-0.5))
			t.Data = append(t.Data, byte(h), byte(h>>8))
		}
		list = append(list, t)
	}
	linear := func(name string, out, in int) {
		add(name+".weight", 0, 1/math.Sqrt(float64(in)), out, in)
		add(name+".bias", 0, 0.01, out)
	}
	norm := func(name string, width int) {
		add(name+".weight", 1, 0.01, width)
		add(name+".bias", 0, 0.01, width)
	}
	blocks := func(prefix string, width int) {
		for i := range 12 {
			at := fmt.Sprintf("%s.encoder.layers.%d.", prefix, i)
			norm(at+"layer_norm1", width)
			norm(at+"layer_norm2", width)
			for _, name := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
				linear(at+"self_attn."+name, width, width)
			}
			linear(at+"mlp.fc1", 4*width, width)
			linear(at+"mlp.fc2", width, 4*width)
		}
	}
	add("logit_scale", math.Log(100), 0)
	const v = "vision_model."
	add(v+"embeddings.class_embedding", 0, 0.1, 768)
	add(v+"embeddings.patch_embedding.weight", 0, 1/math.Sqrt(768), 768, 3, 16, 16)
	add(v+"embeddings.position_embedding.weight", 0, 0.1, 197, 768)
	norm(v+"pre_layrnorm", 768)
	norm(v+"post_layernorm", 768)
	blocks("vision_model", 768)
	add("visual_projection.weight", 0, 1/math.Sqrt(768), 512, 768)
	const t = "text_model."
	add(t+"embeddings.token_embedding.weight", 0, 0.1, 49408, 512)
	add(t+"embeddings.position_embedding.weight", 0, 0.1, 77, 512)
	norm(t+"final_layer_norm", 512)
	blocks("text_model", 512)
	add("text_projection.weight", 0, 1/math.Sqrt(512), 512, 512)
	return list
}

// half rounds a normal number of moderate size to IEEE half precision, towards zero.
func half(x float64) uint16 {
	if math.Abs(x) < 1.0/(1<<14) {
		return 0
	}
	bits := math.Float32bits(float32(x))
	return uint16(bits>>16&0x8000 | (bits>>23&0xff-112)<<10 | bits>>13&0x3ff)
}
