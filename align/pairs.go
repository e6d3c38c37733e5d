package align

import (
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// pairTile is one worker's memory for the pairs of a block of images and a chunk of texts. R = images T patches.
//
// What the pairs need beside the cosines, G a = U v, is made in one of two ways: by the Gram matrix G = U Uᵀ, for some
// images at once, or, where the texts are few, by the pooled vectors v themselves, image by image.
type pairTile struct {
	pooling bool          // by pooled vectors
	s, ga   kernel.Mat    // [chunk, R] cosines; G a, the cosines of patches with the pooled vector (times r)
	a, c, f kernel.Mat    // [chunk, R] attention; weights of the texts in du; of the pooled vectors
	right   kernel.Weight // [R, D] the patches as right operand of T Uᵀ and V Uᵀ
	back    kernel.Weight // [D, R] the patches as right operand of C U and A U

	v kernel.Mat // [chunk, D] pooled vectors of one image

	gram     []kernel.Weight // per image [T, T]
	gramRows kernel.Mat      // [T, T]
	e        []kernel.Mat    // per image [T, T]: Aᵀ diag(g phi / r²) A

	du               kernel.Mat // [R, D]
	attention        []float32  // [T] one row of a
	combined, scaled []float32  // [T] one row of c and of f
	slope            []float32  // [chunk] dL/dphi of one image

	half           [4][]uint16  // memory of a, c, f, v
	full           [4][]float32 // the same in float32
	s32, ga32, g32 []float32    // memory of s, ga, gramRows
	e32            [][]float32  // memory of e
	du32           []float32    // memory of du
}

// poolsBy says whether pooled vectors are cheaper than Gram matrices: both passes take 5 T M D by the former and
// 3 T T (D + M) by the latter.
func poolsBy(texts, patches, width int) bool {
	return 5*texts*width < 3*patches*(width+texts)
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

// shape prepares the tile for a block.
func (t *pairTile) shape(images, patches, width, chunk int, p kernel.Precision, training bool) {
	rows := images * patches
	t.s32, t.ga32 = resize(t.s32, chunk*rows), resize(t.ga32, chunk*rows)
	t.s, t.ga = kernel.FromFloat32(t.s32, chunk, rows), kernel.FromFloat32(t.ga32, chunk, rows)
	t.a = matrix(&t.half[0], &t.full[0], chunk, rows, p)
	t.attention = resize(t.attention, patches)
	if t.pooling {
		t.v = matrix(&t.half[3], &t.full[3], chunk, width, p)
	} else {
		t.g32 = resize(t.g32, patches*patches)
		t.gramRows = kernel.FromFloat32(t.g32, patches, patches)
		for len(t.gram) < images {
			t.gram = append(t.gram, kernel.Weight{})
			t.e32 = append(t.e32, nil)
			t.e = append(t.e, kernel.Mat{})
		}
	}
	if !training {
		return
	}
	t.c = matrix(&t.half[1], &t.full[1], chunk, rows, p)
	t.f = matrix(&t.half[2], &t.full[2], chunk, rows, p)
	t.combined, t.scaled, t.slope = resize(t.combined, patches), resize(t.scaled, patches), resize(t.slope, chunk)
	if t.pooling {
		return
	}
	for n := range images {
		t.e32[n] = resize(t.e32[n], patches*patches)
		clear(t.e32[n])
		t.e[n] = kernel.FromFloat32(t.e32[n], patches, patches)
	}
}

// load packs the patches u [R, D] of a block and what G a takes.
func (t *pairTile) load(ws *kernel.Workspace, u kernel.Mat, images, patches int, p kernel.Precision, texts bool) {
	t.right.Repack(u, false, p)
	if texts || t.pooling {
		t.back.Repack(u, true, p)
	}
	if t.pooling {
		return
	}
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
	if t.pooling {
		v := t.v.Slice(0, m, 0, texts.Cols)
		ws.Linear(v, t.a.Slice(0, m, 0, rows), &t.back, kernel.Epilogue{})
		ws.Linear(t.ga.Slice(0, m, 0, rows), v, &t.right, kernel.Epilogue{})
		return
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
		t := o.takeTile()
		defer o.returnTile(t)
		o.blocks(t, first, last, l.patches, false, func(from, to int) {
			o.compare(ws, t, u.Slice((from-first)*l.patches, (to-first)*l.patches, 0, o.config.Width), from, to, l.patches)
		})
	})
}

// blocks shapes the tile for the images first to last, all at once or one by one, and calls f for each block of them.
func (o *Objective) blocks(t *pairTile, first, last, patches int, training bool, f func(from, to int)) {
	t.pooling = poolsBy(o.pairs.m, patches, o.config.Width)
	size := last - first
	if t.pooling {
		size = 1
	}
	for from := first; from < last; from += size {
		t.shape(size, patches, o.config.Width, min(textChunk, o.pairs.m), o.precision, training)
		f(from, from+size)
	}
}

// compare fills the rows of phi of the images first to last, whose patches are u.
func (o *Objective) compare(ws *kernel.Workspace, t *pairTile, u kernel.Mat, first, last, patches int) {
	images, texts := last-first, o.pairs.m
	t.load(ws, u, images, patches, o.precision, false)
	for from := 0; from < texts; from += textChunk {
		to := min(texts, from+textChunk)
		t.attend(ws, o.texts.t.Slice(from, to, 0, u.Cols), images, patches, float32(o.config.TauPatch))
		for j := range to - from {
			for k := range images {
				a := t.attentionRow(j, k, patches)
				along := kernel.Dot(a, t.s.Row(j)[k*patches:(k+1)*patches])
				squares := kernel.Dot(a, t.ga.Row(j)[k*patches:(k+1)*patches])
				o.pairs.phi[(first+k)*texts+from+j] = float32(float64(along) / math.Sqrt(float64(squares)))
			}
		}
	}
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
		t.du32 = resize(t.du32, u.Rows*u.Cols)
		clear(t.du32)
		t.du = kernel.FromFloat32(t.du32, u.Rows, u.Cols)
		if o.config.Pooling == PoolingMean {
			o.meanBackward(t, &o.groups[g], first, last, l.patches)
		} else {
			o.blocks(t, first, last, l.patches, true, func(from, to int) {
				r0, r1 := (from-first)*l.patches, (to-first)*l.patches
				o.pairBackward(ws, t, u.Slice(r0, r1, 0, u.Cols), t.du.Slice(r0, r1, 0, u.Cols), &o.groups[g], from, to, l.patches)
			})
		}
		o.head.group(ws, &o.weights, s, r0, t.du, &o.groups[g])
	})
}

