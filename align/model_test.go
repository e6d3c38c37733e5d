package align

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/weights"
)

func sampleModel(t *testing.T) *Model {
	t.Helper()
	c := Config{TokenWidth: 12, TextWidth: 10, Hidden: 7, Width: 8, Text: TextLinear, Pooling: PoolingPACL, TauPatch: 0.07}
	head, err := NewHead(c, 3, 1/0.07)
	if err != nil {
		t.Fatal(err)
	}
	r := DefaultRecipe(12, 10)
	r.Head = c
	return &Model{
		Description: Description{
			Vision:    EncoderReference{Family: "vit", Name: "vit-tiny-16", Hash: "abc", Width: 12, HubIDs: []string{"a/b"}},
			Text:      EncoderReference{Family: "names", Name: "table", Hash: "def", Width: 10, Template: "a {}"},
			Data:      Data{Name: "captions", Hash: "123", Images: 30, Training: 27, Validation: 3, Licences: []string{"Pictures: CC BY 4.0"}},
			InputSize: 224, Stride: 16, Recipe: r, Scores: map[string]float64{"validation bound": 1.5},
		},
		Head: head, NamesMean: []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
	}
}

func TestModelSurvivesItsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	m := sampleModel(t)
	if err := m.Save(dir, ""); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	sameBits(t, "loaded", loaded.Head.Parameters, m.Head.Parameters)
	if !equalBits(loaded.NamesMean, m.NamesMean) || loaded.Head.Config != m.Head.Config || loaded.Description.Recipe != m.Description.Recipe ||
		loaded.Description.Text.Template != "a {}" || loaded.Description.Scores["validation bound"] != 1.5 {
		t.Errorf("loaded %+v", loaded.Description)
	}
	card, err := os.ReadFile(filepath.Join(dir, CardName))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"vit-tiny-16", "`abc`", "`def`", "`123`", "CC BY 4.0", "| seed | 1 |", "1.5000", "tau_patch"} {
		if !strings.Contains(string(card), word) {
			t.Errorf("the card does not say %q", word)
		}
	}
	first, err := os.ReadFile(filepath.Join(dir, HeadName))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Save(dir, ""); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(filepath.Join(dir, HeadName)); err != nil || string(second) != string(first) {
		t.Errorf("saved twice, the head differs: %v", err)
	}
}

func TestLoadModelRefusesDamage(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(dir string) error
		words  string
	}{
		"no description": {func(dir string) error { return os.Remove(filepath.Join(dir, DescriptionName)) }, DescriptionName},
		"no head":        {func(dir string) error { return os.Remove(filepath.Join(dir, HeadName)) }, HeadName},
		"half a head":    {func(dir string) error { return os.Truncate(filepath.Join(dir, HeadName), 700) }, HeadName},
		"not JSON": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, DescriptionName), []byte("head"), 0o644)
		}, "not a model's description"},
		"another version":  {replace(`"version": 1`, `"version": 9`), "version is 9"},
		"a negative width": {replace(`"hidden": 7`, `"hidden": -7`), "hidden width is -7"},
		"a huge width":     {replace(`"hidden": 7`, `"hidden": 65000`), "numbers"},
		"a wrong width":    {replace(`"hidden": 7`, `"hidden": 6`), "fc1.weight"},
		"a tau of zero":    {replace(`"tau_patch": 0.07`, `"tau_patch": 0`), "tau_patch is 0"},
		"an unknown pool":  {replace(`"pooling": "pacl"`, `"pooling": "max"`), `pooling is "max"`},
		"half the tensors": {func(dir string) error {
			return weights.Write(filepath.Join(dir, HeadName), []weights.Tensor{weights.NewFloat32("fc1.weight", make([]float32, 84), 7, 12)}, nil)
		}, "fc2.weight"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := sampleModel(t).Save(dir, ""); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadModel(dir); err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, expected one line with %q", err, c.words)
			}
		})
	}
}

// replace changes every occurrence of a text in the description.
func replace(old, new string) func(string) error {
	return func(dir string) error {
		path := filepath.Join(dir, DescriptionName)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, new)), 0o644)
	}
}

func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"version":1,"head":{"token_width":1,"text_width":1,"hidden":1,"width":1,"text_embedder":"none","pooling":"pacl","tau_patch":1},"input_size":16,"stride":16}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := parseDescription(text); err == nil {
			d.Card()
			if ParameterCount(d.Head) < 1 {
				t.Errorf("a head of %d parameters was accepted", ParameterCount(d.Head))
			}
		}
	})
}

// The head at work must say what the objective was trained to say.
func TestHeadAgreesWithExact(t *testing.T) {
	for name, p := range problems() {
		if name == "several chunks" {
			continue // the other cases show as much in less time
		}
		t.Run(name, func(t *testing.T) {
			expected := p.exact()
			h := &Head{Config: p.config, Parameters: p.parameters}
			texts, err := h.Texts(p.sentences)
			if err != nil {
				t.Fatal(err)
			}
			batch := p.batch()
			for i := range min(p.images, 3) {
				for _, precision := range []kernel.Precision{kernel.Float32, kernel.BFloat16} {
					limit := 2e-5
					if precision == kernel.BFloat16 {
						limit = 2e-2
					}
					u, err := h.Patches(batch.Tokens(i), precision)
					if err != nil {
						t.Fatal(err)
					}
					attention := h.Attention(u, texts)
					for j, phi := range h.Compatibility(u, texts) {
						if e := expected.Phi[i*p.images+j]; math.Abs(float64(phi)-e) > limit {
							t.Fatalf("%v: phi of image %d and text %d is %g, expected %g", precision, i, j, phi, e)
						}
						for k, a := range attention.Row(j) {
							if e := expected.Attention[(i*p.images+j)*p.patches+k]; math.Abs(float64(a)-e) > 5*limit {
								t.Fatalf("%v: attention of image %d, text %d, patch %d is %g, expected %g", precision, i, j, k, a, e)
							}
						}
					}
				}
			}
		})
	}
}

func TestHeadRefusesOtherWidths(t *testing.T) {
	m := sampleModel(t)
	if _, err := m.Head.Patches(kernel.NewMat(kernel.Float32, 4, 13), kernel.Float32); err == nil {
		t.Error("tokens of width 13 were taken")
	}
	if _, err := m.Head.Texts(make([]float32, 11)); err == nil {
		t.Error("a sentence vector of width 11 was taken")
	}
}

// The optimiser that trains is the engine's; its slow twin is checked against foreign numbers.
func TestEngineOptimiserEqualsSlowTwin(t *testing.T) {
	p := newProblem(Config{TokenWidth: 9, TextWidth: 8, Hidden: 7, Width: 8, Text: TextNone, Pooling: PoolingPACL, TauPatch: 0.1}, 1, 1, 5)
	x := p.parameters.FC1.Weight
	exact := widen(x)
	m, v := make([]float32, len(x)), make([]float32, len(x))
	m64, v64 := make([]float64, len(x)), make([]float64, len(x))
	slow := AdamW{Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-6}
	for step := 1; step <= 30; step++ {
		gradient := make([]float32, len(x))
		for i := range gradient {
			gradient[i] = float32(math.Sin(float64(step*(i+1)))) * 1e-3
		}
		rate := 0.01 / float64(step)
		kernel.AdamW{Rate: rate, Beta1: slow.Beta1, Beta2: slow.Beta2, Eps: slow.Epsilon, Decay: 0.1, Step: step}.Update(x, m, v, gradient)
		slow.Update(step, rate, 0.1, exact, widen(gradient), m64, v64)
	}
	near(t, "parameters", widen(x), exact, 1e-5, 0)
}
