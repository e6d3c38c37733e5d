package align

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func randomVectors(rng *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	return x
}

// randomCase is a head with its input, small enough for finite differences.
func randomCase(t *rapid.T) (Config, *Parameters[float64], []float64, []float64) {
	c := Config{
		TokenWidth: rapid.IntRange(1, 5).Draw(t, "token width"),
		TextWidth:  rapid.IntRange(2, 5).Draw(t, "text width"),
		Hidden:     rapid.IntRange(1, 6).Draw(t, "hidden"),
		Text:       rapid.SampledFrom([]TextEmbedder{TextNone, TextLinear}).Draw(t, "text embedder"),
		Pooling:    rapid.SampledFrom([]Pooling{PoolingPACL, PoolingMean}).Draw(t, "pooling"),
		TauPatch:   rapid.Float64Range(0.1, 2).Draw(t, "tau"),
	}
	c.Width = c.TextWidth
	if c.Text == TextLinear {
		c.Width = rapid.IntRange(2, 6).Draw(t, "width")
	}
	b, patches := rapid.IntRange(1, 5).Draw(t, "batch"), rapid.IntRange(1, 6).Draw(t, "patches")
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	p := NewParameters[float64](c)
	for _, tensor := range p.Tensors() {
		copy(tensor.Data, randomVectors(rng, len(tensor.Data)))
	}
	p.LogitScale[0] = rapid.Float64Range(0, 2).Draw(t, "logit scale")
	sentences := randomVectors(rng, b*c.TextWidth)
	if b > 2 && rapid.Bool().Draw(t, "equal texts") {
		copy(sentences[:c.TextWidth], sentences[c.TextWidth:2*c.TextWidth])
	}
	return c, p, randomVectors(rng, b*patches*c.TokenWidth), sentences
}

func TestExactGradientIsTheSlopeOfTheLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, p, tokens, sentences := randomCase(t)
		gradient := Exact(c, p, tokens, sentences).Gradient.Tensors()
		const step = 1e-5
		for n, tensor := range p.Tensors() {
			for k := range tensor.Data {
				// A step across the rectifier's bend has no one slope: two step sizes that disagree tell.
				slope := func(h float64) float64 {
					kept := tensor.Data[k]
					tensor.Data[k] = kept + h
					above := Exact(c, p, tokens, sentences).Loss
					tensor.Data[k] = kept - h
					below := Exact(c, p, tokens, sentences).Loss
					tensor.Data[k] = kept
					return (above - below) / (2 * h)
				}
				fine, coarse := slope(step), slope(4*step)
				if math.Abs(fine-coarse) > 1e-6*(1+math.Abs(fine)) {
					continue
				}
				if found := gradient[n].Data[k]; math.Abs(found-fine) > 2e-6*(1+math.Abs(fine)) {
					t.Fatalf("%s[%d]: gradient %g, slope %g", tensor.Name, k, found, fine)
				}
			}
		}
	})
}

// leakingPhi is the shortcut of public re-implementations: image i is pooled once, by the attention of its own caption,
// and that vector is compared with all captions.
func leakingPhi(u, texts []float64, b, patches, d int, tau float64) []float64 {
	phi := make([]float64, b*b)
	for i := range b {
		a := make([]float64, patches)
		for k := range a {
			a[k] = dot(u[(i*patches+k)*d:(i*patches+k+1)*d], texts[i*d:(i+1)*d]) / tau
		}
		softmax(a)
		v := make([]float64, d)
		for k := range a {
			axpy(v, a[k], u[(i*patches+k)*d:(i*patches+k+1)*d])
		}
		for j := range b {
			phi[i*b+j] = dot(v, texts[j*d:(j+1)*d]) / math.Sqrt(dot(v, v))
		}
	}
	return phi
}

// Unrelated images and texts cannot be told apart: whoever retrieves the right one more often than by chance has looked
// at the answer.
func TestUnrelatedImagesAndTextsStayAtChance(t *testing.T) {
	const b, patches, d = 96, 49, 24
	c := Config{TokenWidth: d, TextWidth: d, Hidden: 4, Width: d, Text: TextNone, Pooling: PoolingPACL, TauPatch: 0.05}
	p := NewParameters[float64](c)
	for k := range d {
		p.Skip.Weight[k*d+k] = 1 // the head is the identity
	}
	hitsOurs, hitsLeaking := 0, 0
	const rounds = 3
	for round := range rounds {
		rng := rand.New(rand.NewPCG(uint64(round), 17))
		tokens, sentences := randomVectors(rng, b*patches*d), randomVectors(rng, b*d)
		ours := Exact(c, p, tokens, sentences).Phi
		leaking := leakingPhi(normaliseRows(tokens, d), normaliseRows(sentences, d), b, patches, d, c.TauPatch)
		hitsOurs += hits(ours, b)
		hitsLeaking += hits(leaking, b)
	}
	// By chance 1 of 96 is right, 3 in three rounds; 12 or more would happen once in 10^4 runs.
	if hitsOurs >= 12 {
		t.Errorf("our objective retrieves %d of %d unrelated captions, expected about %d", hitsOurs, rounds*b, rounds)
	}
	if hitsLeaking < rounds*b/2 {
		t.Errorf("the leaking variant retrieves %d of %d unrelated captions, expected more than half: the test shows nothing", hitsLeaking, rounds*b)
	}
	t.Logf("retrieved of %d unrelated captions: ours %d, leaking variant %d", rounds*b, hitsOurs, hitsLeaking)
}

func hits(phi []float64, b int) int {
	n := 0
	for i := range b {
		best := 0
		for j := range b {
			if phi[i*b+j] > phi[i*b+best] {
				best = j
			}
		}
		if best == i {
			n++
		}
	}
	return n
}
