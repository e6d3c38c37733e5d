package kernel

import (
	"fmt"
	"sync"
	"unsafe"
)

// Epilogue is what Linear does to a product before it stores it:
//
//	dst = act(product + Bias) * Scale (+ dst where Accumulate is set)
type Epilogue struct {
	Bias       []float32 // [N] or nil
	Act        Activation
	Scale      []float32 // [N] or nil: LayerScale
	Accumulate bool      // the residual: add to dst
}

// Linear sets dst [M, N] to the epilogue of x [M, K] W^T, on all workers. x and
// dst may have either format; x is rounded to the weight's precision. dst must not
// overlap x.
func Linear(dst, x Mat, w *Weight, ep Epilogue) {
	runProduct(dst, x, false, w, 1, ep)
}

// Linear is the same on the calling goroutine alone.
func (ws *Workspace) Linear(dst, x Mat, w *Weight, ep Epilogue) {
	ws.linear(dst, x, false, w, 1, ep)
}

// Product sets c to alpha A W^T (added to c with accumulate), A being a or, with
// transA, the transpose of a, on all workers. It is Gemm for a right operand that
// serves several products.
func Product(c Mat, alpha float32, a Mat, transA bool, w *Weight, accumulate bool) {
	runProduct(c, a, transA, w, alpha, Epilogue{Accumulate: accumulate})
}

// Product sets c to alpha A W^T (added to c with accumulate), A being a or, with
// transA, the transpose of a; on the calling goroutine alone. It is Gemm for a
// right operand that serves many products.
func (ws *Workspace) Product(c Mat, alpha float32, a Mat, transA bool, w *Weight, accumulate bool) {
	ws.linear(c, a, transA, w, alpha, Epilogue{Accumulate: accumulate})
}

// Gemm sets c [M, N] to alpha A B (added to c with accumulate), on all workers.
// A [M, K] is a, or with transA the transpose of a [K, M]; B [K, N] is b, or with
// transB the transpose of b [N, K]. The operands are rounded to p. c must not
// overlap a or b.
func Gemm(c Mat, alpha float32, a Mat, transA bool, b Mat, transB bool, accumulate bool, p Precision) {
	ws := GetWorkspace()
	defer ws.Release()
	forEachSlab(c, a, transA, b, transB, accumulate, p, func(a, b Mat, accumulate bool) {
		ws.temporary.Repack(b, !transB, p)
		runProduct(c, a, transA, &ws.temporary, alpha, Epilogue{Accumulate: accumulate})
	})
}

// Gemm is the same on the calling goroutine alone, for callers that give each
// worker a product of its own.
func (ws *Workspace) Gemm(c Mat, alpha float32, a Mat, transA bool, b Mat, transB bool, accumulate bool, p Precision) {
	forEachSlab(c, a, transA, b, transB, accumulate, p, func(a, b Mat, accumulate bool) {
		n, k := b.Rows, b.Cols
		if !transB {
			n, k = k, n
		}
		ws.temporary.reshape(n, k, p)
		ws.temporary.packSerial(ws, b, !transB)
		ws.linear(c, a, transA, &ws.temporary, alpha, Epilogue{Accumulate: accumulate})
	})
}

// GemmBias sets c [M, N] to a [M, K] times the transpose of b [N, K], plus bias [N] in every row; on the calling goroutine
// alone. The operands are rounded to p.
func (ws *Workspace) GemmBias(c, a, b Mat, bias []float32, p Precision) {
	ws.temporary.reshape(b.Rows, b.Cols, p)
	ws.temporary.packSerial(ws, b, false)
	ws.linear(c, a, false, &ws.temporary, 1, Epilogue{Bias: bias})
}

// slabUnits bounds the packed copy of a right operand: 256 MB.
const slabUnits = 1 << 26

