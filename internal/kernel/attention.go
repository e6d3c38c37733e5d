package kernel

import (
	"fmt"
	"math"
	"sync"
	"unsafe"
)

// AttentionMode says which vectors make the attention weights of a head.
type AttentionMode uint8

const (
	// QueryKey is softmax(q k^T) v, the transformer's own.
	QueryKey AttentionMode = iota
	// QueryQuery is softmax(q q^T) v.
	QueryQuery
	// KeyKey is softmax(k k^T) v.
	KeyKey
	// QueryQueryKeyKey is (softmax(q q^T) + softmax(k k^T)) v.
	QueryQueryKeyKey
	// Identity is v.
	Identity
)

// AttentionOptions describes a call of Attention.
type AttentionOptions struct {
	Heads     int
	Scale     float32 // of the products; 0 is 1/sqrt(width of a head)
	Causal    bool    // a query sees the keys up to its own position
	Precision Precision
	// Offsets [batch+1] cuts the rows into sequences of different lengths; nil
	// cuts them into equal ones, and then q may have other rows than k and v.
	Offsets []int
	Mode    AttentionMode
	// Bias, where given, adds to the scaled scores of one query (a position in its
	// sequence) with the keys from first on. It is the same for all sequences and
	// heads and is called by many workers at once.
	Bias func(query, first int, scores []float32)
	// Accumulate adds to dst.
	Accumulate bool
}

// MatrixBias is the Bias that adds a matrix [queries, keys].
func MatrixBias(m Mat) func(query, first int, scores []float32) {
	m.check("bias")
	return func(query, first int, scores []float32) {
		Axpy(scores, 1, m.Row(query)[first:first+len(scores)])
	}
}

const (
	// attentionKeys is how many keys a tile of scores has.
	attentionKeys = 256
	// attentionQueries is about how many queries a job has.
	attentionQueries = 56
)

// Attention sets dst [rows, heads*head] to the attention of each head's columns of
// q, k and v, which may be views of one [rows, 3*heads*head] matrix. Scores exist
// one tile at a time: memory beyond the packed keys and values does not depend on
// the number of tokens. dst must not overlap q, k or v.
func Attention(dst, q, k, v Mat, batch int, opt AttentionOptions) {
	switch opt.Mode {
	case QueryKey:
		attend(dst, q, k, v, batch, opt)
	case QueryQuery:
		attend(dst, q, q, v, batch, opt)
	case KeyKey:
		attend(dst, k, k, v, batch, opt)
	case QueryQueryKeyKey:
		attend(dst, q, q, v, batch, opt)
		opt.Accumulate = true
		attend(dst, k, k, v, batch, opt)
	case Identity:
		if opt.Accumulate {
			checkRows(dst, v)
			runRows(dst, v, nil, nil, 0, addRow)
			return
		}
		Convert(dst, v)
	default:
		panic(fmt.Sprintf("kernel: attention mode %d", opt.Mode))
	}
}

func addRow(ws *Workspace, j *rowJob, i int) {
	x := j.input(ws, i)
	if j.dst.H == nil {
		active.axpy(j.dst.Row(i), 1, x)
		return
	}
	sum := j.output(ws, i)
	active.fromBF16(sum, j.dst.RowBF16(i))
	active.axpy(sum, 1, x)
	j.store(i, sum)
}

// attention is one call, cut into jobs of a few queries of one head.
type attention struct {
	dst, q, k, v  Mat
	opt           AttentionOptions
	batch, head   int
	precision     Precision
	keys, values  []Weight // [batch*heads]: k as [keys, head], v as [head, keys]
	jobs          []attentionJob
	pack, compute func(ws *Workspace, i int) // bound once
	zero, one     [panelWidth]float32
}

type attentionJob struct{ sequence, head, query, count int }

var idleAttention struct {
	sync.Mutex
	list []*attention
}

