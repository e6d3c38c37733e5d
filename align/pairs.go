package align

import (
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// pairTile is one worker's memory for the pairs of a group of images and a chunk of texts. R = images T patches.
type pairTile struct {
	s, ga            kernel.Mat      // [chunk, R] cosines; G a, the cosines of patches with the pooled vector (times r)
	a, c, f          kernel.Mat      // [chunk, R] attention; weights of the texts in du; of the pooled vectors
	right            kernel.Weight   // [R, D] the patches as right operand of T Uᵀ
	back             kernel.Weight   // [D, R] the patches as right operand of C U
	gram             []kernel.Weight // per image [T, T]
	gramRows         kernel.Mat      // [T, T]
	e                []kernel.Mat    // per image [T, T]: Aᵀ diag(g phi / r²) A
	du               kernel.Mat      // [R, D]
	attention        []float32       // [T] one row of a
	combined, scaled []float32       // [T] one row of c and of f
	slope            []float32       // [chunk] dL/dphi of one image
	half             [3][]uint16     // memory of a, c, f
	full             [3][]float32    // the same in float32
	s32, ga32, g32   []float32       // memory of s, ga, gramRows
	e32              [][]float32     // memory of e
	du32             []float32       // memory of du
	squares          []float32       // [chunk, images] |v|²
}

func (o *Objective) takeTile() *pairTile {
	select {
	case t := <-o.tiles:
		return t
	default:
		return new(pairTile)
	}
}

func (o *Objective) returnTile(t *pairTile) {
	select {
	case o.tiles <- t:
	default:
	}
}

// shape prepares the tile for a group.
func (t *pairTile) shape(images, patches, width, chunk int, p kernel.Precision, training bool) {
	rows := images * patches
	t.s32, t.ga32, t.g32 = resize(t.s32, chunk*rows), resize(t.ga32, chunk*rows), resize(t.g32, patches*patches)
	t.s, t.ga = kernel.FromFloat32(t.s32, chunk, rows), kernel.FromFloat32(t.ga32, chunk, rows)
	t.gramRows = kernel.FromFloat32(t.g32, patches, patches)
	t.a = matrix(&t.half[0], &t.full[0], chunk, rows, p)
	t.attention = resize(t.attention, patches)
	t.squares = resize(t.squares, chunk*images)
	for len(t.gram) < images {
		t.gram = append(t.gram, kernel.Weight{})
		t.e32 = append(t.e32, nil)
		t.e = append(t.e, kernel.Mat{})
	}
	if !training {
		return
	}
	t.c = matrix(&t.half[1], &t.full[1], chunk, rows, p)
	t.f = matrix(&t.half[2], &t.full[2], chunk, rows, p)
	t.combined, t.scaled, t.slope = resize(t.combined, patches), resize(t.scaled, patches), resize(t.slope, chunk)
	t.du32 = resize(t.du32, rows*width)
	clear(t.du32)
	t.du = kernel.FromFloat32(t.du32, rows, width)
	for n := range images {
		t.e32[n] = resize(t.e32[n], patches*patches)
		clear(t.e32[n])
		t.e[n] = kernel.FromFloat32(t.e32[n], patches, patches)
	}
}

// load packs the patches u [R, D] of a group and the Gram matrices of its images.
func (t *pairTile) load(ws *kernel.Workspace, u kernel.Mat, images, patches int, p kernel.Precision) {
	t.right.Repack(u, false, p)
	for n := range images {
		own := u.Slice(n*patches, (n+1)*patches, 0, u.Cols)
		ws.Gemm(t.gramRows, 1, own, false, own, true, false, p)
		t.gram[n].Repack(t.gramRows, false, p)
	}
}

// attend fills the rows of the tile for some texts [m, D]: cosines, attention and G a.
func (t *pairTile) attend(ws *kernel.Workspace, texts kernel.Mat, images, patches int, tau float32) {
	m, rows := texts.Rows, images*patches
	ws.Linear(t.s.Slice(0, m, 0, rows), texts, &t.right, kernel.Epilogue{})
	for j := range m {
		for n := range images {
			cosines := t.s.Row(j)[n*patches : (n+1)*patches]
			kernel.SoftmaxScaled(t.attention, cosines, 1/tau)
			if at := j*t.a.Stride + n*patches; t.a.H != nil {
				kernel.ToBF16(t.a.H[at:at+patches], t.attention)
			} else {
				copy(t.a.F[at:at+patches], t.attention)
			}
		}
	}
	for n := range images {
		a := t.a.Slice(0, m, n*patches, (n+1)*patches)
		ws.Linear(t.ga.Slice(0, m, n*patches, (n+1)*patches), a, &t.gram[n], kernel.Epilogue{})
	}
}

// attentionRow returns the attention of text j on image n in float32, as it was rounded.
func (t *pairTile) attentionRow(j, n, patches int) []float32 {
	at := j*t.a.Stride + n*patches
	if t.a.H == nil {
		return t.a.F[at : at+patches]
	}
	kernel.FromBF16(t.attention, t.a.H[at:at+patches])
	return t.attention
}

// compatibilities fills the rows of phi that belong to the images of slab n.
func (o *Objective) compatibilities(s *slab, l layout, n int) {
	slabFirst, _ := l.slab(n)
	kernel.Parallel(groupCount, func(_, g int) {
		first, last := l.group(n, g)
		if first == last {
			return
		}
		ws := kernel.GetWorkspace()
		defer ws.Release()
		r0, r1 := (first-slabFirst)*l.patches, (last-slabFirst)*l.patches
		u := s.u.Slice(r0, r1, 0, o.config.Width)
		if o.config.Pooling == PoolingMean {
			o.compareMeans(u, first, last, l.patches)
			return
		}
		images, texts := last-first, o.pairs.m
		t := o.takeTile()
		defer o.returnTile(t)
		t.shape(images, l.patches, o.config.Width, min(textChunk, texts), o.precision, false)
		t.load(ws, u, images, l.patches, o.precision)
		for from := 0; from < texts; from += textChunk {
			to := min(texts, from+textChunk)
			t.attend(ws, o.texts.t.Slice(from, to, 0, o.config.Width), images, l.patches, float32(o.config.TauPatch))
			for j := range to - from {
				for k := range images {
					a := t.attentionRow(j, k, l.patches)
					dotText := kernel.Dot(a, t.s.Row(j)[k*l.patches:(k+1)*l.patches])
					squares := kernel.Dot(a, t.ga.Row(j)[k*l.patches:(k+1)*l.patches])
					o.pairs.phi[(first+k)*texts+from+j] = float32(float64(dotText) / math.Sqrt(float64(squares)))
				}
			}
		}
	})
}

// backward fills the gradients of the head's outputs and hidden layer for the images of slab n, and adds to the groups'
// sums.
func (o *Objective) backward(s *slab, l layout, n int) {
	slabFirst, slabLast := l.slab(n)
	o.head.shape((slabLast-slabFirst)*l.patches, o.config.Width, o.config.Hidden, o.precision)
	kernel.Parallel(groupCount, func(_, g int) {
		first, last := l.group(n, g)
		if first == last {
			return
		}
		ws := kernel.GetWorkspace()
		defer ws.Release()
		r0, r1 := (first-slabFirst)*l.patches, (last-slabFirst)*l.patches
		u := s.u.Slice(r0, r1, 0, o.config.Width)
		t := o.takeTile()
		defer o.returnTile(t)
		t.shape(last-first, l.patches, o.config.Width, min(textChunk, o.pairs.m), o.precision, true)
		if o.config.Pooling == PoolingMean {
			o.meanBackward(t, &o.groups[g], first, last, l.patches)
		} else {
			o.pairBackward(ws, t, u, &o.groups[g], first, last, l.patches)
		}
		o.head.group(ws, &o.weights, s, r0, t.du, &o.groups[g])
	})
}

// pairBackward fills du for the images first to last.
func (o *Objective) pairBackward(ws *kernel.Workspace, t *pairTile, u kernel.Mat, g *groupScratch, first, last, patches int) {
	images, texts, rows, width := last-first, o.pairs.m, u.Rows, u.Cols
	tau := float32(o.config.TauPatch)
	t.load(ws, u, images, patches, o.precision)
	trainsText := o.config.Text == TextLinear
	if trainsText {
		t.back.Repack(u, true, o.precision)
	}
	for from := 0; from < texts; from += textChunk {
		to := min(texts, from+textChunk)
		m := to - from
		t.attend(ws, o.texts.t.Slice(from, to, 0, width), images, patches, tau)
		for k := range images {
			o.pairs.gradient(t.slope[:m], first+k, from, to)
			phi := o.pairs.phi[(first+k)*texts+from : (first+k)*texts+to]
			for j, slope := range t.slope[:m] {
				g.logitScale += float64(slope) * float64(phi[j])
				t.combine(j, k, patches, slope, phi[j], tau)
			}
		}
		c := t.c.Slice(0, m, 0, rows)
		ws.Product(t.du, 1, c, true, o.texts.chunks[from/textChunk], true)
		if trainsText {
			ws.Product(g.text.Slice(from, to, 0, width), 1, c, false, &t.back, true)
		}
		for k := range images {
			f, a := t.f.Slice(0, m, k*patches, (k+1)*patches), t.a.Slice(0, m, k*patches, (k+1)*patches)
			ws.Gemm(t.e[k], 1, f, true, a, false, true, o.precision)
		}
	}
	for k := range images {
		own := u.Slice(k*patches, (k+1)*patches, 0, width)
		ws.Gemm(t.du.Slice(k*patches, (k+1)*patches, 0, width), -1, t.e[k], false, own, false, true, o.precision)
	}
}

// combine writes the rows of text j and image k:
//
//	c = g/r a (1 + (s - phi/r G a) / tau)    f = g phi / r² a
func (t *pairTile) combine(j, k, patches int, slope, phi, tau float32) {
	a := t.attentionRow(j, k, patches)
	s := t.s.Row(j)[k*patches : (k+1)*patches]
	ga := t.ga.Row(j)[k*patches : (k+1)*patches]
	r := float32(math.Sqrt(float64(kernel.Dot(a, ga))))
	outer, pull, share := slope/r, phi/(r*tau), slope*phi/(r*r)
	c, f := t.combined[:len(a)], t.scaled[:len(a)]
	s, ga = s[:len(a)], ga[:len(a)]
	inverse := 1 / tau
	for i, v := range a {
		c[i] = outer * v * (1 + inverse*s[i] - pull*ga[i])
		f[i] = share * v
	}
	at := j*t.c.Stride + k*patches
	if t.c.H != nil {
		kernel.ToBF16(t.c.H[at:at+patches], c)
		kernel.ToBF16(t.f.H[at:at+patches], f)
		return
	}
	copy(t.c.F[at:at+patches], c)
	copy(t.f.F[at:at+patches], f)
}
