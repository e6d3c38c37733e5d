package align

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"github.com/pacl/pacl/internal/kernel"
)

// problem is a batch with a head, in float32 numbers that both twins see alike.
type problem struct {
	config            Config
	parameters        *Parameters[float32]
	tokens, sentences []float32
	images, patches   int
}

func newProblem(c Config, images, patches int, seed uint64) problem {
	rng := rand.New(rand.NewPCG(seed, 3))
	p := problem{config: c, parameters: NewParameters[float32](c), images: images, patches: patches}
	p.parameters.initialise(seed, 1/0.07)
	for _, t := range p.parameters.Tensors() {
		if t.Name != "logit_scale" {
			for k := range t.Data {
				t.Data[k] += float32(rng.NormFloat64()) * 0.02
			}
		}
	}
	p.tokens = make([]float32, images*patches*c.TokenWidth)
	for i := range p.tokens {
		p.tokens[i] = kernel.BF16ToFloat32(kernel.Float32ToBF16(float32(rng.NormFloat64())))
	}
	p.sentences = make([]float32, images*c.TextWidth)
	for i := range p.sentences {
		p.sentences[i] = float32(rng.NormFloat64())
	}
	// A third of the images share their text with another.
	for i := range images / 3 {
		copy(p.sentences[i*c.TextWidth:(i+1)*c.TextWidth], p.sentences[(images-1-i)*c.TextWidth:])
	}
	return p
}

func (p problem) batch() Batch {
	b := Batch{Images: p.images, Patches: p.patches}
	size := p.patches * p.config.TokenWidth
	b.Tokens = func(i int) kernel.Mat {
		return kernel.FromFloat32(p.tokens[i*size:(i+1)*size], p.patches, p.config.TokenWidth)
	}
	for i := range p.images {
		b.Texts = append(b.Texts, p.sentences[i*p.config.TextWidth:(i+1)*p.config.TextWidth])
	}
	return b
}

func (p problem) exact() ExactResult {
	return Exact(p.config, Convert[float64](p.config, p.parameters), widen(p.tokens), widen(p.sentences))
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func (p problem) step(t testing.TB, precision kernel.Precision, memory int64) (*Objective, Result, *Parameters[float32]) {
	t.Helper()
	o, err := NewObjective(p.config, precision, memory)
	if err != nil {
		t.Fatal(err)
	}
	gradient := NewParameters[float32](p.config)
	r, err := o.Step(context.Background(), p.parameters, p.batch(), gradient)
	if err != nil {
		t.Fatal(err)
	}
	return o, r, gradient
}

// relativeError is |found - expected| / |expected| over all trained parameters.
func relativeError(c Config, found *Parameters[float32], expected *Parameters[float64]) float64 {
	difference, norm := 0.0, 0.0
	other := expected.Tensors()
	for i, t := range found.Tensors() {
		if c.Text == TextFrozen && (t.Name == "text.weight" || t.Name == "text.bias") {
			continue
		}
		for k, v := range t.Data {
			e := other[i].Data[k]
			difference += (float64(v) - e) * (float64(v) - e)
			norm += e * e
		}
	}
	return math.Sqrt(difference / norm)
}

func problems() map[string]problem {
	narrow := Config{TokenWidth: 20, TextWidth: 16, Hidden: 24, Width: 16, Text: TextNone, Pooling: PoolingPACL, TauPatch: 0.1}
	odd := Config{TokenWidth: 33, TextWidth: 45, Hidden: 41, Width: 31, Text: TextLinear, Pooling: PoolingPACL, TauPatch: 0.07}
	frozen := odd
	frozen.Text = TextFrozen
	mean := odd
	mean.Pooling = PoolingMean
	return map[string]problem{
		"none":              newProblem(narrow, 12, 25, 1),
		"linear":            newProblem(odd, 21, 49, 2),
		"frozen":            newProblem(frozen, 9, 17, 3),
		"mean":              newProblem(mean, 13, 17, 4),
		"several slabs":     newProblem(odd, 37, 196, 5),
		"several chunks":    newProblem(narrow, 400, 3, 6),
		"more texts":        newProblem(odd, 120, 20, 10),
		"more patches":      newProblem(narrow, 18, 500, 7),
		"one patch":         newProblem(odd, 5, 1, 8),
		"fewer than groups": newProblem(odd, 2, 9, 9),
	}
}

// PACL_EXACT_STEP=1 adds the step of docs/performance.md, which takes the slow twin minutes.
func TestObjectiveEqualsExact(t *testing.T) {
	all := problems()
	if os.Getenv("PACL_EXACT_STEP") != "" {
		clip := Config{TokenWidth: 768, TextWidth: 512, Hidden: 768, Width: 512, Text: TextNone, Pooling: PoolingPACL, TauPatch: 0.07}
		all["64 images of CLIP B-16"] = newProblem(clip, 64, 196, 11)
	}
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			expected := p.exact()
			for _, precision := range []kernel.Precision{kernel.Float32, kernel.BFloat16} {
				gradientLimit, phiLimit := 1e-4, 1e-5
				if precision == kernel.BFloat16 {
					gradientLimit, phiLimit = 2e-2, 1e-2
				}
				o, r, gradient := p.step(t, precision, 0)
				if e := relativeError(p.config, gradient, expected.Gradient); !(e < gradientLimit) {
					t.Errorf("%v: gradient is off by %.3g of its norm, expected at most %g", precision, e, gradientLimit)
				} else {
					t.Logf("%v: gradient is off by %.3g of its norm", precision, e)
				}
				if math.Abs(r.Loss-expected.Loss) > 10*phiLimit*math.Max(1, expected.Loss) {
					t.Errorf("%v: loss %g, expected %g", precision, r.Loss, expected.Loss)
				}
				for i := range p.images {
					for j := range p.images {
						found := o.pairs.phi[i*o.pairs.m+o.pairs.texts.of[j]]
						if e := expected.Phi[i*p.images+j]; math.Abs(float64(found)-e) > phiLimit {
							t.Fatalf("%v: phi of image %d and text %d is %g, expected %g", precision, i, j, found, e)
						}
					}
				}
			}
		})
	}
}