func getAttention() *attention {
	idleAttention.Lock()
	defer idleAttention.Unlock()
	if last := len(idleAttention.list) - 1; last >= 0 {
		at := idleAttention.list[last]
		idleAttention.list = idleAttention.list[:last]
		return at
	}
	at := new(attention)
	at.pack, at.compute = at.packHead, at.job
	for j := range at.one {
		at.one[j] = 1
	}
	return at
}

func (at *attention) release() {
	at.dst, at.q, at.k, at.v, at.opt = Mat{}, Mat{}, Mat{}, Mat{}, AttentionOptions{}
	idleAttention.Lock()
	idleAttention.list = append(idleAttention.list, at)
	idleAttention.Unlock()
}

func attend(dst, q, k, v Mat, batch int, opt AttentionOptions) {
	checkAttention(dst, q, k, v, batch, opt)
	if dst.empty() {
		return
	}
	at := getAttention()
	defer at.release()
	at.dst, at.q, at.k, at.v, at.opt, at.batch = dst, q, k, v, opt, batch
	at.head = q.Cols / opt.Heads
	if at.opt.Scale == 0 {
		at.opt.Scale = float32(1 / math.Sqrt(float64(at.head)))
	}
	at.precision = opt.Precision
	if at.precision == BFloat16 && !active.bf16 {
		at.precision = Float32
	}
	heads := batch * opt.Heads
	if len(at.keys) < heads {
		at.keys = append(at.keys, make([]Weight, heads-len(at.keys))...)
		at.values = append(at.values, make([]Weight, heads-len(at.values))...)
	}
	at.jobs = at.jobs[:0]
	for s := range batch {
		from, to := at.rows(q, s)
		blocks := (to - from + attentionQueries - 1) / attentionQueries
		if blocks == 0 {
			continue
		}
		step := (to - from + blocks - 1) / blocks
		for h := range opt.Heads {
			for query := 0; query < to-from; query += step {
				at.jobs = append(at.jobs, attentionJob{s, h, query, min(step, to-from-query)})
			}
		}
	}
	inWorkspaces(heads, at.pack)
	inWorkspaces(len(at.jobs), at.compute)
}

func checkAttention(dst, q, k, v Mat, batch int, opt AttentionOptions) {
	dst.check("attention output")
	q.check("queries")
	k.check("keys")
	v.check("values")
	switch {
	case opt.Heads < 1 || q.Cols%opt.Heads != 0:
		panic(fmt.Sprintf("kernel: attention of width %d with %d heads", q.Cols, opt.Heads))
	case dst.Cols != q.Cols || k.Cols != q.Cols || v.Cols != q.Cols:
		panic(fmt.Sprintf("kernel: attention of widths %d, %d and %d into %d", q.Cols, k.Cols, v.Cols, dst.Cols))
	case dst.Rows != q.Rows || k.Rows != v.Rows:
		panic(fmt.Sprintf("kernel: attention of %d queries, %d keys and %d values into %d rows", q.Rows, k.Rows, v.Rows, dst.Rows))
	case opt.Scale < 0:
		panic("kernel: attention with a negative scale")
	case (opt.Causal || opt.Offsets != nil) && k.Rows != q.Rows:
		panic(fmt.Sprintf("kernel: causal or cut attention of %d queries and %d keys", q.Rows, k.Rows))
	case opt.Offsets == nil:
		if batch < 1 || q.Rows%batch != 0 || k.Rows%batch != 0 {
			panic(fmt.Sprintf("kernel: %d queries and %d keys in %d equal sequences", q.Rows, k.Rows, batch))
		}
	default:
		checkLen("attention offsets", len(opt.Offsets), batch+1)
		last := 0
		for _, offset := range opt.Offsets {
			if offset < last || offset > q.Rows {
				panic(fmt.Sprintf("kernel: attention offset %d after %d, %d rows", offset, last, q.Rows))
			}
			last = offset
		}
	}
}

