package pretrain

import (
	"github.com/pacl/pacl/internal/kernel"
)

// lanes is into how many parts the work of a step is cut. Each part is done in order on one goroutine and the parts are
// added in order, so that a step gives the same bits on any number of processors.
const lanes = 8

// batch is the machinery of one step: the exact loss and gradient of any number of examples by gradient caching. The
// first pass computes all embeddings in micro-batches, the loss gives their gradient, and the second pass carries it
// through the encoders.
type batch[T real] struct {
	m     *dual
	lanes [lanes]lane[T]
	// kept are the passes of every micro-batch where activations are kept.
	keptImages []imagePass[T]
	keptTexts  []textPass[T]

	image, text, patches                      mat[T] // [B, D], [B, D], [B*N, D]: unit rows
	dImage, dText, dPatches                   mat[T]
	imageLengths, textLengths, patchesLengths []T
	placement                                 placement
	cells                                     int    // patches of a picture
	phi, pairPhi                              mat[T] // [B, B]
	gradient                                  []T
}

// lane is what one part of the work needs for itself.
type lane[T real] struct {
	engine   engine[T]
	images   imagePass[T]
	texts    textPass[T]
	pair     pairScratch[T]
	gradient []T
	dText    []T // [B, D]
	again    []T // where embeddings go that are computed a second time
}

// scores are what a step reports.
type scores struct {
	Loss        float64 `json:"loss"`
	CLIPLoss    float64 `json:"clip_loss,omitempty"`
	PairLoss    float64 `json:"pacl_loss,omitempty"`
	ImageToText float64 `json:"image_to_text"`
	TextToImage float64 `json:"text_to_image"`
}

func newBatch[T real](m *dual, newEngine func() engine[T]) *batch[T] {
	b := &batch[T]{m: m}
	for i := range b.lanes {
		b.lanes[i].engine = newEngine()
		b.lanes[i].gradient = make([]T, m.layout.size)
	}
	b.gradient = make([]T, m.layout.size)
	return b
}

// run computes loss and gradient of pixels [B, 3, S, S] and texts (token ids); the gradient is in b.gradient. placement says
// where small pictures lie.
func (b *batch[T]) run(p, pixels []T, pl placement, ids [][]int32) scores {
	c := b.m.config
	side := pl.size / c.Vision.PatchSize
	b.placement, b.cells = pl, side*side
	if c.locked() {
		b.cells = c.LockedPatches
	}
	count, n, d, micro := len(ids), b.cells, c.Projection, c.Micro
	micros := (count + micro - 1) / micro
	for _, m := range []*mat[T]{&b.image, &b.text, &b.dImage, &b.dText} {
		*m = matrix(grow(&m.data, count*d), count, d)
	}
	if c.usesPACL() {
		for _, m := range []*mat[T]{&b.patches, &b.dPatches} {
			*m = matrix(grow(&m.data, count*n*d), count*n, d)
		}
	}
	if !c.Recompute && len(b.keptImages) < micros {
		b.keptImages, b.keptTexts = make([]imagePass[T], micros), make([]textPass[T], micros)
	}
	b.eachMicro(micros, func(l *lane[T], i int) {
		b.forward(l, i, p, pixels, ids, false)
	})
	if b.usesClass() {
		unitRows(b.image, b.image, grow(&b.imageLengths, count))
	}
	unitRows(b.text, b.text, grow(&b.textLengths, count))
	clear(b.dImage.data)
	clear(b.dText.data)
	clear(b.gradient)
	working := b.lanes[:min(lanes, micros)] // those that get a micro-batch
	for i := range working {
		clear(working[i].gradient)
	}
	s := b.loss(p, groups(ids))
	if b.usesClass() {
		unitRowsGrad(b.dImage, b.image, b.imageLengths)
	}
	unitRowsGrad(b.dText, b.text, b.textLengths)
	b.eachMicro(micros, func(l *lane[T], i int) {
		images, texts := b.passes(l, i)
		if c.Recompute {
			b.forward(l, i, p, pixels, ids, true)
		}
		from, to := i*micro, min(count, (i+1)*micro)
		var dPatches mat[T]
		if c.usesPACL() {
			dPatches = b.dPatches.slice(from*n, to*n, 0, d)
		}
		if c.locked() {
			lockedImagesGrad(l.engine, b.m, p, l.gradient, images, dPatches)
		} else {
			var dImages mat[T]
			if b.usesClass() {
				dImages = b.dImage.slice(from, to, 0, d)
			}
			imagesGrad(l.engine, b.m, p, l.gradient, images, dImages, dPatches)
		}
		textsGrad(l.engine, b.m, p, l.gradient, texts, b.dText.slice(from, to, 0, d))
	})
	e := b.lanes[0].engine // adding needs none of its memory
	const piece = 1 << 15
	kernel.Parallel((len(b.gradient)+piece-1)/piece, func(_, i int) {
		from, to := i*piece, min(len(b.gradient), (i+1)*piece)
		for l := range working {
			e.add(b.gradient[from:to], working[l].gradient[from:to])
		}
	})
	return s
}

