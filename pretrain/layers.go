package pretrain

import (
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// linear sets y [R, out] to x [R, in] W^T + b; W is [out, in], b may be nil.
func linear[T real](e engine[T], y, x mat[T], w, b []T) {
	weight := matrix(w, y.cols, x.cols)
	if b == nil {
		e.gemm(y, 1, x, false, weight, true, false)
		return
	}
	e.linear(y, x, weight, b)
}

// linearGrad adds the gradients of W and b and, with dx set, sets dx (added to it with accumulate).
func linearGrad[T real](e engine[T], dx, dy, x mat[T], w, dw, db []T, accumulate bool) {
	e.gemm(matrix(dw, dy.cols, x.cols), 1, dy, true, x, false, true)
	for i := 0; db != nil && i < dy.rows; i++ {
		e.add(db, dy.row(i))
	}
	if dx.data != nil {
		e.gemm(dx, 1, dy, false, matrix(w, dy.cols, x.cols), false, accumulate)
	}
}

// layerNorm sets y to the normalised rows of x and keeps mean and 1/deviation of each row in stats [R, 2].
func layerNorm[T real](y, x mat[T], gamma, beta, stats []T, eps float64) {
	for i := 0; i < x.rows; i++ {
		in, out := x.row(i), y.row(i)
		sum := T(0)
		for _, v := range in {
			sum += v
		}
		mean := sum / T(len(in))
		sum = 0
		for _, v := range in {
			sum += (v - mean) * (v - mean)
		}
		inverse := T(1 / math.Sqrt(float64(sum)/float64(len(in))+eps))
		stats[2*i], stats[2*i+1] = mean, inverse
		for j, v := range in {
			out[j] = (v-mean)*inverse*gamma[j] + beta[j]
		}
	}
}

// layerNormGrad adds the gradients of gamma and beta and sets dx (added to it with accumulate). dx may be dy when it is
// not accumulated into.
func layerNormGrad[T real](dx, dy, x mat[T], gamma, dgamma, dbeta, stats []T, accumulate bool) {
	n := T(x.cols)
	for i := 0; i < x.rows; i++ {
		in, d, out := x.row(i), dy.row(i), dx.row(i)
		mean, inverse := stats[2*i], stats[2*i+1]
		var sum, product T
		for j, v := range in {
			normal := (v - mean) * inverse
			dgamma[j] += d[j] * normal
			dbeta[j] += d[j]
			dn := d[j] * gamma[j]
			sum += dn
			product += dn * normal
		}
		sum, product = sum/n, product/n
		if accumulate {
			for j, v := range in {
				out[j] += (d[j]*gamma[j] - sum - (v-mean)*inverse*product) * inverse
			}
		} else {
			for j, v := range in {
				out[j] = (d[j]*gamma[j] - sum - (v-mean)*inverse*product) * inverse
			}
		}
	}
}

// attention sets out [R, w] to the attention of qkv [R, 3w] within each sequence, rows offsets[s] to offsets[s+1], and
// keeps the softmax of each sequence and head, [n, n], one after the other in probs.
func attention[T real](e engine[T], out, qkv mat[T], probs []T, offsets []int, heads int, causal bool) {
	w := out.cols
	d := w / heads
	scale := T(1 / math.Sqrt(float64(d)))
	for s := 0; s+1 < len(offsets); s++ {
		r0, r1 := offsets[s], offsets[s+1]
		n := r1 - r0
		for h := 0; h < heads; h++ {
			q, k, v := headViews(qkv, r0, r1, h, d, w)
			p := matrix(probs, n, n)
			probs = probs[n*n:]
			e.gemm(p, scale, q, false, k, true, false)
			for i := 0; i < n; i++ {
				row := p.row(i)
				if causal {
					clear(row[i+1:])
					row = row[:i+1]
				}
				e.softmax(row)
			}
			e.gemm(out.slice(r0, r1, h*d, (h+1)*d), 1, p, false, v, false, false)
		}
	}
}

// attentionGrad sets dqkv from dout; scratch holds the longest sequence's [n, n].
func attentionGrad[T real](e engine[T], dqkv, dout, qkv mat[T], probs, scratch []T, offsets []int, heads int, causal bool) {
	w := dout.cols
	d := w / heads
	scale := T(1 / math.Sqrt(float64(d)))
	for s := 0; s+1 < len(offsets); s++ {
		r0, r1 := offsets[s], offsets[s+1]
		n := r1 - r0
		for h := 0; h < heads; h++ {
			q, k, v := headViews(qkv, r0, r1, h, d, w)
			dq, dk, dv := headViews(dqkv, r0, r1, h, d, w)
			do := dout.slice(r0, r1, h*d, (h+1)*d)
			p := matrix(probs, n, n)
			probs = probs[n*n:]
			ds := matrix(scratch, n, n)
			e.gemm(dv, 1, p, true, do, false, false)
			e.gemm(ds, 1, do, false, v, true, false)
			for i := 0; i < n; i++ {
				e.softmaxGrad(ds.row(i), p.row(i))
			}
			e.gemm(dq, scale, ds, false, k, false, false)
			e.gemm(dk, scale, ds, true, q, false, false)
		}
	}
}

func headViews[T real](qkv mat[T], r0, r1, head, d, w int) (q, k, v mat[T]) {
	return qkv.slice(r0, r1, head*d, (head+1)*d), qkv.slice(r0, r1, w+head*d, w+(head+1)*d), qkv.slice(r0, r1, 2*w+head*d, 2*w+(head+1)*d)
}

// unitRows divides each row by its length, which it keeps in lengths [R].
func unitRows[T real](y, x mat[T], lengths []T) {
	for i := 0; i < x.rows; i++ {
		sum := 0.0
		for _, v := range x.row(i) {
			sum += float64(v) * float64(v)
		}
		length := T(math.Max(math.Sqrt(sum), 1e-12))
		lengths[i] = length
		out := y.row(i)
		for j, v := range x.row(i) {
			out[j] = v / length
		}
	}
}

// unitRowsGrad turns d, the gradient by the unit rows y, into the one by the rows before.
func unitRowsGrad[T real](d, y mat[T], lengths []T) {
	for i := 0; i < y.rows; i++ {
		row, unit := d.row(i), y.row(i)
		dot := T(0)
		for j, v := range row {
			dot += v * unit[j]
		}
		for j := range row {
			row[j] = (row[j] - dot*unit[j]) / lengths[i]
		}
	}
}

// tower is the one transformer: pre-norm blocks over sequences of rows.
type tower struct {
	width, heads, hidden int
	causal               bool
	act                  kernel.Activation
	eps                  float64
	blocks               []block
}

// block names the parameters of one block.
type block struct {
	norm1Weight, norm1Bias, norm2Weight, norm2Bias span
	qkvWeight, qkvBias, outWeight, outBias         span // [3w, w], [3w], [w, w], [w]
	fc1Weight, fc1Bias, fc2Weight, fc2Bias         span // [m, w], [m], [w, m], [w]
}

// trace is what a tower's backward pass needs of its forward pass; R is the number of rows.
type trace[T real] struct {
	offsets []int // where sequences begin, and R
	longest int
	turns   *rotation[T] // of rotary positions, or nil
	x       []mat[T]     // layers+1 of [R, w]: the residual stream before each block, and at the end
	blocks  []blockTrace[T]
	// Scratch of the backward pass.
	wide, narrow, scores []T
}

type blockTrace[T real] struct {
	stats1, stats2           []T // [R, 2]
	norm1, mid, norm2, mixed mat[T]
	qkv                      mat[T] // [R, 3w]
	probs                    []T
	pre, post                mat[T] // [R, m]
}

// begin lays out the trace for sequences at the given offsets; x[0] is then to be filled.
func (tr *trace[T]) begin(t *tower, offsets []int) {
	rows, squares := offsets[len(offsets)-1], 0
	tr.longest = 0
	for s := 0; s+1 < len(offsets); s++ {
		n := offsets[s+1] - offsets[s]
		squares += n * n
		tr.longest = max(tr.longest, n)
	}
	tr.offsets = offsets
	if len(tr.blocks) != len(t.blocks) {
		tr.blocks, tr.x = make([]blockTrace[T], len(t.blocks)), make([]mat[T], len(t.blocks)+1)
	}
	resize := func(m *mat[T], cols int) { *m = matrix(grow(&m.data, rows*cols), rows, cols) }
	for i := range tr.x {
		resize(&tr.x[i], t.width)
	}
	for i := range tr.blocks {
		b := &tr.blocks[i]
		grow(&b.stats1, 2*rows)
		grow(&b.stats2, 2*rows)
		grow(&b.probs, t.heads*squares)
		for _, m := range []*mat[T]{&b.norm1, &b.mid, &b.norm2, &b.mixed} {
			resize(m, t.width)
		}
		resize(&b.qkv, 3*t.width)
		resize(&b.pre, t.hidden)
		resize(&b.post, t.hidden)
	}
}

// forward fills the trace from x[0] through the first so many blocks; the result is the x behind them.
func forward[T real](e engine[T], t *tower, p []T, tr *trace[T], blocks int) mat[T] {
	for l := range t.blocks[:blocks] {
		b, a := &t.blocks[l], &tr.blocks[l]
		x, next := tr.x[l], tr.x[l+1]
		layerNorm(a.norm1, x, at(p, b.norm1Weight), at(p, b.norm1Bias), a.stats1, t.eps)
		linear(e, a.qkv, a.norm1, at(p, b.qkvWeight), at(p, b.qkvBias))
		if tr.turns != nil {
			tr.turns.turn(a.qkv, 1)
		}
		attention(e, a.mixed, a.qkv, a.probs, tr.offsets, t.heads, t.causal)
		linear(e, a.mid, a.mixed, at(p, b.outWeight), at(p, b.outBias))
		e.add(a.mid.data, x.data)
		layerNorm(a.norm2, a.mid, at(p, b.norm2Weight), at(p, b.norm2Bias), a.stats2, t.eps)
		linear(e, a.pre, a.norm2, at(p, b.fc1Weight), at(p, b.fc1Bias))
		e.activate(a.post.data, a.pre.data, t.act)
		linear(e, next, a.post, at(p, b.fc2Weight), at(p, b.fc2Bias))
		e.add(next.data, a.mid.data)
	}
	return tr.x[blocks]
}

// backward turns d, the gradient by x[to], into the one by x[from], adding the parameters' to g.
func backward[T real](e engine[T], t *tower, p, g []T, tr *trace[T], d mat[T], from, to int) {
	rows := d.rows
	wide := matrix(grow(&tr.wide, rows*max(t.hidden, 3*t.width)), rows, t.hidden)
	narrow := matrix(grow(&tr.narrow, rows*t.width), rows, t.width)
	for l := to - 1; l >= from; l-- {
		b, a := &t.blocks[l], &tr.blocks[l]
		linearGrad(e, wide, d, a.post, at(p, b.fc2Weight), at(g, b.fc2Weight), at(g, b.fc2Bias), false)
		e.activateGrad(wide.data, a.pre.data, t.act)
		linearGrad(e, narrow, wide, a.norm2, at(p, b.fc1Weight), at(g, b.fc1Weight), at(g, b.fc1Bias), false)
		layerNormGrad(d, narrow, a.mid, at(p, b.norm2Weight), at(g, b.norm2Weight), at(g, b.norm2Bias), a.stats2, true)
		linearGrad(e, narrow, d, a.mixed, at(p, b.outWeight), at(g, b.outWeight), at(g, b.outBias), false)
		dqkv := matrix(tr.wide, rows, 3*t.width)
		attentionGrad(e, dqkv, narrow, a.qkv, a.probs, grow(&tr.scores, tr.longest*tr.longest), tr.offsets, t.heads, t.causal)
		if tr.turns != nil {
			tr.turns.turn(dqkv, -1)
		}
		linearGrad(e, narrow, dqkv, a.norm1, at(p, b.qkvWeight), at(g, b.qkvWeight), at(g, b.qkvBias), false)
		layerNormGrad(d, narrow, tr.x[l], at(p, b.norm1Weight), at(g, b.norm1Weight), at(g, b.norm1Bias), a.stats1, true)
	}
}
