package encoder

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/weights"
)

// tower is the size of one transformer.
type tower struct{ width, layers, heads, hidden int }

// Architecture is the shape of a published encoder, without its weights.
type Architecture struct {
	Name   string
	family string // "clip", "vit", "dinov2", "dinov3", "bert"
	vision tower
	patch  int // pixels
	image  int // pixels a side
	// registers are tokens beside the class token.
	registers  int
	projection int // width of the space shared with texts, 0 without one
	text       tower
	positions  int // of the text encoder
	vocabulary int
	gated      bool // SwiGLU
	activation kernel.Activation
}

// Architectures returns the shapes that are known by name, as their authors publish them.
func Architectures() []Architecture {
	clip := func(name string, patch, image, projection int, vision, text tower, act kernel.Activation) Architecture {
		return Architecture{
			Name: name, family: "clip", vision: vision, patch: patch, image: image, projection: projection, text: text,
			positions: 77, vocabulary: 49408, activation: act,
		}
	}
	vision := func(family, name string, patch, image, registers int, t tower) Architecture {
		return Architecture{Name: name, family: family, vision: t, patch: patch, image: image, registers: registers, activation: kernel.GELU}
	}
	bert := func(name string, t tower) Architecture {
		return Architecture{Name: name, family: "bert", text: t, positions: 512, vocabulary: 30522, activation: kernel.GELU}
	}
	tiny, small, base := tower{192, 12, 3, 768}, tower{384, 12, 6, 1536}, tower{768, 12, 12, 3072}
	large, huge := tower{1024, 24, 16, 4096}, tower{1280, 32, 16, 5120}
	text512, text768, text1024 := tower{512, 12, 8, 2048}, tower{768, 12, 12, 3072}, tower{1024, 24, 16, 4096}
	list := []Architecture{
		clip("clip-vit-b-32", 32, 224, 512, base, text512, kernel.QuickGELU),
		clip("clip-vit-b-16", 16, 224, 512, base, text512, kernel.QuickGELU),
		clip("clip-vit-l-14", 14, 224, 768, large, text768, kernel.QuickGELU),
		clip("clip-vit-l-14-336", 14, 336, 768, large, text768, kernel.QuickGELU),
		clip("clip-vit-h-14", 14, 224, 1024, huge, text1024, kernel.GELU),
		vision("vit", "vit-tiny-16", 16, 224, 0, tiny), vision("vit", "vit-small-16", 16, 224, 0, small),
		vision("vit", "vit-base-16", 16, 224, 0, base), vision("vit", "vit-large-16", 16, 224, 0, large),
		bert("minilm-l6", tower{384, 6, 12, 1536}), bert("bert-base", base),
	}
	for _, registers := range []int{0, 4} {
		for _, size := range []struct {
			name string
			tower
		}{{"s14", small}, {"b14", base}, {"l14", large}, {"g14", tower{1536, 40, 24, 4096}}} {
			name := "dinov2-vit-" + size.name
			if registers > 0 {
				name += "-reg"
			}
			a := vision("dinov2", name, 14, 518, registers, size.tower)
			if size.name == "g14" {
				a.gated, a.activation = true, kernel.SiLU
			}
			list = append(list, a)
		}
	}
	for _, family := range []string{"dinov3", "eupe"} {
		for _, size := range []struct {
			name string
			tower
		}{{"t16", tiny}, {"s16", small}, {"b16", base}, {"l16", large}} {
			if published := family == "dinov3" && size.name != "t16" || family == "eupe" && size.name != "l16"; published {
				list = append(list, vision("dinov3", family+"-vit-"+size.name, 16, 224, 4, size.tower))
			}
		}
	}
	return list
}

