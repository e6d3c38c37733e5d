package encoder

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/internal/testdata"
)

// Patch tokens, image embeddings, texts and logits agree with a PyTorch implementation (scripts/crosscheck/siglip.py), for
// SigLIP's models of a fixed size and SigLIP 2's of any.
func TestSigLIPAgainstPyTorch(t *testing.T) {
	for _, name := range []string{"siglip", "siglip2"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("testdata", name)
			tensors := testdata.Tensors(t, dir+".expected.safetensors")
			v, err := OpenVision(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var images []float32
			for key, input := range tensors {
				prefix, ok := strings.CutSuffix(key, "pixels")
				if !ok {
					continue
				}
				batch, height, width := input.Shape[0], input.Shape[2], input.Shape[3]
				out, err := v.Encode(context.Background(), input.Float32(), batch, height, width, EncodeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				compareVectors(t, prefix+"patch_tokens", out.Patches, tensors[prefix+"patch_tokens"].Data, v.Info().Width, 2e-4)
				vectors, err := v.ImageVectors(out)
				if err != nil {
					t.Fatal(err)
				}
				compareVectors(t, prefix+"image_embeddings", vectors, tensors[prefix+"image_embeddings"].Data, v.Info().ImageDim, 2e-4)
				if len(vectors) == tensors["logits"].Shape[0]*v.Info().ImageDim && height > width {
					images = vectors
				}
			}
			text, err := OpenText(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			testdata.JSON(t, dir+".texts.json", &texts)
			want, ids := tensors["text.embeddings"], tensors["text.ids"]
			for i, line := range texts {
				got := text.(*textTransformer).frame(text.(*textTransformer).encode(line))
				for k, id := range got {
					if float64(id) != ids.Data[i*ids.Shape[1]+k] {
						t.Fatalf("%q has the ids %v, expected %v", line, got, ids.Data[i*ids.Shape[1]:(i+1)*ids.Shape[1]])
					}
				}
			}
			vectors, err := text.Embed(context.Background(), texts)
			if err != nil {
				t.Fatal(err)
			}
			compareVectors(t, "texts", vectors, want.Data, text.Width(), 2e-4)

			n, width := len(images)/text.Width(), text.Width()
			info := v.Info()
			for i := range n {
				for j := range texts {
					a, b := images[i*width:(i+1)*width], vectors[j*width:(j+1)*width]
					cosine := float64(kernel.Dot(a, b)) / math.Sqrt(float64(kernel.Dot(a, a))*float64(kernel.Dot(b, b)))
					logit := float64(info.LogitScale)*cosine + float64(info.LogitBias)
					if want := tensors["logits"].Data[i*len(texts)+j]; math.Abs(logit-want) > 1e-3 {
						t.Errorf("logit of image %d and text %d is %v, expected %v", i, j, logit, want)
					}
				}
			}
			if n == 0 {
				t.Error("no logits were compared")
			}
		})
	}
}

// The families that are read are named where a directory holds another one, and encoders that a directory lacks are told of.
func TestUnknownFamilies(t *testing.T) {
	weights, err := os.ReadFile("testdata/siglip/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]string{
		`{"model_type": "swin"}`:  `model type "swin" is not known, expected one of CLIP`,
		`{"model_type": "llama"}`: "SigLIP 2, ViT (Hugging Face, timm), DINOv2, DINOv3, EUPE, BERT",
		`{}`:                      "neither a config.json nor tensors of a known model",
	} {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"model.safetensors": weights, "config.json": []byte(config)} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		_, visionErr := OpenVision(dir, Options{})
		_, textErr := OpenText(dir, Options{})
		for _, err := range []error{visionErr, textErr} {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v, expected one line with %q", config, err, want)
			}
		}
	}
}

// Positions resized with anti-aliasing sum to what they were where all are the same.
func TestTriangleTaps(t *testing.T) {
	for _, sizes := range [][2]int{{4, 4}, {4, 7}, {7, 4}, {16, 3}, {1, 5}, {5, 1}} {
		for i, tap := range triangleTaps(sizes[0], sizes[1]) {
			sum := 0.0
			for k, at := range tap.at {
				if at < 0 || at >= sizes[0] {
					t.Errorf("%v: place %d", sizes, at)
				}
				sum += tap.weight[k]
			}
			if math.Abs(sum-1) > 1e-12 {
				t.Errorf("%v: weights of %d sum to %v", sizes, i, sum)
			}
		}
	}
}
