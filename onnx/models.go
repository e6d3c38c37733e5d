package onnx

import (
	"fmt"
	"io"
	"math"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/encoder"
)

// VisionOptions say which patch vectors a model gives.
type VisionOptions struct {
	Head    *align.Head     // or nil, and then
	Readout encoder.Readout // of a CLIP
	Layer   int             // whose tokens the head takes, 0 = the last
	Stride  int             // of the patches, 0 = the patch size
}

// naclipStd is the standard deviation of NACLIP's neighbourhood, in patches, as package encoder has it.
const naclipStd = 5

// WriteVision writes a vision encoder with its head or read-out. Inputs: pixels [batch, 3, height, width], normalised as the
// metadata says, and texts [labels, width], unit vectors. Outputs: scores [batch, rows, columns, labels] and patches
// [batch, rows, columns, width], unit vectors.
func WriteVision(w io.Writer, v encoder.RawVision, o VisionOptions) error {
	g := &graph{name: "pacl patches"}
	if o.Stride == 0 {
		o.Stride = v.Info.PatchSize
	}
	if o.Stride < 1 || v.Info.PatchSize%o.Stride != 0 {
		return fmt.Errorf("onnx: stride %d, expected a divisor of the patch size %d", o.Stride, v.Info.PatchSize)
	}
	if o.Head == nil && (o.Readout == encoder.NoReadout || v.Projection == nil) {
		return fmt.Errorf("onnx: the encoder has neither a head nor a projection to the space of texts")
	}
	last := len(v.Blocks.Blocks)
	if o.Layer > 0 {
		last = min(o.Layer, last)
	}

	width, p := v.Info.Width, v.Info.PatchSize
	pixels := g.input("pixels", typeFloat, "batch", 3, "height", "width")
	// Conv wants [width, 3, p, p].
	kernels := make([]float32, len(v.Patch.Weight))
	for in := range v.Patch.In {
		for out := range width {
			kernels[out*v.Patch.In+in] = v.Patch.Weight[in*width+out]
		}
	}
	inputs := []string{pixels, g.floats("w", kernels, width, 3, p, p)}
	if v.Patch.Bias != nil {
		inputs = append(inputs, g.floats("b", v.Patch.Bias, width))
	}
	embedded := g.node("Conv", inputs, attribute{"strides", []int64{int64(o.Stride), int64(o.Stride)}},
		attribute{"kernel_shape", []int64{int64(p), int64(p)}})
	batch, rows, columns := g.dimension(embedded, 0), g.dimension(embedded, 2), g.dimension(embedded, 3)
	x := g.flatten(embedded, width)
	if v.Positions != nil {
		x = g.add(x, g.positions(v, rows, columns))
	}
	prefix := int64(v.Info.Prefix)
	if prefix > 0 {
		start := g.floats("start", v.Start, 1, v.Info.Prefix, width)
		shape := g.concat(0, batch, g.ints(prefix, int64(width)))
		x = g.concat(1, g.node("Expand", []string{start, shape}), x)
	}
	if v.PreNorm != nil {
		x = g.norm(x, *v.PreNorm)
	}
	var usual attention
	if v.Periods != nil {
		usual.cos, usual.sin = g.rotary(v, rows, columns)
	}
	for i := range last {
		a := usual
		if i == last-1 && o.Head == nil && o.Readout != encoder.Plain {
			a.readout = o.Readout
			if a.readout == encoder.NACLIP {
				a.bias = g.neighbourhood(prefix, rows, columns)
			}
		}
		var err error
		if x, err = g.block(x, v.Blocks, v.Blocks.Blocks[i], a); err != nil {
			return err
		}
	}
	x = g.slice(x, 1, prefix, math.MaxInt64)
	x = g.norm(x, v.FinalNorm)
	shared := v.Info.ProjectionDim
	if o.Head != nil {
		shared = o.Head.Config.Width
		x = g.head(x, o.Head.Parameters)
	} else {
		x = g.linear(x, *v.Projection)
	}
	x = g.normalise(x)
	texts := g.input("texts", typeFloat, "labels", shared)
	scores := g.node("MatMul", []string{x, g.transpose(texts, 1, 0)})
	grid := func(y string) string {
		return g.node("Reshape", []string{y, g.concat(0, batch, rows, columns, g.ints(-1))})
	}
	// One element count of zero would make -1 ambiguous; a list of labels is never empty.
	g.output("scores", grid(scores), typeFloat, "batch", "rows", "columns", "labels")
	g.output("patches", grid(x), typeFloat, "batch", "rows", "columns", shared)
	m, s := v.Info.Mean, v.Info.Std
	return g.write(w, [][2]string{
		{"mean", fmt.Sprint(m[0], m[1], m[2])}, {"std", fmt.Sprint(s[0], s[1], s[2])},
		{"patch_size", fmt.Sprint(p)}, {"stride", fmt.Sprint(o.Stride)}, {"family", v.Info.Family},
	})
}

// flatten turns [B, width, rows, columns] into [B, patches, width].
func (g *graph) flatten(x string, width int) string {
	return g.transpose(g.reshape(x, 0, int64(width), -1), 0, 2, 1)
}

