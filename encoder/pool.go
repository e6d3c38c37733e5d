package encoder

import (
	"fmt"
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// attentionPool makes one vector of an image's tokens, as SigLIP does: a learned query attends to them, and an MLP behind
// a norm is added (Zhai et al. 2023; the pooling of Lee et al. 2019).
type attentionPool struct {
	heads    int
	query    []float32 // [width]: the probe, mapped
	keyValue linear    // to keys and values, [2 * width]
	out      linear
	norm     norm
	fc1, fc2 linear
	act      kernel.Activation
}

// attentionPool reads "probe", "attention.", "layernorm" and "mlp." behind a prefix.
func (l *loader) attentionPool(c transformerConfig, prefix string) *attentionPool {
	w := c.HiddenSize
	act, err := activation(c.Activation)
	if err != nil {
		l.fail(err)
	}
	weight, bias := prefix+"attention.in_proj_weight", prefix+"attention.in_proj_bias"
	toQuery, offset := l.matrix(weight, w), make([]float32, 3*w)
	if l.has(bias) {
		offset = l.numbers(bias, 3*w)
	}
	p := &attentionPool{
		heads: c.Heads, act: act, query: make([]float32, w),
		keyValue: l.linear(w, part{weight, bias, w, 2 * w}),
		out:      l.layer(prefix+"attention.out_proj", w, w),
		norm:     l.norm(prefix+"layernorm", w, c.NormEps),
		fc1:      l.layer(prefix+"mlp.fc1", w, c.IntermediateSize),
		fc2:      l.layer(prefix+"mlp.fc2", c.IntermediateSize, w),
	}
	probe := l.numbers(prefix+"probe", w)
	if l.err != nil {
		return p
	}
	// The query is the same for all images: it is mapped here, and its layer is not kept.
	row := make([]float32, w)
	for i := range p.query {
		if err := toQuery.CopyRange(row, i*w); err != nil {
			l.fail(err)
			break
		}
		p.query[i] = kernel.Dot(row, probe) + offset[i]
	}
	return p
}

// apply pools each image's tokens [batch * tokens, width] into dst [batch, width].
func (p *attentionPool) apply(dst, tokens kernel.Mat, batch int) {
	w, each := tokens.Cols, tokens.Rows/batch
	head := w / p.heads
	keyValue := kernel.NewMat(kernel.Float32, tokens.Rows, 2*w)
	p.keyValue.apply(keyValue, tokens, kernel.Epilogue{})
	attended := kernel.NewMat(kernel.Float32, batch, w)
	kernel.Parallel(batch*p.heads, func(_, i int) {
		image, first := i/p.heads, i%p.heads*head
		scores := make([]float32, each)
		for t := range scores {
			scores[t] = kernel.Dot(p.query[first:first+head], keyValue.Row(image*each + t)[first:first+head])
		}
		kernel.SoftmaxScaled(scores, scores, float32(1/math.Sqrt(float64(head))))
		sum := attended.Row(image)[first : first+head]
		for t, share := range scores {
			kernel.Axpy(sum, share, keyValue.Row(image*each + t)[w+first:w+first+head])
		}
	})
	p.out.apply(dst, attended, kernel.Epilogue{})
	normed := kernel.NewMat(kernel.Float32, batch, w)
	p.norm.apply(normed, dst)
	hidden := kernel.NewMat(kernel.Float32, batch, p.fc1.weight.N)
	p.fc1.apply(hidden, normed, kernel.Epilogue{Act: p.act})
	p.fc2.apply(dst, hidden, kernel.Epilogue{Accumulate: true})
}

// ImageVectors returns one vector [B, Info.ImageDim] for each image of an output of Encode without a read-out, not
// normalised: CLIP's projected class token, or SigLIP's attention pooling over the patches.
func (v *Vision) ImageVectors(out Output) ([]float32, error) {
	switch {
	case v.pool != nil && out.Width == v.info.Width:
		patches := out.GridH * out.GridW
		batch := len(out.Patches) / (patches * out.Width)
		result := kernel.NewMat(kernel.Float32, batch, v.info.Width)
		v.pool.apply(result, kernel.FromFloat32(out.Patches, batch*patches, out.Width), batch)
		return result.F, nil
	case out.Class != nil:
		return v.Project(out.Class)
	}
	return nil, fmt.Errorf("a %s encoder has no vectors of whole images", v.info.Family)
}

// patchEmbedding loads the layer that embeds patches, whose numbers stand as [3, p, p] here.
func (l *loader) patchEmbedding(d visionDescription) linear {
	p, width := d.config.PatchSize, d.config.HiddenSize
	in := 3 * p * p
	if !d.linear {
		return l.layer(d.scheme.patch, in, width)
	}
	name := d.scheme.patch + ".weight"
	stored := l.matrix(name, in)
	if l.err != nil {
		return linear{}
	}
	if stored.Shape[0] != width {
		l.fail(fmt.Errorf("weights %s: tensor %s has shape %v, expected %d rows of %d", l.set.Path(), name, stored.Shape, width, in))
		return linear{}
	}
	// Stored as [p, p, 3].
	numbers, turned := stored.Float32(), make([]float32, width*in)
	for row := 0; row < len(numbers); row += in {
		for i := range p * p {
			for c := range 3 {
				turned[row+c*p*p+i] = numbers[row+i*3+c]
			}
		}
	}
	return linear{kernel.PackWeight(kernel.FromFloat32(turned, width, in), l.precision), l.optional(d.scheme.patch+".bias", width)}
}