// forEachSlab calls f with slabs of k so that the packed right operand stays
// small; c must be float32 to take more than one.
func forEachSlab(c, a Mat, transA bool, b Mat, transB bool, accumulate bool, p Precision, f func(a, b Mat, accumulate bool)) {
	m, k, bk, n := a.Rows, a.Cols, b.Rows, b.Cols
	if transA {
		m, k = k, m
	}
	if transB {
		bk, n = n, bk
	}
	if c.Rows != m || c.Cols != n || k != bk {
		panic(fmt.Sprintf("kernel: product [%d, %d] of [%d, %d] and [%d, %d]", c.Rows, c.Cols, m, k, bk, n))
	}
	slab := k
	if units := max(1, slabUnits/max(1, n)) * p.lanes(); units < k && c.F != nil {
		slab = units
	}
	if slab == k {
		f(a, b, accumulate)
		return
	}
	for k0 := 0; k0 < k; k0 += slab {
		k1 := min(k, k0+slab)
		var left, right Mat
		if transA {
			left = a.Slice(k0, k1, 0, m)
		} else {
			left = a.Slice(0, m, k0, k1)
		}
		if transB {
			right = b.Slice(0, n, k0, k1)
		} else {
			right = b.Slice(k0, k1, 0, n)
		}
		f(left, right, accumulate || k0 > 0)
	}
}

// product is one call of Linear, cut into jobs: blocks of rows times blocks of
// panels. However it is cut, every sum has one order.
type product struct {
	dst, a      Mat
	transA      bool
	w           *Weight
	alpha       float32
	ep          Epilogue
	m, k        int
	blockRows   int // rows per job
	rowBlocks   int
	parts       int                        // of the blocks, one for each worker
	coarse      bool                       // the groups
	groups      []int                      // where the groups of panels begin that are jobs' columns, and where the last ends
	run         func(ws *Workspace, i int) // job, bound once
	zero, one   [panelWidth]float32
	nativePairs bool // BFloat16 that the processor multiplies itself
}

var idleProducts struct {
	sync.Mutex
	list []*product
}

func getProduct() *product {
	idleProducts.Lock()
	defer idleProducts.Unlock()
	if last := len(idleProducts.list) - 1; last >= 0 {
		pr := idleProducts.list[last]
		idleProducts.list = idleProducts.list[:last]
		return pr
	}
	pr := new(product)
	pr.run = pr.job
	return pr
}

func (pr *product) release() {
	pr.dst, pr.a, pr.w, pr.ep = Mat{}, Mat{}, nil, Epilogue{}
	idleProducts.Lock()
	idleProducts.list = append(idleProducts.list, pr)
	idleProducts.Unlock()
}

// serialWork is below how many multiply-adds a product is not worth sharing.
const serialWork = 1 << 18

func runProduct(dst, a Mat, transA bool, w *Weight, alpha float32, ep Epilogue) {
	pr := getProduct()
	if pr.prepare(dst, a, transA, w, alpha, ep) {
		if jobs := pr.rowBlocks * (len(pr.groups) - 1); jobs == 1 || pr.m*pr.k*w.N < serialWork {
			serial(jobs, nil, pr.run)
		} else {
			inWorkspaces(jobs, pr.run)
		}
	}
	pr.release()
}

func (ws *Workspace) linear(dst, a Mat, transA bool, w *Weight, alpha float32, ep Epilogue) {
	pr := getProduct()
	if pr.prepare(dst, a, transA, w, alpha, ep) {
		for block := range pr.rowBlocks {
			pr.block(ws, block, 0, w.panels(), 0)
		}
	}
	pr.release()
}

const (
	// leftUnits bounds the left block, which stays in the L2 cache: 670 KB.
	leftUnits = 168 << 10
	// chunkSteps bounds its k steps.
	chunkSteps = 1536
	// blockRows bounds its rows: eight of the largest tiles.
	blockRows = 112
	// fineJobs is what a product is cut into, where it has so many panels: nobody waits long for the last job.
	fineJobs = 64
	// coarseJobs and coarsePanels bound the cut where a worker changes between left blocks that nearly fill its L2 cache: a job should
	// have panels enough to pay for bringing one.
	coarseJobs, coarsePanels = 18, 4
)

