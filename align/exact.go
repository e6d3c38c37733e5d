package align

import (
	"bytes"
	"encoding/binary"
	"math"
)

// ExactResult is what Exact computes on the way, beside the loss and its gradient.
type ExactResult struct {
	Loss       float64
	Phi        []float64 // [B, B] compatibility of image i and text j
	Similarity []float64 // [B, B, T] cosine of patch t of image i and text j
	Attention  []float64 // [B, B, T] where text j is in image i; uniform with mean pooling
	Gradient   *Parameters[float64]
}

// Exact computes the objective and its gradient in float64, pair by pair: the definition that Objective is tested against.
// tokens is [B, T, D_in], sentences [B, D_t]. Texts with equal sentence vectors share their targets. The gradient of a
// frozen text embedder is computed too; it is for the optimiser to leave it alone.
func Exact(c Config, p *Parameters[float64], tokens, sentences []float64) ExactResult {
	b := len(sentences) / c.TextWidth
	patches := len(tokens) / c.TokenWidth // B T
	t := patches / b
	d := c.Width

	hidden := apply(p.FC1, tokens, patches) // [B T, Hidden] before the rectifier
	rectified := make([]float64, len(hidden))
	for i, h := range hidden {
		rectified[i] = math.Max(h, 0)
	}
	z := apply(p.Skip, tokens, patches) // [B T, D]
	for i, v := range apply(p.FC2, rectified, patches) {
		z[i] += v
	}
	u := normaliseRows(z, d) // [B T, D]
	y := sentences           // [B, D]
	if c.Text != TextNone {
		y = apply(p.Text, sentences, b)
	}
	texts := normaliseRows(y, d) // [B, D]

	r := ExactResult{
		Phi:        make([]float64, b*b),
		Similarity: make([]float64, b*b*t),
		Attention:  make([]float64, b*b*t),
		Gradient:   NewParameters[float64](c),
	}
	pooled := make([]float64, b*b*d) // v_ij [B, B, D]
	for i := range b {
		for j := range b {
			pair := i*b + j
			s, a := r.Similarity[pair*t:(pair+1)*t], r.Attention[pair*t:(pair+1)*t]
			v, text := pooled[pair*d:(pair+1)*d], texts[j*d:(j+1)*d]
			for k := range t {
				s[k] = dot(u[(i*t+k)*d:(i*t+k+1)*d], text)
				a[k] = s[k] / c.TauPatch
			}
			if c.Pooling == PoolingMean {
				clear(a)
			}
			softmax(a)
			for k := range t {
				axpy(v, a[k], u[(i*t+k)*d:(i*t+k+1)*d])
			}
			r.Phi[pair] = dot(v, text) / math.Sqrt(dot(v, v))
		}
	}

	scale := math.Exp(p.LogitScale[0])
	targets := sharedTargets(sentences, b) // Y [B, B]
	g := make([]float64, b*b)              // dL / d(scale phi)
	logits := make([]float64, b)
	for i := range b {
		for axis := range 2 {
			at := func(j int) int { return i*b + j }
			if axis == 1 {
				at = func(j int) int { return j*b + i }
			}
			for j := range b {
				logits[j] = scale * r.Phi[at(j)]
			}
			total := logSumExp(logits)
			for j := range b {
				r.Loss -= targets[at(j)] * (logits[j] - total) / float64(2*b)
				g[at(j)] += (math.Exp(logits[j]-total) - targets[at(j)]) / float64(2*b)
			}
		}
	}

	du := make([]float64, len(u))     // [B T, D]
	dt := make([]float64, len(texts)) // [B, D]
	w := make([]float64, d)
	for i := range b {
		for j := range b {
			pair := i*b + j
			r.Gradient.LogitScale[0] += g[pair] * scale * r.Phi[pair]
			gij, phi := g[pair]*scale, r.Phi[pair]
			v, text := pooled[pair*d:(pair+1)*d], texts[j*d:(j+1)*d]
			length := math.Sqrt(dot(v, v))
			for k := range d {
				w[k] = (text[k] - phi*v[k]/length) / length
			}
			axpy(dt[j*d:(j+1)*d], gij/length, v)
			for k := range t {
				row := i*t + k
				patch, dpatch := u[row*d:(row+1)*d], du[row*d:(row+1)*d]
				a := r.Attention[pair*t+k]
				axpy(dpatch, gij*a, w)
				if c.Pooling == PoolingMean {
					continue
				}
				// v.w = 0, so the softmax's correction vanishes.
				ds := a / c.TauPatch * dot(patch, w)
				axpy(dpatch, gij*ds, text)
				axpy(dt[j*d:(j+1)*d], gij*ds, patch)
			}
		}
	}

	dz := normaliseBackward(z, u, du, d)
	drectified := applyBackward(p.FC2, &r.Gradient.FC2, rectified, dz, patches)
	for i := range drectified {
		if hidden[i] <= 0 {
			drectified[i] = 0
		}
	}
	applyBackward(p.FC1, &r.Gradient.FC1, tokens, drectified, patches)
	applyBackward(p.Skip, &r.Gradient.Skip, tokens, dz, patches)
	if c.Text != TextNone {
		applyBackward(p.Text, &r.Gradient.Text, sentences, normaliseBackward(y, texts, dt, d), b)
	}
	return r
}