func TestObjectiveCountsRetrieval(t *testing.T) {
	p := problems()["several slabs"]
	_, r, _ := p.step(t, kernel.Float32, 0)
	expected := p.exact()
	rightTexts, rightImages := 0, 0
	same := func(i, j int) bool {
		w := p.config.TextWidth
		return equalBits(p.sentences[i*w:(i+1)*w], p.sentences[j*w:(j+1)*w])
	}
	for i := range p.images {
		text, image := 0, 0
		for j := range p.images {
			if expected.Phi[i*p.images+j] > expected.Phi[i*p.images+text] {
				text = j
			}
			if expected.Phi[j*p.images+i] > expected.Phi[image*p.images+i] {
				image = j
			}
		}
		if same(i, text) {
			rightTexts++
		}
		if same(i, image) {
			rightImages++
		}
	}
	n := float64(p.images)
	if math.Abs(r.ImageToText-float64(rightTexts)/n) > 1e-9 || math.Abs(r.TextToImage-float64(rightImages)/n) > 1e-9 {
		t.Errorf("retrieval %.4f and %.4f, expected %.4f and %.4f", r.ImageToText, r.TextToImage, float64(rightTexts)/n, float64(rightImages)/n)
	}
}

// sameBits fails where two gradients differ in any bit.
func sameBits(t *testing.T, what string, a, b *Parameters[float32]) {
	t.Helper()
	other := b.Tensors()
	for i, tensor := range a.Tensors() {
		if !equalBits(tensor.Data, other[i].Data) {
			t.Errorf("%s: %s differs", what, tensor.Name)
		}
	}
}

func TestObjectiveDoesNotDependOnWorkersOrMemory(t *testing.T) {
	for _, name := range []string{"several slabs", "several chunks", "more texts", "mean"} {
		p := problems()[name]
		for _, precision := range []kernel.Precision{kernel.Float32, kernel.BFloat16} {
			_, r, gradient := p.step(t, precision, 0)
			for _, workers := range []int{1, 2, 3, 16} {
				before := runtime.GOMAXPROCS(workers)
				_, again, gradientAgain := p.step(t, precision, 1)
				runtime.GOMAXPROCS(before)
				what := fmt.Sprintf("%s, %v, %d workers", name, precision, workers)
				if again != r {
					t.Errorf("%s: result %+v, expected %+v", what, again, r)
				}
				sameBits(t, what, gradientAgain, gradient)
			}
		}
	}
}

func TestObjectiveReusesItsMemory(t *testing.T) {
	p, small := problems()["several slabs"], problems()["linear"]
	o, r, gradient := p.step(t, kernel.Float32, 0)
	other := NewParameters[float32](p.config)
	if _, err := o.Step(context.Background(), small.parameters, small.batch(), other); err != nil {
		t.Fatal(err)
	}
	again, err := o.Step(context.Background(), p.parameters, p.batch(), other)
	if err != nil {
		t.Fatal(err)
	}
	if again != r {
		t.Errorf("result %+v after another batch, expected %+v", again, r)
	}
	sameBits(t, "after another batch", other, gradient)
}

func TestObjectiveStopsWhenCancelled(t *testing.T) {
	p := problems()["several slabs"]
	o, err := NewObjective(p.config, kernel.Float32, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := o.Step(ctx, p.parameters, p.batch(), NewParameters[float32](p.config)); err != context.Canceled {
		t.Errorf("error %v, expected %v", err, context.Canceled)
	}
}

// BenchmarkStep is the step that the peers were measured with: B = 64, T = 196, 768 -> 768 -> 512.
func BenchmarkStep(b *testing.B) {
	c := Config{TokenWidth: 768, TextWidth: 512, Hidden: 768, Width: 512, Text: TextNone, Pooling: PoolingPACL, TauPatch: 0.07}
	for _, precision := range []kernel.Precision{kernel.Float32, kernel.BFloat16} {
		b.Run(precision.String(), func(b *testing.B) {
			p := newProblem(c, 64, 196, 1)
			o, _, gradient := p.step(b, precision, 0)
			batch := p.batch()
			for b.Loop() {
				if _, err := o.Step(context.Background(), p.parameters, batch, gradient); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(StepFLOPs(c, 64, 196)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