// FindArchitecture returns the architecture of that name.
func FindArchitecture(name string) (Architecture, error) {
	list := Architectures()
	var names []string
	for _, a := range list {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return Architecture{}, fmt.Errorf("architecture %q, expected one of %s", name, strings.Join(names, ", "))
}

// FineStride is a quarter of the patch size, or half of it: a stride that makes patches overlap.
func (a Architecture) FineStride() int {
	if a.patch%4 == 0 {
		return a.patch / 4
	}
	return a.patch / 2
}

// RandomVision makes a vision encoder of an architecture with random weights: to be timed, not to be used.
func RandomVision(a Architecture, p kernel.Precision) (*Vision, error) {
	if a.vision.width == 0 {
		return nil, fmt.Errorf("architecture %s has no vision encoder", a.Name)
	}
	r := &random{precision: p, state: 1}
	t, w := a.vision, a.vision.width
	side := a.image / a.patch
	v := &Vision{
		patch: r.linear(3*a.patch*a.patch, w), class: r.vector(w, 0.1), finalNorm: r.norm(w),
		blocks: r.transformer(a, t),
		info: Info{
			Family: a.family, Dir: a.Name, Width: w, Layers: t.layers, Heads: t.heads, Hidden: t.hidden, Gated: a.gated,
			PatchSize: a.patch, ImageSize: a.image, Prefix: 1 + a.registers, ProjectionDim: a.projection,
			Mean: half, Std: half,
		},
	}
	if a.registers > 0 {
		v.registers = r.vector(a.registers*w, 0.1).numbers
	}
	if a.family == "dinov3" {
		v.periods = ropePeriods(100, w/t.heads)
	} else {
		v.positions, v.side = r.vector((1+side*side)*w, 0.1), side
	}
	if a.family == "clip" {
		n, projection := r.norm(w), r.linear(w, a.projection)
		v.preNorm, v.projection = &n, &projection
		v.patch.bias, v.projection.bias = nil, nil
	}
	return v, nil
}

// TokenEncoder is a text encoder behind its tokenizer.
type TokenEncoder interface {
	// EmbedIDs returns the vectors [N, Width] of token sequences, start and end included.
	EmbedIDs(ctx context.Context, sequences [][]int32) ([]float32, error)
	Width() int
	Info() Info
}

// RandomText makes a text encoder of an architecture with random weights and without a tokenizer. A text ends at the
// largest token, as CLIP's do.
func RandomText(a Architecture, p kernel.Precision) (TokenEncoder, error) {
	if a.text.width == 0 {
		return nil, fmt.Errorf("architecture %s has no text encoder", a.Name)
	}
	r := &random{precision: p, state: 2}
	t, w := a.text, a.text.width
	e := &textTransformer{
		tokens: r.table(a.vocabulary, w), positions: r.vector(a.positions*w, 0.1), blocks: r.transformer(a, t),
		causal: a.family == "clip", pooling: poolingOf(a.family), endID: -1,
		info: Info{
			Family: a.family, Dir: a.Name, Width: w, ProjectionDim: a.projection, Layers: t.layers, Heads: t.heads,
			Hidden: t.hidden, Positions: a.positions, Vocabulary: a.vocabulary,
		},
	}
	n := r.norm(w)
	if a.family == "bert" {
		e.wordNorm = &n
		return e, nil
	}
	projection := r.linear(w, a.projection)
	projection.bias = nil
	e.finalNorm, e.projection = &n, &projection
	return e, nil
}

// random makes layers whose outputs are about as large as their inputs.
type random struct {
	precision kernel.Precision
	state     uint64
}

// fill draws uniform numbers of mean 0 and the given deviation.
func (r *random) fill(dst []float32, deviation float64) {
	state, scale := r.state, float32(deviation*math.Sqrt(12)/(1<<24))
	for i := range dst { // xorshift64*: a hundred million numbers have to be drawn in no time
		state ^= state >> 12
		state ^= state << 25
		state ^= state >> 27
		dst[i] = (float32(state*0x2545f4914f6cdd1d>>40) - 1<<23) * scale
	}
	r.state = state
}

func (r *random) vector(n int, deviation float64) *vector {
	v := make([]float32, n)
	r.fill(v, deviation)
	return given(v)
}

func (r *random) norm(width int) norm {
	gamma := make([]float32, width)
	for i := range gamma {
		gamma[i] = 1
	}
	return norm{given(gamma), r.vector(width, 0.01), 1e-5}
}

func (r *random) linear(in, out int) linear {
	const panel = 32
	l := linear{kernel.NewWeight(out, in, r.precision), r.vector(out, 0.01)}
	rows := kernel.NewMat(kernel.Float32, panel, in)
	for first := 0; first < out; first += panel {
		r.fill(rows.F, 1/math.Sqrt(float64(in)))
		l.weight.SetRows(first, rows.Slice(0, min(panel, out-first), 0, in))
	}
	return l
}

// table is a table of tokens in bfloat16, the rows of which are small.
func (r *random) table(rows, width int) weights.Tensor {
	t := weights.Tensor{Name: "tokens", DType: weights.BF16, Shape: []int{rows, width}, Data: make([]byte, 0, 2*rows*width)}
	row := make([]float32, width)
	for range rows {
		r.fill(row, 0.1)
		t.Data = append(t.Data, weights.NewBF16("", row, width).Data...)
	}
	return t
}

func (r *random) transformer(a Architecture, t tower) *transformer {
	result := &transformer{width: t.width, heads: t.heads, hidden: t.hidden, postNorm: a.family == "bert", precision: r.precision}
	for range t.layers {
		b := block{
			norm1: r.norm(t.width), norm2: r.norm(t.width), qkv: r.linear(t.width, 3*t.width), out: r.linear(t.width, t.width),
			fc1: r.linear(t.width, t.hidden), fc2: r.linear(t.hidden, t.width), gated: a.gated, activation: a.activation,
		}
		if a.gated {
			b.gate = r.linear(t.width, t.hidden)
		}
		if strings.HasPrefix(a.family, "dino") {
			b.scale1, b.scale2 = r.vector(t.width, 0.1), r.vector(t.width, 0.1)
		}
		result.blocks = append(result.blocks, b)
	}
	return result
}
