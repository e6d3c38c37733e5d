package encoder

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/weights"
)

// norm holds a LayerNorm.
type norm struct {
	gamma, beta *vector // [width]
	eps         float32
}

func (n *norm) apply(dst, x kernel.Mat) {
	kernel.LayerNorm(dst, x, n.gamma.all(), n.beta.all(), n.eps)
	runtime.KeepAlive(n) // its vectors may lie in a mapped file
}

// linear holds a packed linear layer.
type linear struct {
	weight *kernel.Weight
	bias   *vector // [out] or nil
}

func (l *linear) apply(dst, x kernel.Mat, ep kernel.Epilogue) {
	ep.Bias = l.bias.all()
	kernel.Linear(dst, x, l.weight, ep)
	runtime.KeepAlive(l)
}

// block is one layer of a transformer.
type block struct {
	norm1, norm2   norm
	qkv, out       linear
	fc1, gate, fc2 linear
	scale1, scale2 *vector // LayerScale, or nil
	gated          bool    // fc2(act(gate x) * fc1 x)
	activation     kernel.Activation
}

// transformer is a stack of blocks.
type transformer struct {
	width, heads, hidden int
	postNorm             bool // the norms follow the residual sums, as BERT's
	blocks               []block
	precision            kernel.Precision
	scratch              sync.Pool // of *scratch
}

// sequence says how rows of tokens form sequences.
type sequence struct {
	batch   int
	tokens  int   // of each sequence, or
	offsets []int // [batch + 1] where lengths differ
	causal  bool
	rope    *rope
}

// scratch is memory of a pass. It grows to the largest pass and is used again.
type scratch struct {
	half  []uint16
	float []float32
}

// take returns a matrix in the precision of the products; it replaces what was taken before from the same scratch.
func (s *scratch) take(p kernel.Precision, rows, cols int) kernel.Mat {
	n := rows * cols
	if p == kernel.BFloat16 {
		if cap(s.half) < n {
			s.half = make([]uint16, n)
		}
		return kernel.FromBFloat16(s.half[:n], rows, cols)
	}
	if cap(s.float) < n {
		s.float = make([]float32, n)
	}
	return kernel.FromFloat32(s.float[:n], rows, cols)
}

// takeRows is take with a stride at which products read the rows in place.
func (s *scratch) takeRows(p kernel.Precision, rows, cols int) kernel.Mat {
	m, _ := s.takeTwo(p, rows, cols, 0)
	return m
}

// takeTwo takes two such matrices at once.
func (s *scratch) takeTwo(p kernel.Precision, rows, cols, otherCols int) (m, other kernel.Mat) {
	m = kernel.Mat{Rows: rows, Cols: cols, Stride: kernel.RowStride(p, cols)}
	other = kernel.Mat{Rows: rows, Cols: otherCols, Stride: kernel.RowStride(p, otherCols)}
	all := s.take(p, rows, m.Stride+other.Stride)
	if cut := rows * m.Stride; all.H != nil {
		m.H, other.H = all.H[:cut], all.H[cut:]
	} else {
		m.F, other.F = all.F[:cut], all.F[cut:]
	}
	return m, other
}

// passScratch are the buffers that a pass needs at once. What attention needs and what the MLP needs, and before them the patches cut
// out of images, take turns in the wide one: memory that a process touches for the first time is dear.
type passScratch struct{ stream, normed, wide scratch }

// takeScratch returns buffers for a pass of so many rows, to be put back into t.scratch.
func (t *transformer) takeScratch(rows int) *passScratch {
	s, ok := t.scratch.Get().(*passScratch)
	if !ok {
		s = new(passScratch)
	}
	stride := func(cols int) int { return kernel.RowStride(t.precision, cols) }
	attention, mlp := rows*(stride(3*t.width)+stride(t.width)), min(rows, chunkRows)*(stride(t.hidden)+stride(t.gateWidth()))
	s.wide.take(t.precision, 1, max(attention, mlp)) // once for both, if it has to grow
	return s
}

// chunkRows is how many rows go through an MLP at once: its hidden layer then stays in the cache.
const chunkRows = 1024

// forward passes x [rows, width] through the blocks from first up to last, excluding it.
func (t *transformer) forward(x kernel.Mat, s sequence, first, last int, buffers *passScratch) {
	for i := first; i < last; i++ {
		b := &t.blocks[i]
		t.attend(b, x, x, s, buffers, kernel.AttentionOptions{}, true)
		t.feedForward(b, x, buffers)
	}
}

