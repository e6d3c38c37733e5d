package pretrain

import (
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/testdata"
	"github.com/pacl/pacl/weights"
)

// TestAutograd compares the loss and the gradient of every parameter with what PyTorch's autograd makes of the same model
// and batch: of a tiny random model, whose reference is committed, and of the golden set's CLIP directory where Debian's
// python3-torch is installed to make one.
func TestAutograd(t *testing.T) {
	t.Run("random", func(t *testing.T) {
		compareAutograd(t, filepath.Join("testdata", "gradients.safetensors"), "")
	})
	t.Run("tiny-clip-hf", func(t *testing.T) {
		const python = "/usr/bin/python3"
		dir := testdata.Golden(t, "models", "tiny-clip-hf")
		if err := exec.Command(python, "-c", "import torch").Run(); err != nil {
			t.Skipf("no PyTorch to compare with: %v", err)
		}
		reference := filepath.Join(t.TempDir(), "gradients.safetensors")
		script := filepath.Join("..", "scripts", "crosscheck", "clip_gradients.py")
		if output, err := exec.Command(python, script, reference, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		compareAutograd(t, reference, dir)
	})
}

// compareAutograd reads what the reference does not hold from the CLIP directory.
func compareAutograd(t *testing.T, path, dir string) {
	reference, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reference.Close()
	sets := []*weights.Set{reference}
	if dir != "" {
		model, err := weights.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer model.Close()
		sets = append(sets, model)
	}
	numbers := func(name string) []float32 {
		for _, set := range sets {
			if tensor, ok := set.Get(name); ok {
				return tensor.Float32()
			}
		}
		t.Fatalf("no tensor %s in the reference or the model", name)
		return nil
	}
	m := newDual(configOf(t, reference.Metadata()))
	p := make([]float32, m.layout.size)
	for _, parameter := range m.layout.parameters {
		var values []float32
		for _, name := range publishedNames(parameter.name) {
			values = append(values, numbers(name)...)
		}
		if copy(at(p, parameter.span), values) != len(values) || len(values) != parameter.span.to-parameter.span.from {
			t.Fatalf("%s holds %d numbers, expected %v", parameter.name, len(values), parameter.shape)
		}
	}
	var ids [][]int32
	for i := 0; ; i++ {
		tensor, ok := reference.Get(fmt.Sprintf("ids.%d", i))
		if !ok {
			break
		}
		var text []int32
		for _, v := range tensor.Float32() {
			text = append(text, int32(v))
		}
		ids = append(ids, text)
	}
	b := newBatch(m, func() engine[float32] { return &fast{} }) // float32 products
	s := b.run(p, numbers("pixels"), placement{m.config.Vision.ImageSize, 1, make([]corner, len(ids))}, ids)
	if want := float64(numbers("loss")[0]); math.Abs(s.Loss-want) > 1e-5*want {
		t.Errorf("loss %.8g, PyTorch has %.8g", s.Loss, want)
	}
	worst, worstName := 0.0, ""
	for _, parameter := range m.layout.parameters {
		var want []float32
		for _, name := range publishedNames(parameter.name) {
			want = append(want, numbers("grad."+name)...)
		}
		largest, apart := 0.0, 0.0
		for i, g := range at(b.gradient, parameter.span) {
			largest = math.Max(largest, math.Abs(float64(want[i])))
			apart = math.Max(apart, math.Abs(float64(g-want[i])))
		}
		// A key's bias moves all scores of a query alike, so that third of the bias has no gradient, only rounding.
		if apart > 1e-4*largest+1e-7 || largest == 0 {
			t.Errorf("%s: gradients are %.3g apart, the largest is %.3g", parameter.name, apart, largest)
		}
		if relative := apart / largest; relative > worst {
			worst, worstName = relative, parameter.name
		}
	}
	t.Logf("%d tensors; worst relative error %.2g in %s", len(m.layout.parameters), worst, worstName)
}

// configOf reads the sizes that the script wrote down.
func configOf(t *testing.T, metadata map[string]string) Config {
	var read struct {
		Projection int `json:"projection_dim"`
		Vision     struct {
			Width      int    `json:"hidden_size"`
			Heads      int    `json:"num_attention_heads"`
			Layers     int    `json:"num_hidden_layers"`
			ImageSize  int    `json:"image_size"`
			PatchSize  int    `json:"patch_size"`
			Activation string `json:"hidden_act"`
		} `json:"vision_config"`
		Text struct {
			Width      int `json:"hidden_size"`
			Heads      int `json:"num_attention_heads"`
			Layers     int `json:"num_hidden_layers"`
			Context    int `json:"max_position_embeddings"`
			Vocabulary int `json:"vocab_size"`
		} `json:"text_config"`
	}
	if err := json.Unmarshal([]byte(metadata["config"]), &read); err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.Vision = VisionConfig{ImageSize: read.Vision.ImageSize, PatchSize: read.Vision.PatchSize, Width: read.Vision.Width, Layers: read.Vision.Layers, Heads: read.Vision.Heads}
	c.Text = TextConfig{read.Text.Context, read.Text.Vocabulary, read.Text.Width, read.Text.Layers, read.Text.Heads}
	c.Projection, c.Activation, c.Objective, c.Micro = read.Projection, read.Vision.Activation, "clip+pacl", 2
	if _, err := fmt.Sscan(metadata["tau_patch"], &c.TauPatch); err != nil {
		t.Fatal(err)
	}
	return c
}

// publishedNames are the tensors of a CLIP directory that one of ours is made of.
func publishedNames(name string) []string {
	prefix, kind, fused := strings.Cut(name, ".self_attn.qkv.")
	if !fused {
		return []string{name}
	}
	var names []string
	for _, part := range []string{"q", "k", "v"} {
		names = append(names, fmt.Sprintf("%s.self_attn.%s_proj.%s", prefix, part, kind))
	}
	return names
}