// sharedTargets returns Y [B, B]: the diagonal, shared evenly where sentence vectors are equal.
func sharedTargets(sentences []float64, b int) []float64 {
	width := len(sentences) / b
	keys := make([][]byte, b)
	for i := range keys {
		keys[i], _ = binary.Append(nil, binary.LittleEndian, sentences[i*width:(i+1)*width])
	}
	y := make([]float64, b*b)
	for i := range b {
		equal := 0.0
		for j := range b {
			if bytes.Equal(keys[i], keys[j]) {
				y[i*b+j] = 1
				equal++
			}
		}
		for j := range b {
			y[i*b+j] /= equal
		}
	}
	return y
}

// apply returns x Wᵀ + bias for rows of x.
func apply(l Linear[float64], x []float64, rows int) []float64 {
	y := make([]float64, rows*l.Out)
	for i := range rows {
		for o := range l.Out {
			y[i*l.Out+o] = l.Bias[o] + dot(l.Weight[o*l.In:(o+1)*l.In], x[i*l.In:(i+1)*l.In])
		}
	}
	return y
}

// applyBackward adds to the gradient of the layer and returns that of x.
func applyBackward(l Linear[float64], grad *Linear[float64], x, dy []float64, rows int) []float64 {
	dx := make([]float64, rows*l.In)
	for i := range rows {
		for o := range l.Out {
			g := dy[i*l.Out+o]
			grad.Bias[o] += g
			axpy(grad.Weight[o*l.In:(o+1)*l.In], g, x[i*l.In:(i+1)*l.In])
			axpy(dx[i*l.In:(i+1)*l.In], g, l.Weight[o*l.In:(o+1)*l.In])
		}
	}
	return dx
}

func normaliseRows(x []float64, width int) []float64 {
	y := make([]float64, len(x))
	for i := 0; i < len(x); i += width {
		if length := math.Sqrt(dot(x[i:i+width], x[i:i+width])); length > 0 {
			axpy(y[i:i+width], 1/length, x[i:i+width])
		}
	}
	return y
}

// normaliseBackward carries the gradient of unit vectors u = x / |x| back to x.
func normaliseBackward(x, u, du []float64, width int) []float64 {
	dx := make([]float64, len(x))
	for i := 0; i < len(x); i += width {
		row, unit, grad := x[i:i+width], u[i:i+width], du[i:i+width]
		if length := math.Sqrt(dot(row, row)); length > 0 {
			axpy(dx[i:i+width], 1/length, grad)
			axpy(dx[i:i+width], -dot(grad, unit)/length, unit)
		}
	}
	return dx
}

func dot(x, y []float64) float64 {
	sum := 0.0
	for i, v := range x {
		sum += v * y[i]
	}
	return sum
}

func axpy(y []float64, alpha float64, x []float64) {
	for i, v := range x {
		y[i] += alpha * v
	}
}

func logSumExp(x []float64) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = math.Max(top, v)
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

func softmax(x []float64) {
	total := logSumExp(x)
	for i, v := range x {
		x[i] = math.Exp(v - total)
	}
}