// positions resizes the learned positions to the grid: bicubic with A = -0.75, edges replicated, or linearly with
// anti-aliasing. [1, rows*columns, width]
func (g *graph) positions(v encoder.RawVision, rows, columns string) string {
	width := v.Info.Width
	if v.Antialias {
		stored := g.floats("positions", v.Positions, v.Side, v.Side*width)
		down := g.reshape(g.node("MatMul", []string{g.triangles(v.Side, rows), stored}), -1, int64(v.Side), int64(width))
		both := g.node("MatMul", []string{g.triangles(v.Side, columns), down})
		return g.reshape(both, 1, -1, int64(width))
	}
	planes := make([]float32, len(v.Positions))
	cells := v.Side * v.Side
	for cell := range cells {
		for c := range width {
			planes[c*cells+cell] = v.Positions[cell*width+c]
		}
	}
	stored := g.floats("positions", planes, 1, width, v.Side, v.Side)
	sizes := g.concat(0, g.ints(1, int64(width)), rows, columns)
	resized := g.node("Resize", []string{stored, "", "", sizes}, attribute{"mode", "cubic"},
		attribute{"coordinate_transformation_mode", "half_pixel"}, attribute{"cubic_coeff_a", float32(-0.75)})
	return g.flatten(resized, width)
}

// triangles are the weights [n, side] of linear resizing with anti-aliasing from side places to n: they fall with the distance
// over as many places as become one.
func (g *graph) triangles(side int, n string) string {
	places := make([]float32, side)
	for i := range places {
		places[i] = float32(i) + 0.5
	}
	scale := g.node("Div", []string{g.scalar(float32(side)), g.node("Cast", []string{n}, attribute{"to", int64(typeFloat)})})
	support := g.node("Max", []string{scale, g.scalar(1)})
	centres := g.node("Unsqueeze", []string{g.mul(g.add(g.count(n), g.scalar(0.5)), scale), g.ints(1)})
	distance := g.node("Abs", []string{g.node("Sub", []string{g.floats("places", places, 1, side), centres})})
	weights := g.node("Relu", []string{g.node("Sub", []string{g.scalar(1), g.node("Div", []string{distance, support})})})
	ones := make([]float32, side)
	for i := range ones {
		ones[i] = 1
	}
	sum := g.node("MatMul", []string{weights, g.floats("ones", ones, side, 1)})
	return g.node("Div", []string{weights, sum})
}

// rotary makes the cosines and sines [tokens, head] of the places: those of tokens before the patches turn nothing.
func (g *graph) rotary(v encoder.RawVision, rows, columns string) (cos, sin string) {
	quarter := len(v.Periods)
	frequencies := make([]float32, quarter)
	for i, period := range v.Periods {
		frequencies[i] = float32(2 * math.Pi / period)
	}
	f := g.floats("frequencies", frequencies, quarter)
	// angles along one side: (2 (i + 1/2) / n - 1) times the frequencies, [n, quarter]
	side := func(n string) string {
		share := g.node("Div", []string{g.add(g.count(n), g.scalar(0.5)), g.node("Cast", []string{n}, attribute{"to", int64(typeFloat)})})
		place := g.node("Sub", []string{g.mul(share, g.scalar(2)), g.scalar(1)})
		return g.mul(g.node("Unsqueeze", []string{place, g.ints(1)}), f)
	}
	shape := g.concat(0, rows, columns, g.ints(int64(quarter)))
	down := g.node("Expand", []string{g.node("Unsqueeze", []string{side(rows), g.ints(1)}), shape})
	across := g.node("Expand", []string{g.node("Unsqueeze", []string{side(columns), g.ints(0)}), shape})
	angles := g.reshape(g.concat(2, down, across, down, across), -1, int64(4*quarter))
	if v.Info.Prefix > 0 {
		angles = g.concat(0, g.floats("still", make([]float32, v.Info.Prefix*4*quarter), v.Info.Prefix, 4*quarter), angles)
	}
	return g.node("Cos", []string{angles}), g.node("Sin", []string{angles})
}

// neighbourhood is NACLIP's bias [tokens, tokens]: exp(-distance^2 / 2 std^2) between patches, 0 elsewhere.
func (g *graph) neighbourhood(prefix int64, rows, columns string) string {
	falloff := func(n string) string { // [n, n]
		at := g.count(n)
		difference := g.node("Sub", []string{g.node("Unsqueeze", []string{at, g.ints(1)}), g.node("Unsqueeze", []string{at, g.ints(0)})})
		return g.node("Exp", []string{g.mul(g.mul(difference, difference), g.scalar(-1.0/(2*naclipStd*naclipStd)))})
	}
	// [rows, 1, rows, 1] * [1, columns, 1, columns]
	down := g.node("Unsqueeze", []string{falloff(rows), g.ints(1, 3)})
	across := g.node("Unsqueeze", []string{falloff(columns), g.ints(0, 2)})
	patches := g.mul(rows, columns)
	bias := g.node("Reshape", []string{g.mul(down, across), g.concat(0, patches, patches)})
	return g.node("Pad", []string{bias, g.ints(prefix, prefix, 0, 0)})
}