// pairBackward adds to du for the images first to last, whose patches are u.
func (o *Objective) pairBackward(ws *kernel.Workspace, t *pairTile, u, du kernel.Mat, g *groupScratch, first, last, patches int) {
	images, texts, rows, width := last-first, o.pairs.m, u.Rows, u.Cols
	tau := float32(o.config.TauPatch)
	trainsText := o.config.Text == TextLinear
	t.load(ws, u, images, patches, o.precision, trainsText)
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
		ws.Product(du, 1, c, true, o.texts.chunks[from/textChunk], true)
		if trainsText {
			ws.Product(g.text.Slice(from, to, 0, width), 1, c, false, &t.back, true)
		}
		if t.pooling {
			ws.Gemm(du, -1, t.f.Slice(0, m, 0, rows), true, t.v.Slice(0, m, 0, width), false, true, o.precision)
			continue
		}
		for k := range images {
			f, a := t.f.Slice(0, m, k*patches, (k+1)*patches), t.a.Slice(0, m, k*patches, (k+1)*patches)
			ws.Gemm(t.e[k], 1, f, true, a, false, true, o.precision)
		}
	}
	if t.pooling {
		return
	}
	for k := range images {
		own := u.Slice(k*patches, (k+1)*patches, 0, width)
		ws.Gemm(du.Slice(k*patches, (k+1)*patches, 0, width), -1, t.e[k], false, own, false, true, o.precision)
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
