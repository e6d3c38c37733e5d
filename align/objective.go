package align

import (
	"context"
	"fmt"
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// Batch is what one step of training sees.
type Batch struct {
	Images  int
	Patches int                    // T
	Tokens  func(i int) kernel.Mat // patch tokens of image i [T, D_in]; called by several goroutines, more than once
	Texts   [][]float32            // [B][D_t] one sentence vector for each image
}

// Result is what one step says about the batch.
type Result struct {
	Loss        float64
	ImageToText float64 // retrieval at 1: share of images whose text comes first
	TextToImage float64 // share of texts whose image comes first
	Texts       int     // M, distinct sentence vectors in the batch
}

// Bound is the lower bound of the mutual information of image and caption, log(B) - loss (InfoNCE), in nats.
func (r Result) Bound(images int) float64 { return math.Log(float64(images)) - r.Loss }

// DefaultMemory bounds what an Objective keeps between its two passes, in bytes.
const DefaultMemory = 1 << 30

// Objective computes the loss and its gradient for batches of any size. Images are worked on in groups whose size depends
// on the shapes alone, and sums are taken in a fixed order, so that the result does not depend on the number of workers.
//
// With G = U Uᵀ the Gram matrix of an image's patches, v.u_t = (G a)_t and |v|² = a.G a: neither the pooled vectors v_ij
// nor their gradients are ever written down. Per image and text t, with C = g (a + ds r)/r the weight of t_j in du:
//
//	pass 1: S = T Uᵀ, A = softmax(S / tau), phi = a.s / sqrt(a.G a)
//	pass 2: S, A, G A again; C = g/r a (1 + (s - phi/r G a) / tau)
//	        dU = Cᵀ T - (Aᵀ diag(g phi / r²) A) U,   dT = C U
//
// which is four products of T x B x D and three of T x B x T where the equations as they stand take eight of the former.
// Where the texts are fewer than the patches, G costs more than it saves and U v takes its place; see pairTile.
// An Objective keeps its buffers from step to step and must not be used by two goroutines at once.
type Objective struct {
	config    Config
	precision kernel.Precision
	memory    int64

	weights packedHead
	texts   textSide
	pairs   compatibility
	kept    []slab    // what pass 1 leaves for pass 2, one entry for each slab, empty beyond the memory limit
	scratch slab      // for slabs that are not kept
	pooled  []float32 // mean pooling: [B, D] means of the unit patch vectors
	groups  []groupScratch
	tiles   chan *pairTile // idle memory of workers
	head    headGradient
}

// NewObjective returns an objective that multiplies in the precision given and keeps at most memory bytes of a batch
// between its passes; 0 stands for DefaultMemory.
func NewObjective(c Config, p kernel.Precision, memory int64) (*Objective, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if memory <= 0 {
		memory = DefaultMemory
	}
	return &Objective{config: c, precision: p, memory: memory, groups: make([]groupScratch, groupCount), tiles: make(chan *pairTile, 64)}, nil
}

// groupCount is how many sums of the text gradient there are; each takes its images in order.
const groupCount = 16

// groupRows is about how many patches are worked on at once, so that products are large and tiles stay in the cache.
const groupRows = 400

// layout cuts a batch: groups of images, groupCount of them a slab.
type layout struct {
	images, patches int
	perGroup        int // images of a group
	perSlab         int
	slabs           int
}

func newLayout(images, patches int) layout {
	l := layout{images: images, patches: patches}
	l.perGroup = max(1, (groupRows+patches/2)/patches)
	// Small batches are spread over all sums first.
	l.perGroup = max(1, min(l.perGroup, (images+groupCount-1)/groupCount))
	l.perSlab = l.perGroup * groupCount
	l.slabs = (images + l.perSlab - 1) / l.perSlab
	return l
}

// slab returns the images of slab n.
func (l layout) slab(n int) (first, last int) {
	return n * l.perSlab, min(l.images, (n+1)*l.perSlab)
}

// group returns the images of group g of slab n.
func (l layout) group(n, g int) (first, last int) {
	first = min(l.images, n*l.perSlab+g*l.perGroup)
	return first, min(l.images, first+l.perGroup)
}

// Step computes the loss of a batch and, where gradient is not nil, sets it to the loss's gradient.
func (o *Objective) Step(ctx context.Context, p *Parameters[float32], batch Batch, gradient *Parameters[float32]) (Result, error) {
	if batch.Images < 1 || batch.Patches < 1 || len(batch.Texts) != batch.Images {
		return Result{}, fmt.Errorf("objective: %d images with %d patches and %d texts", batch.Images, batch.Patches, len(batch.Texts))
	}
	for i, text := range batch.Texts {
		if len(text) != o.config.TextWidth {
			return Result{}, fmt.Errorf("objective: sentence vector %d has width %d, expected %d", i, len(text), o.config.TextWidth)
		}
	}
	l := newLayout(batch.Images, batch.Patches)
	o.weights.pack(p, o.precision, gradient != nil)
	o.texts.forward(o.config, p, findDistinct(batch.Texts), o.precision)
	o.pairs.reset(batch.Images, o.texts.distinct, math.Exp(float64(p.LogitScale[0])))
	if o.config.Pooling == PoolingMean {
		o.pooled = resize(o.pooled, batch.Images*o.config.Width)
	}

	o.keep(l, gradient != nil)
	for n := range l.slabs {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		s := o.slab(n)
		o.forward(s, l, n, batch)
		o.compatibilities(s, l, n)
	}
	score := o.pairs.sums()
	result := Result{Loss: score.loss, ImageToText: score.imageToText, TextToImage: score.textToImage, Texts: o.pairs.m}
	if gradient == nil {
		return result, nil
	}

	gradient.Zero()
	o.head.reset(o.config)
	for g := range o.groups {
		o.groups[g].reset(o.pairs.m, o.config.Width)
	}
	for n := range l.slabs {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		s := o.slab(n)
		if s == &o.scratch && l.slabs > 1 {
			o.forward(s, l, n, batch)
		}
		o.backward(s, l, n)
		o.head.add(&o.weights, s, gradient, o.precision)
	}
	o.texts.backward(o.config, o.groups, gradient)
	for g := range o.groups {
		gradient.LogitScale[0] += float32(o.groups[g].logitScale)
	}
	o.head.finish(&o.weights, o.groups, gradient)
	return result, nil
}

// keep decides which slabs' features survive until the second pass.
func (o *Objective) keep(l layout, training bool) {
	count := 0
	if training && l.slabs > 1 {
		rows := int64(l.perSlab * l.patches)
		bytes := rows * int64(o.config.TokenWidth+o.config.Hidden+o.config.Width) * int64(elementSize(o.precision))
		count = int(min(int64(l.slabs), o.memory/max(1, bytes)))
	}
	for len(o.kept) < count {
		o.kept = append(o.kept, slab{})
	}
	o.kept = o.kept[:count]
}

// slab returns the memory of slab n.
func (o *Objective) slab(n int) *slab {
	if n < len(o.kept) {
		return &o.kept[n]
	}
	return &o.scratch
}

func elementSize(p kernel.Precision) int {
	if p == kernel.BFloat16 {
		return 2
	}
	return 4
}
