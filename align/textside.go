package align

import "github.com/pacl/pacl/internal/kernel"

// textSide holds the distinct texts of a batch in the shared space.
type textSide struct {
	distinct distinctTexts
	y        []float32  // [M, D_t] sentence vectors
	exact    []float32  // [M, D] unit text vectors in float32
	inverse  []float32  // [M] 1 / length before
	t        kernel.Mat // [M, D] unit text vectors as products read them
	half     []uint16
	full     []float32
	chunks   []*kernel.Weight // [D, chunk] each chunk of texts as right operand of C T
}

// textChunk is how many texts a tile has.
const textChunk = 256

func (s *textSide) forward(c Config, p *Parameters[float32], d distinctTexts, precision kernel.Precision) {
	s.distinct = d
	m := len(d.rows)
	s.exact, s.inverse = resize(s.exact, m*c.Width), resize(s.inverse, m)
	e := kernel.FromFloat32(s.exact, m, c.Width)
	if c.Text == TextNone {
		for i, row := range d.rows {
			copy(e.Row(i), row)
		}
	} else {
		s.y = resize(s.y, m*c.TextWidth)
		for i, row := range d.rows {
			copy(s.y[i*c.TextWidth:], row)
		}
		embedTexts(p.Text, kernel.FromFloat32(s.y, m, c.TextWidth), e)
	}
	for i := range m {
		s.inverse[i] = inverseLength(e.Row(i))
		kernel.Scale(e.Row(i), s.inverse[i], e.Row(i))
	}
	s.t = matrix(&s.half, &s.full, m, c.Width, precision)
	copyRows(s.t, e)
	if c.Pooling == PoolingMean {
		return
	}
	for k := 0; k*textChunk < m; k++ {
		chunk := e.Slice(k*textChunk, min(m, (k+1)*textChunk), 0, c.Width)
		if k == len(s.chunks) {
			s.chunks = append(s.chunks, new(kernel.Weight))
		}
		s.chunks[k].Repack(chunk, true, precision)
	}
}

// embedTexts applies the text embedder's linear layer, in float32: it is small and everything depends on it.
func embedTexts(l Linear[float32], y, e kernel.Mat) {
	weight := kernel.FromFloat32(l.Weight, l.Out, l.In)
	kernel.Gemm(e, 1, y, false, weight, true, false, kernel.Float32)
	for i := range e.Rows {
		kernel.Axpy(e.Row(i), 1, l.Bias)
	}
}

// backward sums the groups' gradients of the texts in a fixed order and takes them through the text embedder.
func (s *textSide) backward(c Config, groups []groupScratch, gradient *Parameters[float32]) {
	if c.Text != TextLinear {
		return
	}
	m := len(s.distinct.rows)
	total := groups[0].text
	for _, g := range groups[1:] {
		kernel.Axpy(total.F, 1, g.text.F)
	}
	for i := range m {
		row, unit := total.Row(i), s.exact[i*c.Width:(i+1)*c.Width]
		kernel.Axpy(row, -kernel.Dot(row, unit), unit)
		kernel.Scale(row, s.inverse[i], row)
		kernel.Axpy(gradient.Text.Bias, 1, row)
	}
	weight := kernel.FromFloat32(gradient.Text.Weight, c.Width, c.TextWidth)
	kernel.Gemm(weight, 1, total, true, kernel.FromFloat32(s.y, m, c.TextWidth), false, true, kernel.Float32)
}