// prepare checks the shapes and cuts the work; false: there is nothing to do.
func (pr *product) prepare(dst, a Mat, transA bool, w *Weight, alpha float32, ep Epilogue) bool {
	m, k := a.Rows, a.Cols
	if transA {
		m, k = k, m
	}
	if k != w.K || dst.Rows != m || dst.Cols != w.N {
		panic(fmt.Sprintf("kernel: product [%d, %d] of [%d, %d] and a weight [%d, %d]", dst.Rows, dst.Cols, m, k, w.N, w.K))
	}
	dst.check("product")
	a.check("left operand")
	if ep.Bias != nil {
		checkLen("bias", len(ep.Bias), w.N)
	}
	if ep.Scale != nil {
		checkLen("scale", len(ep.Scale), w.N)
	}
	if dst.empty() {
		return false
	}
	pr.dst, pr.a, pr.transA, pr.w, pr.alpha, pr.ep, pr.m, pr.k = dst, a, transA, w, alpha, ep, m, k
	for j := range pr.one {
		pr.one[j] = 1
	}
	pr.nativePairs = w.Precision == BFloat16 && active.bf16
	tiles := (m + active.microRows - 1) / active.microRows
	height := min(chunkSteps, max(1, w.steps)) * active.microRows
	most := max(1, min(blockRows/active.microRows, leftUnits/height))
	pr.rowBlocks = (tiles + most - 1) / most
	pr.blockRows = (m + pr.rowBlocks - 1) / pr.rowBlocks
	pr.rowBlocks = (m + pr.blockRows - 1) / pr.blockRows
	pr.parts = min(Workers(), pr.rowBlocks)
	jobs, least := fineJobs, 1
	if pr.coarse = pr.rowBlocks > pr.parts && w.steps >= chunkSteps; pr.coarse {
		jobs, least = coarseJobs, coarsePanels
	}
	panels := w.panels()
	want := (jobs + pr.rowBlocks - 1) / pr.rowBlocks
	size := max(min(panels, least), (panels+want-1)/want)
	pr.groups = pr.groups[:0]
	for from := 0; from < panels; from += size {
		if left := panels - from; left <= size {
			size = left
			if left >= 2*least { // smaller jobs at the end, where one worker waits for the other
				size = (left + 1) / 2
			}
		}
		pr.groups = append(pr.groups, from)
	}
	pr.groups = append(pr.groups, panels)
	return true
}

// job makes one group of panels for one block of rows. Each worker has blocks of its own, for which it takes one group of panels after
// another, so that rows stay in its caches from product to product and panels from block to block. Each begins with another group: who
// is first to read a panel waits for memory, who is second finds it in the cache that they share. Of coarse groups the small ones come
// last for all.
func (pr *product) job(ws *Workspace, i int) {
	groups := len(pr.groups) - 1
	part := ((i/groups+1)*pr.parts - 1) / pr.rowBlocks
	first, end := part*pr.rowBlocks/pr.parts, (part+1)*pr.rowBlocks/pr.parts
	i -= first * groups
	turn, block := i/(end-first), first+i%(end-first)
	group := turn
	if !pr.coarse {
		group = (part*groups/pr.parts + turn) % groups
	}
	then := pr.groups[group] // of the worker's next job
	if block == end-1 {
		then = pr.groups[groups]
		if turn+1 < groups {
			then = pr.groups[(group+1)%groups]
		}
	}
	pr.block(ws, block, pr.groups[group], pr.groups[group+1], then)
}

// leftBlock is rows of the left operand as a micro-kernel reads them.
type leftBlock struct {
	start  address
	rs, cs uintptr // bytes from row to row, from step to step
}

