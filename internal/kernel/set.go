package kernel

import "unsafe"

// panelWidth is how many columns of a product are made at once; the right
// operand is packed in panels of this width, a unit of 4 bytes (one float32 or a
// pair of bfloat16) for each column and step of k. Every instruction set shares it.
const panelWidth = 32

// address stands for the start of memory that a kernel walks with strides in
// bytes; the slices behind it are checked before.
type address = unsafe.Pointer

// kernelSet is one instruction set's kernels. The doc comment of a field is the
// definition that the portable functions in portable.go spell out.
type kernelSet struct {
	name string
	// bf16 says that microBF16 multiplies bfloat16 pairs. Without it BFloat16
	// products round their operands and run in microF32.
	bf16 bool
	// microRows is the height of the largest tile.
	microRows int
	// innerSteps bounds the k steps that a tile runs without a pause, where its part of the panel (128 bytes a step) should come back
	// from the L1 cache for each tile. What comes back from L2 in time needs no pause.
	innerSteps int

	// microF32: for panels q, rows i of the left operand, j < 32:
	//	sum := 0; if add { sum = c[i][32*q+j] }
	//	for p := range k { sum += a[i*rs+p*cs] * panel(q)[p][j] }
	//	c[i][32*q+j] = sum
	microF32 func(m *multiplier)
	// microBF16: the same for k steps of pairs of bfloat16; the odd element of a
	// pair is added before the even one.
	microBF16 func(m *multiplier)

	// finish takes a tile of sums to its place: for i < rows, j < cols <= 32:
	//	y := act(alpha*sums[i][j] + bias[j]) * scale[j]
	//	if accumulate { y += dst[i][j] }
	//	dst[i][j] = y
	// bias and scale hold 32 numbers each; sums has rows of 32.
	finishF32  func(f *finisher, act Activation)
	finishBF16 func(f *finisher, act Activation)
	// finishers are these functions for micro-kernels that call them with each tile's sums. Not every set has them.
	finishers *finisherTable

	// toBF16: dst[i] = bf16(src[i]), to nearest even, subnormals to zero, NaN quiet.
	toBF16 func(dst []uint16, src []float32)
	// fromBF16: dst[i] = src[i] << 16.
	fromBF16 func(dst []float32, src []uint16)
	// fromF16: dst[i] is the IEEE half-precision number of the little-endian bytes 2i and 2i+1, NaN quiet.
	fromF16 func(dst []float32, src []byte)
	// roundBF16: dst[i] = float32(bf16(src[i])).
	roundBF16 func(dst, src []float32)

	// expandPairs splits rows of 32 pairs of bfloat16 into two rows of float32.
	expandPairs func(dst, src []float32)

	// packRows32 packs up to 32 rows of 32-bit units: for j < rows, p < k:
	//	dst[p*32+j] = src[j*ld+p]; for rows <= j < 32: dst[p*32+j] = 0
	// ld in bytes.
	packRows32 func(dst, src address, rows, k int, ld uintptr)
	// interleave: dst[2*j] = even[j], dst[2*j+1] = odd[j] for bfloat16 numbers.
	interleave func(dst, even, odd []uint16)

	// pairPanel packs pairs of rows of 32 bfloat16 numbers, at least one: unit j of row p of dst is number j of rows 2p and 2p+1 of
	// src; ld and ldDst in bytes.
	pairPanel func(dst, src address, pairs int, ld, ldDst uintptr)
	// pairPanelF32: the same for rows of float32, which it rounds. Not every set has it.
	pairPanelF32 func(dst, src address, pairs int, ld, ldDst uintptr)

	// pairBF16: dst[2*j] = bf16(even[j]), dst[2*j+1] = bf16(odd[j]).
	pairBF16 func(dst []uint16, even, odd []float32)

	// moments: mean of x and mean of (x-mean)^2.
	moments func(x []float32) (mean, variance float32)
	// normalize: dst[i] = (x[i]-mean)*inverse*gamma[i] + beta[i].
	normalize func(dst, x, gamma, beta []float32, mean, inverse float32)
	// maximum of x, NaN when there is one.
	maximum func(x []float32) float32
	// highest: of the lines y = from[i] + rise[i]*x, at least one, the largest y at each x of at, and which line has it, the first
	// of equal ones. A NaN is not larger than anything, nor anything than a NaN of the first line.
	highest func(best []float32, winner []int32, at, from, rise []float32)
	// expSum: dst[i] = exp(x[i]*scale - shift), returns the sum of dst.
	expSum func(dst, x []float32, scale, shift float32) float32
	// expWeights: the same for softmax, which bears a relative error of 1e-7 for
	// each unit of |x[i]*scale| and |shift|.
	expWeights func(dst, x []float32, scale, shift float32) float32
	// softmaxF32 goes on with the softmax of a row by its next scores, at least one: with top the largest of s.top and
	// scale*x[i],
	//	dst[i] = exp(scale*x[i] - top)
	//	s.factor = exp(s.top - top)
	//	s.sum = s.sum*s.factor + the sum of dst
	//	s.top = top
	// What was summed under the old maximum is to be multiplied by s.factor. While there was nothing but -Inf, dst is 0 and
	// s.factor 1. NaN and +Inf make s.sum NaN.
	softmaxF32 func(dst, x []float32, scale float32, s *softmaxState)
	// softmaxBF16: the same, the exponentials with a relative error of 1e-4 and dst rounded to bfloat16, the sum unrounded.
	softmaxBF16 func(dst []uint16, x []float32, scale float32, s *softmaxState)
	// softmaxFour is softmaxBF16 for four rows of n scores, to the bit where sums are numbers. Rows of x and dst are ldX and ldDst
	// bytes apart, and the four states follow one another. Not every set has it.
	softmaxFour func(dst *uint16, ldDst uintptr, x *float32, ldX uintptr, n int, scale float32, s *softmaxState)
	// dot: sum of x[i]*y[i].
	dot func(x, y []float32) float32
	// axpy: y[i] += alpha*x[i].
	axpy func(y []float32, alpha float32, x []float32)
	// scale: dst[i] = alpha*x[i].
	scale func(dst, x []float32, alpha float32)
	// activate: dst[i] = act(x[i]).
	activate func(dst, x []float32, act Activation)
	// adam: the AdamW step, see AdamW.
	adam func(w, m, v, g []float32, s *adamStep)
	// weighRows: dst[i] = clip((1<<21 + sum over k of weights[k]*src[k*stride+i]) >> 22) to 0..255, in 32 bits; one weight at least.
	weighRows func(dst, src []byte, stride int, weights []int32)
	// paeth: PNG's filter of a row of RGB pixels.
	paeth func(dst, row, above []byte)
	// toRGB and upsample: what YCbCrToRGB and UpsampleChroma say.
	toRGB    func(dst, luma, cb, cr []byte)
	upsample func(dst, near, far []byte)
	// peak runs steps of independent multiply-adds in registers and returns the
	// floating-point operations done.
	peakF32  func(steps int) int
	peakBF16 func(steps int) int
}