// rows are those of sequence s in m.
func (at *attention) rows(m Mat, s int) (from, to int) {
	if at.opt.Offsets != nil {
		return at.opt.Offsets[s], at.opt.Offsets[s+1]
	}
	length := m.Rows / at.batch
	return s * length, (s + 1) * length
}

// packHead packs keys and values of one head of one sequence.
func (at *attention) packHead(ws *Workspace, i int) {
	from, to := at.rows(at.k, i/at.opt.Heads)
	col := i % at.opt.Heads * at.head
	keys, values := &at.keys[i], &at.values[i]
	keys.reshape(to-from, at.head, at.precision)
	keys.packSerial(ws, at.k.Slice(from, to, col, col+at.head), false)
	values.reshape(at.head, to-from, at.precision)
	values.packSerial(ws, at.v.Slice(from, to, col, col+at.head), true)
}

// queryBlock is what a job works on.
type queryBlock struct {
	attentionJob
	keys, values *Weight
	left         leftBlock // the queries
	ldOut        int
	output       []float32 // [count, ldOut] sums
	states       []softmaxState
	micro        func(m *multiplier)
	lanes        int
}

const (
	// ldScores keeps rows of scores in different cache sets.
	ldScores = attentionKeys + 16
	// bandQueries is how many queries have scores at once: with the keys' panel they stay in L1.
	bandQueries = 28
)

// job attends with a few queries to all keys of their head: the online softmax
// of Milakov and Gimelshein, tile by tile as in FlashAttention.
func (at *attention) job(ws *Workspace, i int) {
	job := at.jobs[i]
	first, _ := at.rows(at.q, job.sequence)
	keyFrom, keyTo := at.rows(at.k, job.sequence)
	total := keyTo - keyFrom
	if at.opt.Causal {
		total = min(total, job.query+job.count)
	}
	row, col := first+job.query, job.head*at.head
	b := &ws.queries
	*b = queryBlock{
		attentionJob: job,
		keys:         &at.keys[job.sequence*at.opt.Heads+job.head],
		values:       &at.values[job.sequence*at.opt.Heads+job.head],
		left:         ws.left(at.q, false, row, job.count, col, at.head, at.precision, at.precision == BFloat16),
		states:       ws.softmaxStates(job.count),
		micro:        active.microF32, lanes: 1,
	}
	if at.precision == BFloat16 {
		b.micro, b.lanes = active.microBF16, 2
	}
	b.ldOut = b.values.panels() * panelWidth
	b.output = grow(&ws.output, b.count*b.ldOut)
	if total == 0 {
		clear(b.output)
	}
	for from := 0; from < total; from += attentionKeys {
		count := min(attentionKeys, total-from)
		for r := 0; r < b.count; r += bandQueries {
			at.band(ws, b, r, min(bandQueries, b.count-r), from, count)
		}
	}
	for r := range b.count {
		sums := b.output[r*b.ldOut : (r+1)*b.ldOut]
		active.scale(sums, sums, 1/b.states[r].sum)
	}
	at.finish(ws, b.output, b.ldOut, row, b.count, col)
}