// block makes the rows of one block times the panels from to to. Panel then, where there is one, is probably what comes after them.
func (pr *product) block(ws *Workspace, block, from, to, then int) {
	row := block * pr.blockRows
	rows := min(pr.blockRows, pr.m-row)
	lanes := 1
	if pr.nativePairs {
		lanes = 2
	}
	width := pr.w.Precision
	steps := (pr.k + lanes - 1) / lanes
	chunks := max(1, (steps+chunkSteps-1)/chunkSteps)
	chunk := (steps + chunks - 1) / chunks * lanes
	chunk += chunk % 2 // never between the numbers of a pair
	single := chunks == 1
	size := rows * panelWidth
	sums := grow(&ws.sums, size)
	if !single {
		sums = grow(&ws.sums, size*(to-from))
	}
	if pr.k == 0 {
		clear(sums)
		for j := from; j < to; j++ {
			pr.aim(ws, sums[:size], row, rows, j)
			pr.finish(ws)
		}
		return
	}
	for k0 := 0; k0 < pr.k; k0 += chunk {
		k := min(chunk, pr.k-k0)
		left := ws.left(pr.a, pr.transA, row, rows, k0, k, width, pr.nativePairs)
		for j := from; j < to; j++ {
			part := sums[:size]
			if !single {
				part = sums[(j-from)*size : (j-from+1)*size]
			}
			next := j + 1
			if next == to {
				next = then
			}
			last := k0+k == pr.k
			fused := last && active.finishers != nil
			if last {
				pr.aim(ws, part, row, rows, j)
			}
			pr.tiles(ws, left, rows, j, k0, k, part, next, fused)
			if last && !fused {
				pr.finish(ws)
			}
		}
	}
}

// panel returns the steps from k0 on of panel j, expanded to float32 where the
// processor cannot multiply bfloat16.
func (pr *product) panel(ws *Workspace, j, k0, k int) []float32 {
	panel := pr.w.panel(j)
	if pr.w.Precision == Float32 {
		return panel[k0*panelWidth : (k0+k)*panelWidth]
	}
	pairs := panel[k0/2*panelWidth : (k0+k+1)/2*panelWidth]
	if pr.nativePairs {
		return pairs
	}
	expanded := grow(&ws.panel, 2*len(pairs))
	active.expandPairs(expanded, pairs)
	return expanded
}

// tiles multiplies a left block and k steps of panel j from k0 on, all tiles of one piece of k after another where the set wants
// pieces. Meanwhile panel next, where there is one, comes from memory. With finish the sums are finished tile by tile, as the finisher
// says.
func (pr *product) tiles(ws *Workspace, left leftBlock, rows, j, k0, k int, sums []float32, next int, finish bool) {
	panel := pr.panel(ws, j, k0, k)
	lanes, micro := 1, active.microF32
	if pr.nativePairs {
		lanes, micro = 2, active.microBF16
	}
	steps := (k + lanes - 1) / lanes
	pieces := (steps + active.innerSteps - 1) / active.innerSteps
	inner := (steps + pieces - 1) / pieces
	m := &ws.multiplier
	m.cut(rows)
	m.rs, m.cs, m.panels = left.rs, left.cs, 1
	m.c, m.ldc = address(&sums[0]), 4*panelWidth
	m.ahead, m.end = 0, 0
	for s := 0; s < steps; s += inner {
		m.k = min(inner, steps-s)
		m.a, m.b = unsafe.Add(left.start, uintptr(s)*left.cs), address(&panel[s*panelWidth])
		if next < pr.w.panels() {
			step := (k0 + s*lanes) / pr.w.Precision.lanes()
			m.ahead = uintptr(address(&pr.w.panel(next)[step*panelWidth]))
			m.end = m.ahead + uintptr(4*panelWidth*m.k)
		}
		m.add = flag(k0 > 0 || s > 0)
		if finish && s+inner >= steps {
			m.finish, m.finisher = active.finishers[flag(pr.dst.H != nil)][pr.ep.Act], &ws.finisher
		}
		micro(m)
	}
	m.finish, m.finisher = 0, nil
}

