package encoder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/testdata"
	"github.com/pacl/pacl/weights"
)

// Checkpoints as DINOv2 and timm publish them agree with a PyTorch implementation (scripts/crosscheck/vit.py).
func TestPublishedCheckpoints(t *testing.T) {
	for name, family := range map[string]string{"dinov2-swiglu": "dinov2", "timm-vit": "vit"} {
		t.Run(name, func(t *testing.T) {
			comparePublished(t, filepath.Join("testdata", name+".pth"), family, name)
		})
	}
}

func comparePublished(t *testing.T, path, family, name string) {
	t.Helper()
	v, err := OpenVision(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if v.Info().Family != family {
		t.Errorf("family %s, expected %s", v.Info().Family, family)
	}
	tensors := testdata.Tensors(t, filepath.Join("testdata", name+".expected.safetensors"))
	for key, input := range tensors {
		prefix, ok := strings.CutSuffix(key, "pixels")
		if !ok {
			continue
		}
		out, err := v.Encode(t.Context(), input.Float32(), input.Shape[0], input.Shape[2], input.Shape[3], EncodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		compareVectors(t, "patch tokens", out.Patches, tensors[prefix+"patch_tokens"].Data, out.Width, 2e-4)
		compareVectors(t, "class token", out.Class, tensors[prefix+"cls_token"].Data, out.Width, 2e-4)
		return
	}
	t.Error("nothing was compared")
}

// The same DINOv2 under Hugging Face's names and configuration, which does not say how wide the SwiGLU is.
func TestSwiGLUOfHuggingFace(t *testing.T) {
	published, err := weights.Open("testdata/dinov2-swiglu.pth")
	if err != nil {
		t.Fatal(err)
	}
	defer published.Close()
	rename := strings.NewReplacer(
		"cls_token", "embeddings.cls_token", "pos_embed", "embeddings.position_embeddings", "register_tokens", "embeddings.register_tokens",
		"mask_token", "embeddings.mask_token", "patch_embed.proj", "embeddings.patch_embeddings.projection", "blocks.", "encoder.layer.",
		"attn.proj", "attention.output.dense", "ls1.gamma", "layer_scale1.lambda1", "ls2.gamma", "layer_scale2.lambda1",
		"mlp.w12", "mlp.weights_in", "mlp.w3", "mlp.weights_out",
	)
	var tensors []weights.Tensor
	for _, name := range published.Names() {
		tensor, _ := published.Get(name)
		before, kind, fused := strings.Cut(name, "attn.qkv")
		if !fused {
			tensor.Name = rename.Replace(name)
			if strings.HasPrefix(name, "norm.") {
				tensor.Name = "layernorm" + strings.TrimPrefix(name, "norm")
			}
			tensors = append(tensors, tensor)
			continue
		}
		third := len(tensor.Data) / 3
		for i, part := range []string{"query", "key", "value"} {
			shape := append([]int{tensor.Shape[0] / 3}, tensor.Shape[1:]...)
			tensors = append(tensors, weights.Tensor{
				Name: rename.Replace(before) + "attention.attention." + part + kind, DType: tensor.DType, Shape: shape,
				Data: tensor.Data[i*third : (i+1)*third],
			})
		}
	}
	dir := t.TempDir()
	if err := weights.Write(filepath.Join(dir, "model.safetensors"), tensors, nil); err != nil {
		t.Fatal(err)
	}
	// 64 * 0.9375 * 2/3 = 40, a multiple of 8 already.
	config := `{"model_type": "dinov2_with_registers", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "mlp_ratio": 0.9375,
		"use_swiglu_ffn": true, "hidden_act": "gelu", "layer_norm_eps": 1e-6, "image_size": 12, "patch_size": 4, "num_register_tokens": 4}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	comparePublished(t, dir, "dinov2", "dinov2-swiglu")
}

// FuzzConfig reads damaged configurations beside whole weights: whatever is accepted encodes without a panic.
func FuzzConfig(f *testing.F) {
	whole, err := os.ReadFile("testdata/siglip/model.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	config, err := os.ReadFile("testdata/siglip/config.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(config)
	f.Add([]byte(`{"model_type": "clip", "vision_config": {"hidden_size": 24}}`))
	f.Add([]byte(`{"model_type": "siglip2", "vision_config": {"num_attention_heads": -1, "patch_size": 1e9}}`))
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), whole, 0o666); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
			t.Fatal(err)
		}
		v, err := OpenVision(dir, Options{})
		if err == nil {
			side := v.Info().PatchSize
			if _, err := v.Encode(t.Context(), make([]float32, 3*side*side), 1, side, side, EncodeOptions{}); err != nil && !strings.Contains(err.Error(), "no number") {
				t.Error(err)
			}
		}
		if text, err := OpenText(dir, Options{}); err == nil {
			if _, err := text.(*textTransformer).EmbedIDs(t.Context(), [][]int32{{1, 2}}); err != nil && !strings.Contains(err.Error(), "no number") {
				t.Error(err)
			}
		}
	})
}