// usesClass says whether each picture has a class token, by which it is compared with texts.
func (b *batch[T]) usesClass() bool { return b.placement.together == 1 && !b.m.config.locked() }

// eachMicro gives micro-batch i to lane i mod lanes.
func (b *batch[T]) eachMicro(micros int, f func(l *lane[T], i int)) {
	kernel.Parallel(lanes, func(_, lane int) {
		for i := lane; i < micros; i += lanes {
			f(&b.lanes[lane], i)
		}
	})
}

func (b *batch[T]) passes(l *lane[T], i int) (*imagePass[T], *textPass[T]) {
	if b.m.config.Recompute {
		return &l.images, &l.texts
	}
	return &b.keptImages[i], &b.keptTexts[i]
}

// forward fills the rows of micro-batch i in image, text and patches; the second time they go to scratch rows, since those
// of the first have been normalised in place.
func (b *batch[T]) forward(l *lane[T], i int, p, pixels []T, ids [][]int32, again bool) {
	c := b.m.config
	n, d, micro := b.cells, c.Projection, c.Micro
	from, to := i*micro, min(len(ids), (i+1)*micro)
	pictures := len(pixels) / len(ids)
	imageRows, textRows := b.image.slice(from, to, 0, d), b.text.slice(from, to, 0, d)
	var patches mat[T]
	if c.usesPACL() {
		patches = b.patches.slice(from*n, to*n, 0, d)
	}
	if again {
		rows := to - from
		grow(&l.again, rows*d*(2+n))
		imageRows, textRows = matrix(l.again, rows, d), matrix(l.again[rows*d:], rows, d)
		if c.usesPACL() {
			patches = matrix(l.again[2*rows*d:], rows*n, d)
		}
	}
	imageTrace, textTrace := b.passes(l, i)
	if c.locked() {
		lockedImages(l.engine, b.m, p, imageTrace, pixels[from*pictures:to*pictures], patches)
	} else {
		if !b.usesClass() {
			imageRows = mat[T]{}
		}
		images(l.engine, b.m, p, imageTrace, pixels[from*pictures:to*pictures], b.placement.slice(from, to), imageRows, patches)
	}
	texts(l.engine, b.m, p, textTrace, ids[from:to], textRows)
}

// loss fills the gradients by the unit rows and by the two scales.
func (b *batch[T]) loss(p []T, group []int) (s scores) {
	c := b.m.config
	count, n := b.image.rows, b.cells
	e := b.lanes[0].engine
	clip := c.usesCLIP() && b.usesClass()
	if clip {
		b.phi = matrix(grow(&b.phi.data, count*count), count, count)
		e.gemm(b.phi, 1, b.image, false, b.text, true, false)
		var dScale float64
		s.CLIPLoss, dScale, s.ImageToText, s.TextToImage = contrast(b.phi, group, float64(p[b.m.logitScale.from]))
		b.gradient[b.m.logitScale.from] = T(dScale)
		e.gemm(b.dImage, 1, b.phi, false, b.text, false, false)
		e.gemm(b.dText, 1, b.phi, true, b.image, false, false)
	}
	s.Loss = s.CLIPLoss
	if !c.usesPACL() {
		return s
	}
	grow(&b.patchesLengths, count*n)
	b.pairPhi = matrix(grow(&b.pairPhi.data, count*count), count, count)
	rows := func(m mat[T], i int) mat[T] { return m.slice(i*n, (i+1)*n, 0, c.Projection) }
	kernel.Parallel(lanes, func(_, k int) {
		l := &b.lanes[k]
		for i := k; i < count; i += lanes {
			unitRows(rows(b.patches, i), rows(b.patches, i), b.patchesLengths[i*n:(i+1)*n])
			pairForward(l.engine, rows(b.patches, i), b.text, c.TauPatch, b.pairPhi.row(i), &l.pair)
		}
	})
	phi := append([]T(nil), b.pairPhi.data...)
	var dScale, right, left float64
	s.PairLoss, dScale, right, left = contrast(b.pairPhi, group, float64(p[b.m.patchScale.from]))
	b.gradient[b.m.patchScale.from] = T(dScale)
	s.Loss += s.PairLoss
	if !clip {
		s.ImageToText, s.TextToImage = right, left
	}
	kernel.Parallel(lanes, func(_, k int) {
		l := &b.lanes[k]
		clear(grow(&l.dText, len(b.dText.data)))
		dText := matrix(l.dText, count, c.Projection)
		for i := k; i < count; i += lanes {
			dPatches := rows(b.dPatches, i)
			pairBackward(l.engine, rows(b.patches, i), b.text, c.TauPatch, b.pairPhi.row(i), dPatches, dText, phi[i*count:(i+1)*count], &l.pair)
			unitRowsGrad(dPatches, rows(b.patches, i), b.patchesLengths[i*n:(i+1)*n])
		}
	})
	for k := range b.lanes {
		e.add(b.dText.data, b.lanes[k].dText)
	}
	return s
}
