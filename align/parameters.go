package align

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// TextEmbedder says what stands between a sentence vector and the shared space.
type TextEmbedder string

// The text embedders: the sentence vector itself, a linear layer that stays as it was initialised, one that is trained.
const (
	TextNone   TextEmbedder = "none"
	TextFrozen TextEmbedder = "frozen"
	TextLinear TextEmbedder = "linear"
)

// Pooling says how the patches of an image become the vector that is compared with a text.
type Pooling string

// The poolings: each pair's own attention (the method), or the plain mean over patches (the control).
const (
	PoolingPACL Pooling = "pacl"
	PoolingMean Pooling = "mean"
)

// MaxLogitScale bounds the learned logarithm of the logit scale as CLIP does: cosines are multiplied by 100 at most.
var MaxLogitScale = math.Log(100)

// Config is the shape of a head and of the objective that it was trained with.
type Config struct {
	TokenWidth int          `json:"token_width"` // D_in
	TextWidth  int          `json:"text_width"`  // D_t
	Hidden     int          `json:"hidden"`
	Width      int          `json:"width"` // D
	Text       TextEmbedder `json:"text_embedder"`
	Pooling    Pooling      `json:"pooling"`
	TauPatch   float64      `json:"tau_patch"`
}

// widthLimit bounds what a file may ask for: no published encoder is a tenth as wide.
const widthLimit = 1 << 16

// Validate says what is wrong with the configuration, if anything.
func (c Config) Validate() error {
	for _, w := range []struct {
		name  string
		value int
	}{{"token width", c.TokenWidth}, {"text width", c.TextWidth}, {"hidden width", c.Hidden}, {"width", c.Width}} {
		if w.value < 1 || w.value > widthLimit {
			return fmt.Errorf("head: %s is %d, expected 1 to %d", w.name, w.value, widthLimit)
		}
	}
	switch c.Text {
	case TextNone:
		if c.Width != c.TextWidth {
			return fmt.Errorf("head: without a text embedder its width must be that of the sentence vectors: found %d, expected %d", c.Width, c.TextWidth)
		}
	case TextFrozen, TextLinear:
	default:
		return fmt.Errorf("head: text embedder is %q, expected none, frozen or linear", c.Text)
	}
	if c.Pooling != PoolingPACL && c.Pooling != PoolingMean {
		return fmt.Errorf("head: pooling is %q, expected pacl or mean", c.Pooling)
	}
	if !(c.TauPatch > 0) || math.IsInf(c.TauPatch, 0) {
		return fmt.Errorf("head: tau_patch is %g, expected a positive number", c.TauPatch)
	}
	return nil
}

// Float is the precision that parameters are held in.
type Float interface{ ~float32 | ~float64 }

// Linear is a linear layer: y = Weight x + Bias.
type Linear[F Float] struct {
	Out, In int
	Weight  []F // [Out, In]
	Bias    []F // [Out]
}

func newLinear[F Float](out, in int) Linear[F] {
	return Linear[F]{Out: out, In: in, Weight: make([]F, out*in), Bias: make([]F, out)}
}

// Parameters are the trained numbers of a head, or their gradient, or a moment of the optimiser: the same shapes.
type Parameters[F Float] struct {
	FC1, FC2, Skip Linear[F]
	Text           Linear[F] // empty without a text embedder
	LogitScale     []F       // [1], the logarithm of the scale
}

// NewParameters returns zeros of the shapes that the configuration asks for.
func NewParameters[F Float](c Config) *Parameters[F] {
	p := &Parameters[F]{
		FC1:        newLinear[F](c.Hidden, c.TokenWidth),
		FC2:        newLinear[F](c.Width, c.Hidden),
		Skip:       newLinear[F](c.Width, c.TokenWidth),
		LogitScale: make([]F, 1),
	}
	if c.Text != TextNone {
		p.Text = newLinear[F](c.Width, c.TextWidth)
	}
	return p
}

// Tensor is one named array of the parameters; it shares their memory.
type Tensor[F Float] struct {
	Name  string
	Shape []int
	Data  []F
}

// Tensors lists the parameters under the names that they have in a file, in a fixed order.
func (p *Parameters[F]) Tensors() []Tensor[F] {
	var list []Tensor[F]
	for _, l := range []struct {
		name  string
		layer Linear[F]
	}{{"fc1", p.FC1}, {"fc2", p.FC2}, {"skip", p.Skip}, {"text", p.Text}} {
		if l.layer.Weight == nil {
			continue
		}
		list = append(list,
			Tensor[F]{l.name + ".weight", []int{l.layer.Out, l.layer.In}, l.layer.Weight},
			Tensor[F]{l.name + ".bias", []int{l.layer.Out}, l.layer.Bias})
	}
	return append(list, Tensor[F]{"logit_scale", []int{1}, p.LogitScale})
}

// Count returns how many numbers the parameters hold.
func (p *Parameters[F]) Count() int {
	n := 0
	for _, t := range p.Tensors() {
		n += len(t.Data)
	}
	return n
}

// Zero sets every number to zero.
func (p *Parameters[F]) Zero() {
	for _, t := range p.Tensors() {
		clear(t.Data)
	}
}

// Convert copies the parameters into another precision.
func Convert[To, From Float](c Config, p *Parameters[From]) *Parameters[To] {
	q := NewParameters[To](c)
	to := q.Tensors()
	for i, t := range p.Tensors() {
		for k, v := range t.Data {
			to[i].Data[k] = To(v)
		}
	}
	return q
}

// initialise fills linear layers as PyTorch does, uniformly within 1/sqrt(fan in), and starts the logit scale at the
// scale given. A text embedder that keeps its width starts as the identity: sentence vectors are already comparable.
func (p *Parameters[F]) initialise(seed uint64, logitScale float64) {
	layers := []Linear[F]{p.FC1, p.FC2, p.Skip, p.Text}
	for i, l := range layers {
		if l.Weight == nil {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, 0x6865616400+uint64(i)))
		bound := 1 / math.Sqrt(float64(l.In))
		for k := range l.Weight {
			l.Weight[k] = F((2*rng.Float64() - 1) * bound)
		}
		for k := range l.Bias {
			l.Bias[k] = F((2*rng.Float64() - 1) * bound)
		}
	}
	if t := p.Text; t.Weight != nil && t.Out == t.In {
		clear(t.Weight)
		clear(t.Bias)
		for k := range t.Out {
			t.Weight[k*t.In+k] = 1
		}
	}
	p.LogitScale[0] = F(math.Log(logitScale))
}

// startAt makes the head the linear map given: what is not linear in it starts at zero.
func (p *Parameters[F]) startAt(projection Linear[float32]) {
	for k, v := range projection.Weight {
		p.Skip.Weight[k] = F(v)
	}
	for k, v := range projection.Bias {
		p.Skip.Bias[k] = F(v)
	}
	clear(p.FC2.Weight)
	clear(p.FC2.Bias)
}
