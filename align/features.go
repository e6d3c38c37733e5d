package align

import (
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// packedHead holds the vision embedder as products read it. Skip and fc2 are one layer over the token beside the
// rectified hidden layer: z = [Skip fc2] [x; h] + biases.
type packedHead struct {
	tokenWidth, hidden, width int

	fc1     *kernel.Weight // [Hidden, D_in]
	fc1Bias []float32
	merged  *kernel.Weight // [D, D_in + Hidden]
	bias    []float32      // [D] of skip and fc2
	fc2Back *kernel.Weight // [Hidden, D]: fc2 transposed, for the gradient of h
	joined  []float32      // [D, D_in + Hidden]
}

func (w *packedHead) pack(p *Parameters[float32], precision kernel.Precision, training bool) {
	w.tokenWidth, w.hidden, w.width = p.FC1.In, p.FC1.Out, p.FC2.Out
	if w.fc1 == nil {
		w.fc1 = kernel.NewWeight(w.hidden, w.tokenWidth, precision)
		w.merged = kernel.NewWeight(w.width, w.tokenWidth+w.hidden, precision)
		w.joined = make([]float32, w.width*(w.tokenWidth+w.hidden))
		w.bias = make([]float32, w.width)
	}
	w.fc1.Repack(kernel.FromFloat32(p.FC1.Weight, w.hidden, w.tokenWidth), false, precision)
	w.fc1Bias = p.FC1.Bias
	stride := w.tokenWidth + w.hidden
	for o := range w.width {
		row := w.joined[o*stride : (o+1)*stride]
		copy(row, p.Skip.Weight[o*w.tokenWidth:(o+1)*w.tokenWidth])
		copy(row[w.tokenWidth:], p.FC2.Weight[o*w.hidden:(o+1)*w.hidden])
		w.bias[o] = p.Skip.Bias[o] + p.FC2.Bias[o]
	}
	w.merged.Repack(kernel.FromFloat32(w.joined, w.width, stride), false, precision)
	if training {
		if w.fc2Back == nil {
			w.fc2Back = kernel.NewWeight(w.hidden, w.width, precision)
		}
		w.fc2Back.Repack(kernel.FromFloat32(p.FC2.Weight, w.width, w.hidden), true, precision)
	}
}

// embed fills the hidden half of features [rows, D_in + Hidden], whose other half holds the tokens, and writes the unit
// vectors u [rows, D] and the inverse lengths they had; z is scratch [rows, D].
func (w *packedHead) embed(ws *kernel.Workspace, features, u, z kernel.Mat, inverse []float32) {
	rows := features.Rows
	x, h := features.Slice(0, rows, 0, w.tokenWidth), features.Slice(0, rows, w.tokenWidth, w.tokenWidth+w.hidden)
	ws.Linear(h, x, w.fc1, kernel.Epilogue{Bias: w.fc1Bias, Act: kernel.ReLU})
	ws.Linear(z, features, w.merged, kernel.Epilogue{Bias: w.bias})
	for i := range rows {
		row := z.Row(i)
		inverse[i] = inverseLength(row)
		kernel.Scale(row, inverse[i], row)
		if u.H != nil {
			kernel.ToBF16(u.RowBF16(i), row)
		} else {
			copy(u.Row(i), row)
		}
	}
}

// inverseLength returns 1/|x|, and 0 for a vector of zeros, which has no direction.
func inverseLength(x []float32) float32 {
	squares := kernel.Dot(x, x)
	if squares == 0 {
		return 0
	}
	return float32(1 / math.Sqrt(float64(squares)))
}

// copyRows copies a matrix into one of another format.
func copyRows(dst, src kernel.Mat) {
	for i := range src.Rows {
		switch {
		case dst.H != nil && src.H != nil:
			copy(dst.RowBF16(i), src.RowBF16(i))
		case dst.H != nil:
			kernel.ToBF16(dst.RowBF16(i), src.Row(i))
		case src.H != nil:
			kernel.FromBF16(dst.Row(i), src.RowBF16(i))
		default:
			copy(dst.Row(i), src.Row(i))
		}
	}
}

// slab holds what the forward pass made of the images of a slab, and on the way back their gradients.
type slab struct {
	rows     int
	features kernel.Mat // [rows, D_in + Hidden] tokens and rectified hidden layer
	u        kernel.Mat // [rows, D] unit patch vectors
	inverse  []float32  // [rows] 1/|z|
	memory   [2][]uint16
	memory32 [2][]float32
}

func (s *slab) shape(rows, features, width int, p kernel.Precision) {
	s.rows = rows
	s.inverse = resize(s.inverse, rows)
	s.features = matrix(&s.memory[0], &s.memory32[0], rows, features, p)
	s.u = matrix(&s.memory[1], &s.memory32[1], rows, width, p)
}

// matrix shapes one of two buffers, whichever the precision asks for.
func matrix(half *[]uint16, full *[]float32, rows, cols int, p kernel.Precision) kernel.Mat {
	stride := spreadStride(cols, elementSize(p))
	if p == kernel.BFloat16 {
		*half = resize(*half, rows*stride)
		return kernel.Mat{Rows: rows, Cols: cols, Stride: stride, H: *half}
	}
	*full = resize(*full, rows*stride)
	return kernel.Mat{Rows: rows, Cols: cols, Stride: stride, F: *full}
}

// spreadStride returns a stride for rows of so many numbers that keeps neighbouring rows out of the same cache sets,
// which repeat every 4096 bytes: the engine multiplies such rows where they are and copies others first.
func spreadStride(cols, size int) int {
	const apart = 192 // bytes
	for stride := cols; ; stride += 32 / size {
		if rest := stride * size % 1024; cols*size < apart || rest >= apart && rest <= 1024-apart {
			return stride
		}
	}
}

// groupScratch is what one group works with and what it sums up over the slabs.
type groupScratch struct {
	z          []float32  // [group rows, D], and later du
	text       kernel.Mat // [M, D] gradient of the texts
	textMemory []float32
	biasZ      []float32 // [D]
	biasH      []float32 // [Hidden]
	logitScale float64
}

func (g *groupScratch) reset(texts, width int) {
	g.textMemory = resize(g.textMemory, texts*width)
	clear(g.textMemory)
	g.text = kernel.FromFloat32(g.textMemory, texts, width)
	g.logitScale = 0
	clear(g.biasZ)
	clear(g.biasH)
}

func (g *groupScratch) scratch(rows, width int) kernel.Mat {
	g.z = resize(g.z, rows*width)
	return kernel.FromFloat32(g.z, rows, width)
}

// forward embeds the images of slab n.
func (o *Objective) forward(s *slab, l layout, n int, batch Batch) {
	first, last := l.slab(n)
	stride := o.config.TokenWidth + o.config.Hidden
	s.shape((last-first)*l.patches, stride, o.config.Width, o.precision)
	kernel.Parallel(groupCount, func(_, g int) {
		from, to := l.group(n, g)
		if from == to {
			return
		}
		for i := from; i < to; i++ {
			row := (i - first) * l.patches
			copyRows(s.features.Slice(row, row+l.patches, 0, o.config.TokenWidth), batch.Tokens(i))
		}
		r0, r1 := (from-first)*l.patches, (to-first)*l.patches
		ws := kernel.GetWorkspace()
		defer ws.Release()
		o.weights.embed(ws, s.features.Slice(r0, r1, 0, stride), s.u.Slice(r0, r1, 0, o.config.Width),
			o.groups[g].scratch(r1-r0, o.config.Width), s.inverse[r0:r1])
	})
}

// headGradient carries the gradient of the patch vectors through the head.
type headGradient struct {
	dz       kernel.Mat // [slab rows, D]
	dh       kernel.Mat // [slab rows, Hidden]
	memory   [2][]uint16
	memory32 [2][]float32
	merged   kernel.Mat // [D, D_in + Hidden] gradient of Skip and fc2
	full     []float32
	packed   kernel.Weight // features of a slab as right operand
}

func (h *headGradient) reset(c Config) {
	h.full = resize(h.full, c.Width*(c.TokenWidth+c.Hidden))
	clear(h.full)
	h.merged = kernel.FromFloat32(h.full, c.Width, c.TokenWidth+c.Hidden)
}

func (h *headGradient) shape(rows, width, hidden int, p kernel.Precision) {
	h.dz = matrix(&h.memory[0], &h.memory32[0], rows, width, p)
	h.dh = matrix(&h.memory[1], &h.memory32[1], rows, hidden, p)
}

// group takes du, the gradient of some rows' unit vectors, through the normalisation and fc2 and adds to the biases'
// gradients. r0 is the first row within the slab.
func (h *headGradient) group(ws *kernel.Workspace, w *packedHead, s *slab, r0 int, du kernel.Mat, g *groupScratch) {
	rows, width := du.Rows, du.Cols
	g.biasZ, g.biasH = resize(g.biasZ, width), resize(g.biasH, w.hidden)
	unit := make([]float32, max(width, w.hidden))
	dz, dh := h.dz.Slice(r0, r0+rows, 0, width), h.dh.Slice(r0, r0+rows, 0, w.hidden)
	for i := range rows {
		row := du.Row(i)
		u := rowFloat32(s.u, r0+i, unit[:width])
		kernel.Axpy(row, -kernel.Dot(row, u), u)
		kernel.Scale(row, s.inverse[r0+i], row)
		kernel.Axpy(g.biasZ, 1, row)
	}
	copyRows(dz, du)
	ws.Linear(dh, dz, w.fc2Back, kernel.Epilogue{})
	for i := range rows {
		if dh.H != nil {
			at := (r0+i)*s.features.Stride + w.tokenWidth
			maskBF16(dh.RowBF16(i), s.features.H[at:at+w.hidden])
		} else {
			at := (r0+i)*s.features.Stride + w.tokenWidth
			maskFloat32(dh.Row(i), s.features.F[at:at+w.hidden])
		}
		kernel.Axpy(g.biasH, 1, rowFloat32(dh, i, unit[:w.hidden]))
	}
}

// rowFloat32 returns a row as float32 numbers, converted into buffer where it is bfloat16.
func rowFloat32(m kernel.Mat, i int, buffer []float32) []float32 {
	if m.H == nil {
		return m.Row(i)
	}
	kernel.FromBF16(buffer, m.RowBF16(i))
	return buffer
}

// maskFloat32 clears the gradient where the rectifier was closed.
func maskFloat32(gradient, rectified []float32) {
	for i, h := range rectified {
		if h == 0 {
			gradient[i] = 0
		}
	}
}

// maskBF16 is the same, four numbers at once and without a branch: half of the units are closed, in no order that a
// processor could foresee.
func maskBF16(gradient, rectified []uint16) {
	gradient = gradient[:len(rectified)]
	i := 0
	for ; i+4 <= len(rectified); i += 4 {
		h := (*[4]uint16)(rectified[i:])
		g := (*[4]uint16)(gradient[i:])
		four := uint64(h[0]) | uint64(h[1])<<16 | uint64(h[2])<<32 | uint64(h[3])<<48
		const magnitude, top = 0x7fff7fff7fff7fff, 0x8000800080008000
		// A lane's top bit ends up set where its magnitude is not zero; times 0xffff it fills the lane.
		open := ((four&magnitude + magnitude) & top >> 15) * 0xffff
		g[0] &= uint16(open)
		g[1] &= uint16(open >> 16)
		g[2] &= uint16(open >> 32)
		g[3] &= uint16(open >> 48)
	}
	for ; i < len(rectified); i++ {
		if rectified[i]&0x7fff == 0 {
			gradient[i] = 0
		}
	}
}

// add adds a slab's part to the gradients of the matrices.
func (h *headGradient) add(w *packedHead, s *slab, gradient *Parameters[float32], p kernel.Precision) {
	fc1 := kernel.FromFloat32(gradient.FC1.Weight, w.hidden, w.tokenWidth)
	rows := packedNumbers / max(1, s.features.Cols)
	rows = max(2, rows-rows%2) // pairs of bfloat16 stay together
	for from := 0; from < s.rows; from += rows {
		to := min(s.rows, from+rows)
		features := s.features.Slice(from, to, 0, s.features.Cols)
		dz, dh := h.dz.Slice(from, to, 0, h.dz.Cols), h.dh.Slice(from, to, 0, h.dh.Cols)
		if w.tokenWidth%panelColumns != 0 {
			kernel.Gemm(h.merged, 1, dz, true, features, false, true, p)
			kernel.Gemm(fc1, 1, dh, true, features.Slice(0, to-from, 0, w.tokenWidth), false, true, p)
			continue
		}
		// The tokens are the first columns of the features: packed once, they serve both products.
		h.packed.Repack(features, true, p)
		kernel.Product(h.merged, 1, dz, true, &h.packed, true)
		kernel.Product(fc1, 1, dh, true, h.packed.First(w.tokenWidth), true)
	}
}

const (
	// packedNumbers bounds what is packed of a slab's features at once.
	packedNumbers = 1 << 25
	// panelColumns is what the width of tokens must be a multiple of for them to be a part of packed features.
	panelColumns = 32
)

// finish hands out the gradients that were summed up in other shapes.
func (h *headGradient) finish(w *packedHead, groups []groupScratch, gradient *Parameters[float32]) {
	for o := range w.width {
		row := h.merged.Row(o)
		copy(gradient.Skip.Weight[o*w.tokenWidth:(o+1)*w.tokenWidth], row)
		copy(gradient.FC2.Weight[o*w.hidden:(o+1)*w.hidden], row[w.tokenWidth:])
	}
	for i := range groups {
		g := &groups[i]
		if len(g.biasZ) == 0 {
			continue
		}
		kernel.Axpy(gradient.FC2.Bias, 1, g.biasZ)
		kernel.Axpy(gradient.FC1.Bias, 1, g.biasH)
	}
	copy(gradient.Skip.Bias, gradient.FC2.Bias)
}