// attend adds the attention of a block to dst, or sets dst to it without a residual.
func (t *transformer) attend(b *block, dst, x kernel.Mat, s sequence, buffers *passScratch, o kernel.AttentionOptions, residual bool) {
	rows := x.Rows
	normed := buffers.normed.takeRows(t.precision, rows, t.width)
	if t.postNorm {
		kernel.Convert(normed, x)
	} else {
		b.norm1.apply(normed, x)
	}
	qkv, attended := buffers.wide.takeTwo(t.precision, rows, 3*t.width, t.width)
	b.qkv.apply(qkv, normed, kernel.Epilogue{})
	q, k, v := qkv.Slice(0, rows, 0, t.width), qkv.Slice(0, rows, t.width, 2*t.width), qkv.Slice(0, rows, 2*t.width, 3*t.width)
	if s.rope != nil {
		s.rope.rotate(q, s, t.heads)
		s.rope.rotate(k, s, t.heads)
	}
	o.Heads, o.Causal, o.Offsets, o.Precision = t.heads, s.causal, s.offsets, t.precision
	kernel.Attention(attended, q, k, v, s.batch, o)
	b.out.apply(dst, attended, kernel.Epilogue{Scale: b.scale1.all(), Accumulate: residual})
	if t.postNorm {
		b.norm1.apply(dst, dst)
	}
}

// feedForward adds the MLP of a block to x, a band of rows at a time.
func (t *transformer) feedForward(b *block, x kernel.Mat, buffers *passScratch) {
	for first := 0; first < x.Rows; first += chunkRows {
		part := x.Slice(first, min(first+chunkRows, x.Rows), 0, t.width)
		normed := buffers.normed.takeRows(t.precision, part.Rows, t.width)
		if t.postNorm {
			kernel.Convert(normed, part)
		} else {
			b.norm2.apply(normed, part)
		}
		hidden, gate := buffers.wide.takeTwo(t.precision, part.Rows, t.hidden, t.gateWidth())
		b.fc1.apply(hidden, normed, kernel.Epilogue{Act: b.firstActivation()})
		if b.gated {
			b.gate.apply(gate, normed, kernel.Epilogue{Act: b.activation})
			multiply(hidden, gate)
		}
		b.fc2.apply(part, hidden, kernel.Epilogue{Scale: b.scale2.all(), Accumulate: true})
		if t.postNorm {
			b.norm2.apply(part, part)
		}
	}
}

// gateWidth is the width of the MLPs' gates, 0 where none of them has one.
func (t *transformer) gateWidth() int {
	if slices.ContainsFunc(t.blocks, func(b block) bool { return b.gated }) {
		return t.hidden
	}
	return 0
}

// firstActivation is the activation of fc1: in a gated MLP the gate has it.
func (b *block) firstActivation() kernel.Activation {
	if b.gated {
		return kernel.None
	}
	return b.activation
}

// multiply sets dst to dst * factor, element by element.
func multiply(dst, factor kernel.Mat) {
	kernel.Parallel(dst.Rows, func(_, i int) {
		if dst.F != nil {
			row := dst.Row(i)
			for c, v := range factor.Row(i) {
				row[c] *= v
			}
			return
		}
		row := dst.RowBF16(i)
		for c, v := range factor.RowBF16(i) {
			row[c] = kernel.Float32ToBF16(kernel.BF16ToFloat32(row[c]) * kernel.BF16ToFloat32(v))
		}
	})
}

// loader packs the layers of a transformer straight from the mapped tensors.
type loader struct {
	set       *weights.Set
	precision kernel.Precision
	err       error // the first one
	later     []layerToPack
	vectors   []*vector
}

func (l *loader) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *loader) has(name string) bool {
	_, ok := l.set.Get(name)
	return ok
}

// numbers reads a tensor of n numbers, whatever leading dimensions of 1 it has.
func (l *loader) numbers(name string, n int) []float32 {
	t, ok := l.flat(name, n)
	if !ok {
		return make([]float32, n)
	}
	return t.Float32()
}

// flat finds a tensor of n numbers.
func (l *loader) flat(name string, n int) (weights.Tensor, bool) {
	t, ok := l.set.Get(name)
	if !ok {
		l.fail(fmt.Errorf("weights %s: tensor %s is missing", l.set.Path(), name))
		return t, false
	}
	if t.Len() != n {
		l.fail(fmt.Errorf("weights %s: tensor %s has shape %v, expected %d numbers", l.set.Path(), name, t.Shape, n))
		return t, false
	}
	l.checkType(name, t)
	return t, true
}

// checkType refuses integers where weights are expected: what reads them would run and mean nothing.
func (l *loader) checkType(name string, t weights.Tensor) {
	if !t.DType.Floating() {
		l.fail(fmt.Errorf("weights %s: tensor %s has type %v, expected F32, F16, BF16 or F64", l.set.Path(), name, t.DType))
	}
}

func (l *loader) norm(name string, width int, eps float32) norm {
	return norm{l.needed(name+".weight", width), l.needed(name+".bias", width), eps}
}

// part is some rows of a linear layer: all of a tensor, or a range of its rows.
type part struct {
	tensor string
	bias   string
	first  int // row of the tensor
	rows   int
}

