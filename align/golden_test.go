package align

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/internal/testdata"
	"github.com/pacl/pacl/weights"
)

// goldenCase is one case of golden/pacl: foreign numbers for one head and batch.
type goldenCase struct {
	name              string
	config            Config
	parameters        *Parameters[float64]
	gradient          *Parameters[float64]
	tokens, sentences []float64
	batch             int
	set               *weights.Set
}

func goldenCases(t *testing.T) []goldenCase {
	t.Helper()
	path := testdata.Golden(t, "pacl", "cases.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct {
		File         string
		TauPatch     float64 `json:"tau_patch"`
		Pooling      Pooling
		TextEmbedder TextEmbedder `json:"text_embedder"`
	}
	if err := json.Unmarshal(text, &entries); err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Fatalf("%s lists no cases", path)
	}
	var cases []goldenCase
	for _, e := range entries {
		set, err := weights.Open(filepath.Join(filepath.Dir(path), e.File))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { set.Close() })
		need := func(name string) weights.Tensor {
			tensor, ok := set.Get(name)
			if !ok {
				t.Fatalf("%s: no tensor %s", e.File, name)
			}
			return tensor
		}
		tokens, sentences := need("patch_tokens"), need("sentence_vectors")
		c := Config{
			TokenWidth: tokens.Shape[2], TextWidth: sentences.Shape[1],
			Hidden: need("param.fc1.weight").Shape[0], Width: need("param.fc2.weight").Shape[0],
			Text: e.TextEmbedder, Pooling: e.Pooling, TauPatch: e.TauPatch,
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		g := goldenCase{
			name: e.File, config: c, parameters: NewParameters[float64](c), gradient: NewParameters[float64](c),
			tokens: tokens.Float64(), sentences: sentences.Float64(), batch: tokens.Shape[0], set: set,
		}
		for _, tensor := range g.parameters.Tensors() {
			copy(tensor.Data, need("param."+tensor.Name).Float64())
		}
		for _, tensor := range g.gradient.Tensors() {
			copy(tensor.Data, need("grad."+tensor.Name).Float64())
		}
		cases = append(cases, g)
	}
	return cases
}

func (g goldenCase) values(t *testing.T, name string) []float64 {
	t.Helper()
	tensor, ok := g.set.Get(name)
	if !ok {
		t.Fatalf("%s: no tensor %s", g.name, name)
	}
	return tensor.Float64()
}

// near fails where the largest difference is above the tolerance relative to the largest entry, or the absolute floor.
func near(t *testing.T, what string, found, expected []float64, relative, floor float64) {
	t.Helper()
	if len(found) != len(expected) {
		t.Errorf("%s: %d numbers, expected %d", what, len(found), len(expected))
		return
	}
	largest, worst := 0.0, 0.0
	for i, e := range expected {
		largest = math.Max(largest, math.Abs(e))
		difference := math.Abs(found[i] - e)
		if math.IsNaN(difference) {
			difference = math.Inf(1)
		}
		worst = math.Max(worst, difference)
	}
	if worst > math.Max(relative*largest, floor) {
		t.Errorf("%s: differs by %.3g, largest entry %.3g", what, worst, largest)
	}
}

func TestExactEqualsGolden(t *testing.T) {
	for _, g := range goldenCases(t) {
		t.Run(g.name, func(t *testing.T) {
			r := Exact(g.config, g.parameters, g.tokens, g.sentences)
			near(t, "loss", []float64{r.Loss}, g.values(t, "loss"), 1e-9, 1e-12)
			near(t, "phi", r.Phi, g.values(t, "phi"), 1e-9, 1e-12)
			near(t, "similarity", r.Similarity, g.values(t, "similarity"), 1e-9, 1e-12)
			near(t, "attention", r.Attention, g.values(t, "attention"), 1e-9, 1e-12)
			expected := g.gradient.Tensors()
			for i, tensor := range r.Gradient.Tensors() {
				near(t, "gradient of "+tensor.Name, tensor.Data, expected[i].Data, 1e-9, 1e-12)
			}
		})
	}
}

func TestAdamWAndScheduleEqualGolden(t *testing.T) {
	set, err := weights.Open(testdata.Golden(t, "optim", "adamw.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	constant := func(name string) float64 {
		value, err := strconv.ParseFloat(set.Metadata()[name], 64)
		if err != nil {
			t.Fatalf("constant %s: %v", name, err)
		}
		return value
	}
	values := func(name string) []float64 {
		tensor, ok := set.Get(name)
		if !ok {
			t.Fatalf("no tensor %s", name)
		}
		return tensor.Float64()
	}
	optimiser := AdamW{Beta1: constant("beta1"), Beta2: constant("beta2"), Epsilon: constant("eps")}
	steps := int(constant("steps"))
	schedule := Schedule{Peak: constant("lr"), Floor: constant("lr_floor"), Warmup: int(constant("warmup")), Steps: steps}
	rates := values("lr")
	for _, name := range []string{"w", "b"} {
		p := values(name + ".0")
		m, v := make([]float64, len(p)), make([]float64, len(p))
		for step := range steps {
			rate := schedule.Rate(step)
			near(t, fmt.Sprintf("rate of step %d", step), []float64{rate}, rates[step:step+1], 1e-12, 0)
			optimiser.Update(step+1, rate, constant("weight_decay."+name), p, values(fmt.Sprintf("grad.%s.%d", name, step)), m, v)
			near(t, fmt.Sprintf("%s after step %d", name, step), p, values(fmt.Sprintf("%s.%d", name, step+1)), 1e-12, 0)
		}
	}
}

func TestObjectiveEqualsGolden(t *testing.T) {
	for _, g := range goldenCases(t) {
		t.Run(g.name, func(t *testing.T) {
			p := problem{
				config: g.config, parameters: Convert[float32](g.config, g.parameters),
				tokens: narrow(g.tokens), sentences: narrow(g.sentences),
				images: g.batch, patches: len(g.tokens) / g.batch / g.config.TokenWidth,
			}
			o, r, gradient := p.step(t, kernel.Float32, 0)
			near(t, "loss", []float64{r.Loss}, g.values(t, "loss"), 1e-4, 1e-6)
			phi := make([]float64, g.batch*g.batch)
			for i := range phi {
				phi[i] = float64(o.pairs.phi[i/g.batch*o.pairs.m+o.pairs.texts.of[i%g.batch]])
			}
			near(t, "phi", phi, g.values(t, "phi"), 1e-4, 1e-6)
			expected := g.gradient.Tensors()
			for i, tensor := range gradient.Tensors() {
				near(t, "gradient of "+tensor.Name, widen(tensor.Data), expected[i].Data, 1e-4, 1e-6)
			}
		})
	}
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}