// softmaxState is what a row's softmax has come to. It begins with the maximum -Inf.
type softmaxState struct{ top, sum, factor float32 }

// active is the chosen instruction set. Only tests change it later.
var active = choose()

// multiplier is what a micro-kernel needs, in one struct that the assembly reads by offset.
type multiplier struct {
	a          address // left operand: step p of row i is at a + i*rs + p*cs
	rs, cs     uintptr // bytes
	b          address // the first panel: rows of 32 units of 4 bytes
	panelBytes uintptr // from panel to panel
	c          address // sums of the first panel
	ldc        uintptr // bytes
	// ahead to end is memory that is wanted soon: it may be fetched into the caches on the way.
	ahead, end uintptr
	k, panels  int
	// The rows: tall tiles of height rows, at least one, then short tiles of one row less.
	height, tall, short int
	add                 uint64 // not zero: add to c
	// finish, of the set's finishers, takes each tile's sums to their place, with the finisher of the first tile: its sums, dst and rows
	// are the kernel's to change. c is scratch memory then, for one tile unless sums are added to it. 0: the sums stay in c.
	finish   uintptr
	finisher *finisher
}

// finisherTable holds the addresses of finishers: to float32 and to bfloat16, by activation.
type finisherTable [2][GELUTanh + 1]uintptr

// cut divides rows into tiles of about one height.
func (m *multiplier) cut(rows int) {
	tiles := (rows + active.microRows - 1) / active.microRows
	m.height = (rows + tiles - 1) / tiles
	m.short = tiles*m.height - rows
	m.tall = tiles - m.short
}

// rows is how many rows the tiles have.
func (m *multiplier) rows() int { return m.tall*m.height + m.short*(m.height-1) }

// finisher is what finish needs, in one struct that the assembly reads by offset.
type finisher struct {
	sums       address // rows of 32 float32
	dst        address // float32 or bfloat16
	ldDst      uintptr // bytes
	rows, cols int
	alpha      float32
	accumulate uint32
	bias       *[panelWidth]float32
	scale      *[panelWidth]float32
	ldSums     uintptr             // bytes
	edge       [panelWidth]float32 // for kernels that store whole rows only
}