// linear packs a layer made of parts that stand below each other, each [rows, in].
func (l *loader) linear(in int, parts ...part) linear {
	out := 0
	tensors := make([]weights.Tensor, len(parts))
	for i, p := range parts {
		tensors[i] = l.matrix(p.tensor, in)
		if l.err == nil && tensors[i].Len() < (p.first+p.rows)*in {
			l.fail(fmt.Errorf("weights %s: tensor %s has shape %v, expected at least %d rows of %d",
				l.set.Path(), p.tensor, tensors[i].Shape, p.first+p.rows, in))
		}
		out += p.rows
	}
	result := linear{new(kernel.Weight), l.bias(out, parts)}
	if l.err != nil {
		return linear{}
	}
	l.later = append(l.later, layerToPack{result.weight, out, in, fmt.Sprint(parts), func() error {
		return packRows(result.weight, out, in, l.precision, parts, tensors)
	}})
	return result
}

// matrix finds a tensor whose rows have in numbers, over all dimensions behind the first.
func (l *loader) matrix(name string, in int) weights.Tensor {
	t, ok := l.set.Get(name)
	switch {
	case !ok:
		l.fail(fmt.Errorf("weights %s: tensor %s is missing", l.set.Path(), name))
	case len(t.Shape) < 2 || t.Shape[0] == 0 || t.Len()/t.Shape[0] != in:
		l.fail(fmt.Errorf("weights %s: tensor %s has shape %v, expected rows of %d", l.set.Path(), name, t.Shape, in))
	default:
		l.checkType(name, t)
	}
	return t
}

// layer is a whole linear layer by its name.
func (l *loader) layer(name string, in, out int) linear {
	return l.linear(in, part{name + ".weight", name + ".bias", 0, out})
}

// transposed packs a projection that is stored [in, out].
func (l *loader) transposed(name string, in, out int) linear {
	t, err := l.set.Need(name, in, out)
	if err != nil {
		l.fail(err)
		return linear{}
	}
	l.checkType(name, t)
	w := new(kernel.Weight)
	l.later = append(l.later, layerToPack{w, out, in, name + " transposed", func() error {
		w.Repack(kernel.FromFloat32(t.Float32(), in, out), true, l.precision)
		return nil
	}})
	return linear{weight: w}
}

// transformer loads the blocks that a configuration and a scheme describe.
func (l *loader) transformer(c transformerConfig, s scheme) *transformer {
	act, err := activation(c.Activation)
	if err != nil {
		l.fail(err)
	}
	t := &transformer{width: c.HiddenSize, heads: c.Heads, hidden: c.IntermediateSize, precision: l.precision}
	for i := range c.Layers {
		if l.err != nil {
			return t
		}
		t.blocks = append(t.blocks, l.block(c, s.at(i), act))
	}
	return t
}

func (l *loader) block(c transformerConfig, s scheme, act kernel.Activation) block {
	w, hidden := c.HiddenSize, c.IntermediateSize
	b := block{
		norm1: l.norm(s.norm1, w, c.NormEps), norm2: l.norm(s.norm2, w, c.NormEps),
		out:        l.layer(s.out, w, w),
		activation: act,
	}
	switch {
	case s.inProjection != "":
		b.qkv = l.linear(w, part{s.inProjection + "weight", s.inProjection + "bias", 0, 3 * w})
	case s.qkv != "":
		b.qkv = l.layer(s.qkv, w, 3*w)
		if name := s.qkv + ".bias_mask"; l.has(name) && b.qkv.bias != nil {
			if t, ok := l.flat(name, 3*w); ok {
				b.qkv.bias.then(name, func(bias []float32) error {
					mask := make([]float32, len(bias))
					err := t.CopyRange(mask, 0)
					applyBiasMask(bias, mask)
					return err
				})
			}
		}
	default:
		var parts []part
		for _, name := range []string{s.query, s.key, s.value} {
			parts = append(parts, part{name + ".weight", name + ".bias", 0, w})
		}
		b.qkv = l.linear(w, parts...)
	}
	if s.scale1 != "" {
		b.scale1, b.scale2 = l.optional(s.scale1, w), l.optional(s.scale2, w)
	}
	fc2 := s.fc2
	switch {
	case s.gateUp != "" && l.has(s.gateUp+".weight"):
		b.gated, b.activation = true, kernel.SiLU
		b.gate = l.linear(w, part{s.gateUp + ".weight", s.gateUp + ".bias", 0, hidden})
		b.fc1 = l.linear(w, part{s.gateUp + ".weight", s.gateUp + ".bias", hidden, hidden})
		fc2 = s.block + "mlp.weights_out"
		if !l.has(fc2 + ".weight") {
			fc2 = s.block + "mlp.w3"
		}
	case s.gate != "" && l.has(s.gate+".weight"):
		b.gated = true
		b.gate = l.layer(s.gate, w, hidden)
		b.fc1 = l.layer(s.fc1, w, hidden)
	default:
		b.fc1 = l.layer(s.fc1, w, hidden)
	}
	b.fc2 = l.layer(fc2, hidden, w)
	return b
}

// applyBiasMask puts EUPE's mask over a bias of queries, keys and values. The third of the keys is zero whatever the
// mask holds there, which may be NaN.
func applyBiasMask(bias, mask []float32) {
	third := len(bias) / 3
	for i := range bias {
		if i >= third && i < 2*third {
			bias[i] = 0
		} else {
			bias[i] *= mask[i]
		}
	}
}