// head is skip(x) + fc2(relu(fc1(x))).
func (g *graph) head(x string, p *align.Parameters[float32]) string {
	hidden := g.node("Relu", []string{g.linear(x, turned(p.FC1))})
	return g.add(g.linear(x, turned(p.Skip)), g.linear(hidden, turned(p.FC2)))
}

// turned stores a layer's weight as [in, out].
func turned(l align.Linear[float32]) encoder.RawLinear {
	r := encoder.RawLinear{In: l.In, Out: l.Out, Weight: make([]float32, len(l.Weight)), Bias: l.Bias}
	for out := range l.Out {
		for in := range l.In {
			r.Weight[in*l.Out+out] = l.Weight[out*l.In+in]
		}
	}
	return r
}

// TextOptions say what is done to the vectors of a text encoder.
type TextOptions struct {
	// Centre, where given, is subtracted from normalised vectors, which are normalised again: the mean of the names table
	// that the head was trained with.
	Centre []float32
	Head   *align.Head // or nil
}

// WriteText writes a text encoder. Inputs: ids [texts, tokens], start and end included, and for BERT mask [texts, tokens],
// 1 for tokens and 0 for padding; CLIP's ids may be padded with anything after the end that is not larger than it. Output:
// vectors [texts, width], unit vectors in the space of the patches. A prompt's mean over templates is the caller's.
func WriteText(w io.Writer, t encoder.RawText, o TextOptions) error {
	g := &graph{name: "pacl texts"}
	width := t.Info.Width
	ids := g.input("ids", typeInt64, "texts", "tokens")
	tokens := g.dimension(ids, 1)
	x := g.node("Gather", []string{g.floats("tokens", t.Tokens, t.Info.Vocabulary, width), ids}, attribute{"axis", int64(0)})
	positions := g.floats("positions", t.Positions, t.Info.Positions, width)
	x = g.add(x, g.node("Slice", []string{positions, g.ints(0), tokens, g.ints(0)}))
	if t.WordNorm != nil {
		x = g.norm(x, *t.WordNorm)
	}
	const never = -1e30
	var a attention
	var mask string
	if t.Mean {
		mask = g.node("Cast", []string{g.input("mask", typeInt64, "texts", "tokens")}, attribute{"to", int64(typeFloat)})
		// [texts, 1, 1, tokens]
		a.bias = g.mul(g.node("Unsqueeze", []string{g.node("Sub", []string{g.scalar(1), mask}), g.ints(1, 2)}), g.scalar(never))
	} else {
		at := g.count(tokens)
		later := g.node("Greater", []string{g.node("Unsqueeze", []string{at, g.ints(0)}), g.node("Unsqueeze", []string{at, g.ints(1)})})
		a.bias = g.node("Where", []string{later, g.scalar(never), g.scalar(0)})
	}
	for _, b := range t.Blocks.Blocks {
		var err error
		if x, err = g.block(x, t.Blocks, b, a); err != nil {
			return err
		}
	}
	if t.Mean {
		weighted := g.node("ReduceSum", []string{g.mul(x, g.node("Unsqueeze", []string{mask, g.ints(2)})), g.ints(1)}, attribute{"keepdims", int64(0)})
		x = g.normalise(weighted)
	} else {
		x = g.pick(x, ids, tokens, t.EndID, width)
	}
	if t.FinalNorm != nil {
		x = g.norm(x, *t.FinalNorm)
	}
	shared := width
	if t.Projection != nil {
		x = g.linear(x, *t.Projection)
		shared = t.Projection.Out
	}
	if o.Centre != nil {
		x = g.normalise(g.node("Sub", []string{g.normalise(x), g.floats("centre", o.Centre, shared)}))
	}
	if o.Head != nil && o.Head.Config.Text != align.TextNone {
		x = g.linear(x, turned(o.Head.Parameters.Text))
		shared = o.Head.Config.Width
	}
	g.output("vectors", g.normalise(x), typeFloat, "texts", shared)
	return g.write(w, [][2]string{{"family", t.Info.Family}, {"positions", fmt.Sprint(t.Info.Positions)}})
}

// pick takes the token that ends each text: the first with the id, or the largest id.
func (g *graph) pick(x, ids, tokens string, endID int32, width int) string {
	among := ids
	if endID >= 0 {
		among = g.node("Equal", []string{ids, g.integer(int64(endID))})
	}
	// Ids are small enough for float32, which every runtime finds the largest of.
	among = g.node("Cast", []string{among}, attribute{"to", int64(typeFloat)})
	place := g.node("ArgMax", []string{among}, attribute{"axis", int64(1)}, attribute{"keepdims", int64(0)})
	depth := g.node("Squeeze", []string{tokens, g.ints(0)})
	chosen := g.node("OneHot", []string{place, depth, g.floats("c", []float32{0, 1}, 2)})
	picked := g.node("MatMul", []string{g.node("Unsqueeze", []string{chosen, g.ints(1)}), x})
	return g.reshape(picked, -1, int64(width))
}