// band takes rows queries of a block, from r0 on, to count keys.
func (at *attention) band(ws *Workspace, b *queryBlock, r0, rows, from, count int) {
	scores := grow(&ws.scores, bandQueries*ldScores)
	weights := scores // float32: exponentials replace the scores
	if b.lanes == 2 {
		weights = grow(&ws.weights, bandQueries*ldScores/2)
	}
	ldWeights := ldScores / b.lanes // units
	steps := (count + b.lanes - 1) / b.lanes
	m := &ws.multiplier
	m.cut(rows)
	m.ahead, m.end = 0, 0
	m.a, m.rs, m.cs, m.k = unsafe.Add(b.left.start, uintptr(r0)*b.left.rs), b.left.rs, b.left.cs, b.keys.steps
	m.b, m.panelBytes, m.panels = address(&b.keys.panel(from / panelWidth)[0]), uintptr(4*panelWidth*b.keys.steps), (count+panelWidth-1)/panelWidth
	m.c, m.ldc, m.add = address(&scores[0]), 4*ldScores, 0
	b.micro(m)
	output := b.output[r0*b.ldOut : (r0+rows)*b.ldOut]
	done := 0
	if at.opt.Bias == nil && !at.opt.Causal && at.precision == BFloat16 && active.softmaxFour != nil {
		for ; done+4 <= rows; done += 4 {
			pairs := asBF16(weights[done*ldWeights : (done+4)*ldWeights])
			active.softmaxFour(&pairs[0], uintptr(4*ldWeights), &scores[done*ldScores], 4*ldScores, count, at.opt.Scale, &b.states[r0+done])
			for r := range 4 {
				clear(pairs[2*r*ldWeights+count : 2*(r*ldWeights+steps)])
				b.rescale(r0+done+r, from)
			}
		}
	}
	for r := done; r < rows; r++ {
		seen, query := count, b.query+r0+r
		if at.opt.Causal {
			seen = max(0, min(seen, query+1-from))
		}
		row := scores[r*ldScores : r*ldScores+seen]
		scale := at.opt.Scale
		if at.opt.Bias != nil && seen > 0 {
			active.scale(row, row, scale)
			at.opt.Bias(query, from, row)
			scale = 1
		}
		at.exponentials(weights[r*ldWeights:r*ldWeights+steps], row, scale, &b.states[r0+r])
		b.rescale(r0+r, from)
	}
	m.a, m.rs, m.cs, m.k = address(&weights[0]), uintptr(4*ldWeights), 4, steps
	m.b, m.panelBytes, m.panels = address(&b.values.data[from/b.lanes*panelWidth]), uintptr(4*panelWidth*b.values.steps), b.values.panels()
	m.c, m.ldc, m.add = address(&output[0]), uintptr(4*b.ldOut), flag(from > 0)
	b.micro(m)
}

// rescale brings what a query has summed over the keys before from to its new maximum.
func (b *queryBlock) rescale(r, from int) {
	if factor := b.states[r].factor; from > 0 && factor != 1 {
		sums := b.output[r*b.ldOut : (r+1)*b.ldOut]
		active.scale(sums, sums, factor)
	}
}

// exponentials turns the scores that a query sees into softmax numerators, the left operand's units of a row.
func (at *attention) exponentials(weights, seen []float32, scale float32, s *softmaxState) {
	if len(seen) == 0 {
		s.factor = 1
		clear(weights)
		return
	}
	if at.precision == BFloat16 {
		pairs := asBF16(weights)
		active.softmaxBF16(pairs[:len(seen)], seen, scale, s)
		clear(pairs[len(seen):])
		return
	}
	active.softmaxF32(weights[:len(seen)], seen, scale, s)
	clear(weights[len(seen):])
}

// finish stores the rows of one head.
func (at *attention) finish(ws *Workspace, output []float32, ldOut, row, rows, col int) {
	f := &ws.finisher
	f.ldSums, f.rows, f.alpha = uintptr(ldOut)*4, rows, 1
	f.bias, f.scale, f.accumulate = &at.zero, &at.one, 0
	if at.opt.Accumulate {
		f.accumulate = 1
	}
	for j := 0; j < at.head; j += panelWidth {
		f.sums, f.cols = address(&output[j]), min(panelWidth, at.head-j)
		to := row*at.dst.Stride + col + j
		if at.dst.H != nil {
			f.dst, f.ldDst = address(&at.dst.H[to]), uintptr(at.dst.Stride)*2
			active.finishBF16(f, None)
		} else {
			f.dst, f.ldDst = address(&at.dst.F[to]), uintptr(at.dst.Stride)*4
			active.finishF32(f, None)
		}
	}
}