// flag is 1 for true, as the assembly reads it.
func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// aim tells the workspace's finisher where a panel's sums [rows, 32] belong.
func (pr *product) aim(ws *Workspace, sums []float32, row, rows, j int) {
	col := j * panelWidth
	cols := min(panelWidth, pr.w.N-col)
	f := &ws.finisher
	f.sums, f.ldSums = address(&sums[0]), 4*panelWidth
	f.rows, f.cols, f.alpha = rows, cols, pr.alpha
	f.accumulate = uint32(flag(pr.ep.Accumulate))
	f.bias = vector(pr.ep.Bias, col, cols, &pr.zero, &ws.bias)
	f.scale = vector(pr.ep.Scale, col, cols, &pr.one, &ws.scale)
	at := row*pr.dst.Stride + col
	if pr.dst.H != nil {
		f.dst, f.ldDst = address(&pr.dst.H[at]), uintptr(pr.dst.Stride)*2
	} else {
		f.dst, f.ldDst = address(&pr.dst.F[at]), uintptr(pr.dst.Stride)*4
	}
}

// finish takes the sums there.
func (pr *product) finish(ws *Workspace) {
	if pr.dst.H != nil {
		active.finishBF16(&ws.finisher, pr.ep.Act)
	} else {
		active.finishF32(&ws.finisher, pr.ep.Act)
	}
}

// vector returns 32 numbers of v from col on: v itself, a padded copy beside its
// end, or without v the default.
func vector(v []float32, col, cols int, otherwise, padded *[panelWidth]float32) *[panelWidth]float32 {
	switch {
	case v == nil:
		return otherwise
	case cols == panelWidth:
		return (*[panelWidth]float32)(v[col:])
	}
	clear(padded[:])
	copy(padded[:], v[col:])
	return padded
}

// left makes rows of the left operand readable to the micro-kernels: in place
// where format and stride allow, else packed.
func (ws *Workspace) left(a Mat, trans bool, row, rows, k0, k int, p Precision, pairs bool) leftBlock {
	lanes := 1
	if pairs {
		lanes = 2
	}
	steps := (k + lanes - 1) / lanes
	if trans {
		width := rows
		if width%16 == 0 {
			width++ // neighbouring steps in different cache sets
		}
		packed := grow(&ws.packedA, steps*width)
		to := Float32
		if pairs {
			to = BFloat16
		}
		ws.packColumns(packed, width, a, row, rows, k0, k, to)
		if p == BFloat16 && !pairs {
			active.roundBF16(packed, packed)
		}
		return leftBlock{address(&packed[0]), 4, uintptr(width) * 4}
	}
	at := row*a.Stride + k0
	if !pairs && a.F != nil && p == Float32 && goodStride(a.Stride*4) {
		return leftBlock{address(&a.F[at]), uintptr(a.Stride) * 4, 4}
	}
	if pairs && a.H != nil && k%2 == 0 && goodStride(a.Stride*2) {
		return leftBlock{address(&a.H[at]), uintptr(a.Stride) * 2, 4}
	}
	return ws.packLeft(a, row, rows, k0, k, p, pairs)
}

// packLeft copies rows side by side, an odd number of cache lines each.
func (ws *Workspace) packLeft(a Mat, row, rows, k0, k int, p Precision, pairs bool) leftBlock {
	to := Float32
	if pairs {
		to = BFloat16
	}
	steps := (k + to.lanes() - 1) / to.lanes()
	stride := steps + 16 - steps%16
	if stride/16%2 == 0 {
		stride += 16
	}
	packed := grow(&ws.packedA, rows*stride)
	for i := range rows {
		dst := packed[i*stride : i*stride+steps]
		ws.convertRow(dst, a, row+i, k0, k, to)
		if p == BFloat16 && !pairs {
			active.roundBF16(dst, dst)
		}
	}
	return leftBlock{address(&packed[0]), uintptr(stride) * 4, 4}
}

// RowStride is the stride, cols or a little more, at which rows of cols numbers can be read by products as they lie; 0 for none.
func RowStride(p Precision, cols int) int {
	if cols == 0 {
		return 0
	}
	stride, bytes := cols, 4/p.lanes()
	for !goodStride(stride * bytes) {
		stride += 64 / bytes
	}
	return stride
}

// goodStride says whether the rows of a tile fall into different sets of the L1
// cache, whose sets repeat every 4096 bytes.
func goodStride(bytes int) bool {
	rest := bytes % 2048
	return rest >= 192 && rest <= 2048-192 && rest != 1024
}
