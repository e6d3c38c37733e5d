package encoder

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pacl/pacl/internal/kernel"
)

// RawLinear is a linear layer as numbers: y = x Weight + Bias.
type RawLinear struct {
	In, Out int
	Weight  []float32 // [In, Out]
	Bias    []float32 // [Out] or nil
}

// RawNorm is a LayerNorm as numbers.
type RawNorm struct {
	Gamma, Beta []float32 // [width]
	Eps         float32
}

// RawBlock is a layer of a transformer as numbers.
type RawBlock struct {
	Norm1, Norm2   RawNorm
	QKV, Out       RawLinear
	FC1, FC2       RawLinear
	Gate           *RawLinear // fc2(act(gate x) * fc1 x)
	Scale1, Scale2 []float32  // LayerScale, or nil
	Activation     kernel.Activation
}

// RawTransformer is a stack of blocks as numbers.
type RawTransformer struct {
	Width, Heads int
	PostNorm     bool // the norms follow the residual sums
	Blocks       []RawBlock
}

// RawVision is a vision encoder as numbers, for those who write it in another format.
type RawVision struct {
	Info       Info
	Patch      RawLinear // of patches [3 * p * p]
	Start      []float32 // [Info.Prefix, width]: class token with its position, registers
	Positions  []float32 // [Side, Side, width] of patches, or nil
	Side       int
	Antialias  bool      // positions are resized linearly with anti-aliasing, not by cubic interpolation
	Periods    []float64 // [width of a head / 4] of rotary positions, or nil
	PreNorm    *RawNorm
	Blocks     RawTransformer
	FinalNorm  RawNorm
	Projection *RawLinear
}

// RawText is a text encoder as numbers.
type RawText struct {
	Info       Info
	Tokens     []float32 // [Info.Vocabulary, width]
	Positions  []float32 // [Info.Positions, width]
	WordNorm   *RawNorm
	Blocks     RawTransformer
	FinalNorm  *RawNorm
	Projection *RawLinear
	// Mean says that the mean over all tokens, normalised, stands for a text; otherwise the first token EndID does, or the
	// largest id where EndID is negative, and tokens see only those before them.
	Mean  bool
	EndID int32
}

var errRounded = errors.New("the encoder's weights were rounded to bf16 when it was opened: open it with the precision f32")

// raw recovers a layer from its packed form: what it makes of the unit vectors.
func (l *linear) raw() RawLinear {
	in, out := l.weight.K, l.weight.N
	r := RawLinear{In: in, Out: out, Weight: make([]float32, in*out), Bias: slices.Clone(l.bias.all())}
	const rows = 256
	for first := 0; first < in; first += rows {
		last := min(first+rows, in)
		unit := kernel.NewMat(kernel.Float32, last-first, in)
		for i := range unit.Rows {
			unit.Row(i)[first+i] = 1
		}
		kernel.Linear(kernel.FromFloat32(r.Weight[first*out:last*out], last-first, out), unit, l.weight, kernel.Epilogue{})
	}
	return r
}

func (n *norm) raw() RawNorm {
	return RawNorm{slices.Clone(n.gamma.all()), slices.Clone(n.beta.all()), n.eps}
}

func (n *norm) rawOrNil() *RawNorm {
	if n == nil {
		return nil
	}
	r := n.raw()
	return &r
}

func (l *linear) rawOrNil() *RawLinear {
	if l == nil {
		return nil
	}
	r := l.raw()
	return &r
}

func (t *transformer) raw() (RawTransformer, error) {
	if t.precision != kernel.Float32 {
		return RawTransformer{}, errRounded
	}
	r := RawTransformer{Width: t.width, Heads: t.heads, PostNorm: t.postNorm}
	for i := range t.blocks {
		b := &t.blocks[i]
		block := RawBlock{
			Norm1: b.norm1.raw(), Norm2: b.norm2.raw(), QKV: b.qkv.raw(), Out: b.out.raw(), FC1: b.fc1.raw(), FC2: b.fc2.raw(),
			Scale1: slices.Clone(b.scale1.all()), Scale2: slices.Clone(b.scale2.all()), Activation: b.activation,
		}
		if b.gated {
			gate := b.gate.raw()
			block.Gate = &gate
		}
		r.Blocks = append(r.Blocks, block)
	}
	return r, nil
}

// Raw returns the encoder as numbers. It must have been opened with the precision Float32.
func (v *Vision) Raw() (RawVision, error) {
	blocks, err := v.blocks.raw()
	if err != nil {
		return RawVision{}, err
	}
	w := v.info.Width
	r := RawVision{
		Info: v.info, Patch: v.patch.raw(), Start: make([]float32, v.info.Prefix*w), Side: v.side, Periods: v.periods,
		Antialias: v.antialias, PreNorm: v.preNorm.rawOrNil(), Blocks: blocks, FinalNorm: v.finalNorm.raw(), Projection: v.projection.rawOrNil(),
	}
	copy(r.Start, v.class.all())
	copy(r.Start[len(r.Start)-len(v.registers):], v.registers)
	if positions := v.positions.all(); positions != nil {
		own := len(positions) - v.side*v.side*w
		if own > 0 {
			kernel.Axpy(r.Start[:own], 1, positions[:own])
		}
		r.Positions = slices.Clone(positions[own:])
	}
	return r, nil
}

// RawTextOf returns a text encoder as numbers. Names tables have none; others must have been opened with the precision
// Float32.
func RawTextOf(t Text) (RawText, error) {
	e, ok := t.(*textTransformer)
	if !ok {
		return RawText{}, errors.New("a names table has no transformer")
	}
	if e.pooling == lastToken || e.pooling == firstToken {
		return RawText{}, fmt.Errorf("a text encoder of the family %s with this pooling is not written to other formats, expected CLIP or a mean over tokens", e.info.Family)
	}
	if err := e.prepare(); err != nil {
		return RawText{}, err
	}
	blocks, err := e.blocks.raw()
	if err != nil {
		return RawText{}, err
	}
	return RawText{
		Info: e.info, Tokens: e.tokens.Float32(), Positions: slices.Clone(e.positions.all()), WordNorm: e.wordNorm.rawOrNil(), Blocks: blocks,
		FinalNorm: e.finalNorm.rawOrNil(), Projection: e.projection.rawOrNil(), Mean: e.pooling == meanToken, EndID: e.endID,
	}, nil
}
