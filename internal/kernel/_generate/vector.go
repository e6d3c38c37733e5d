package main

import (
	"fmt"
	"math"
)

// The functions here emit the same steps for either width of vector. Constants
// are memory operands, so that AVX2's sixteen registers suffice.

// load reads lanes float32 (with tail the masked part, zeros beyond).
func (g *gen) load(dst int, at string, tail bool) {
	if tail {
		g.op("VMOVUPS.Z %s, K1, %s", at, g.v(dst))
		return
	}
	g.op("VMOVUPS %s, %s", at, g.v(dst))
}

func (g *gen) store(src int, at string, tail bool) {
	if tail {
		g.op("VMOVUPS %s, K1, %s", g.v(src), at)
		return
	}
	g.op("VMOVUPS %s, %s", g.v(src), at)
}

func (g *gen) zero(dst int) {
	if g.lanes == 16 {
		g.op("VPXORD %s, %s, %s", g.v(dst), g.v(dst), g.v(dst))
		return
	}
	g.op("VXORPS %s, %s, %s", g.v(dst), g.v(dst), g.v(dst))
}

// loadBF16 reads lanes bfloat16 numbers as float32.
func (g *gen) loadBF16(dst int, at string, tail bool) {
	if tail {
		g.op("VPMOVZXWD.Z %s, K1, %s", at, g.v(dst))
	} else {
		g.op("VPMOVZXWD %s, %s", at, g.v(dst))
	}
	g.op("VPSLLD $16, %s, %s", g.v(dst), g.v(dst))
}

// roundBF16 leaves the bfloat16 of src in the low halves of its lanes; t and u are
// scratch. Subnormals become zero and NaN quiet.
func (g *gen) roundBF16(src, t, u int) {
	x, y, z := g.v(src), g.v(t), g.v(u)
	if g.lanes == 16 {
		g.op("VPTESTNMD %s, %s, K3", g.constant(0x7f800000), x)
		g.op("VCMPPS $3, %s, %s, K4", x, x)
		g.op("VPANDD %s, %s, K3, %s", g.constant(0x80000000), x, x)
		g.op("VPSRLD $16, %s, %s", x, y)
		g.op("VPORD %s, %s, %s", g.constant(0x40), y, z)
		g.op("VPANDD %s, %s, %s", g.constant(1), y, y)
		g.op("VPADDD %s, %s, %s", g.constant(0x7fff), y, y)
		g.op("VPADDD %s, %s, %s", y, x, x)
		g.op("VPSRLD $16, %s, %s", x, x)
		g.op("VMOVDQA32 %s, K4, %s", z, x)
		return
	}
	// AVX2: blends instead of masks.
	g.op("VPAND %s, %s, %s", g.constant(0x7f800000), x, y)
	g.op("VPXOR %s, %s, %s", z, z, z)
	g.op("VPCMPEQD %s, %s, %s", z, y, y) // all ones where the exponent is zero
	g.op("VPAND %s, %s, %s", g.constant(0x80000000), x, z)
	g.op("VBLENDVPS %s, %s, %s, %s", y, z, x, x)
	g.op("VPSRLD $16, %s, %s", x, y)
	g.op("VPAND %s, %s, %s", g.constant(1), y, y)
	g.op("VPADDD %s, %s, %s", g.constant(0x7fff), y, y)
	g.op("VPADDD %s, %s, %s", y, x, y)
	g.op("VPSRLD $16, %s, %s", y, y)
	g.op("VCMPPS $3, %s, %s, %s", x, x, z)
	g.op("VPSRLD $16, %s, %s", x, x)
	g.op("VPOR %s, %s, %s", g.constant(0x40), x, x)
	g.op("VBLENDVPS %s, %s, %s, %s", z, x, y, x)
}

// storeBF16 rounds src and stores lanes bfloat16 numbers; t and u are scratch.
func (g *gen) storeBF16(src, t, u int, at string, tail bool) {
	switch {
	case g.native:
		g.cvtBF16(src, src)
	case g.lanes == 16:
		g.roundBF16(src, t, u)
		g.op("VPMOVDW Z%d, Y%d", src, src)
	default:
		g.roundBF16(src, t, u)
		g.op("VEXTRACTI128 $1, Y%d, X%d", src, t)
		g.op("VPACKUSDW X%d, X%d, X%d", t, src, src)
		g.op("VMOVDQU X%d, %s", src, at)
		return
	}
	if tail {
		g.op("VMOVDQU16 Y%d, K1, %s", src, at)
		return
	}
	g.op("VMOVDQU16 Y%d, %s", src, at)
}

// exp replaces x by exp(x): Cephes' expf, n = round(x/ln 2), a polynomial of the
// rest, times 2^n. n and p are scratch. NaN stays NaN.
func (g *gen) exp(x, n, p int) {
	X, N, P := g.v(x), g.v(n), g.v(p)
	// NaN passes MAX and MIN as the first operand of Go's order, so the limits
	// go to a register first.
	g.op("VMOVUPS %s, %s", g.number(-104), P)
	g.op("VMAXPS %s, %s, %s", X, P, X)
	g.op("VMOVUPS %s, %s", g.number(89), P)
	g.op("VMINPS %s, %s, %s", X, P, X)
	g.op("VMULPS %s, %s, %s", g.number(log2E), X, N)
	if g.lanes == 16 {
		g.op("VRNDSCALEPS $8, %s, %s", N, N)
	} else {
		g.op("VROUNDPS $8, %s, %s", N, N)
	}
	g.op("VFNMADD231PS %s, %s, %s", g.number(0.693359375), N, X)
	g.op("VFNMADD231PS %s, %s, %s", g.number(-2.12194440e-4), N, X)
	g.op("VMOVUPS %s, %s", g.number(1.9875691500e-4), P)
	for _, c := range []float32{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1, 1} {
		g.op("VFMADD213PS %s, %s, %s", g.number(c), X, P)
	}
	if g.lanes == 16 {
		g.op("VSCALEFPS %s, %s, %s", N, P, X)
		return
	}
	// Two factors, since 2^n alone may be beyond the normal numbers.
	g.op("VCVTPS2DQ %s, %s", N, N)
	g.op("VPSRAD $1, %s, %s", N, X)
	g.op("VPSUBD %s, %s, %s", X, N, N)
	for _, half := range []string{X, N} {
		g.op("VPADDD %s, %s, %s", g.constant(127), half, half)
		g.op("VPSLLD $23, %s, %s", half, half)
		g.op("VMULPS %s, %s, %s", half, P, P)
	}
	g.op("VMOVAPS %s, %s", P, X)
}

// powerOfTwo approximates 2^r on [0, 1] with a relative error of 8e-8; the highest power
// first.
var powerOfTwo = []float32{0.00187757670004446, 0.008989340023520882, 0.055826318116286106, 0.2401536170211082, 0.6931530732026282, 0.9999999250635878}

// coarsePowerOfTwo is the same with a relative error of 7.5e-5, for what is rounded to bfloat16 next.
var coarsePowerOfTwo = []float32{0.07802452266443136, 0.2260671553931319, 0.6958335405064467, 0.9999252185640101}

// power replaces x by 2^x with the polynomial of these operands, the highest power first; r and p are
// scratch. VREDUCEPS takes the whole part off and VSCALEFPS multiplies by two to
// its power; both give the right limits for infinities.
func (g *gen) power(x, r, p int, polynomial []string) {
	g.op("VREDUCEPS $1, %s, %s", g.v(x), g.v(r))
	g.op("VMOVUPS %s, %s", polynomial[0], g.v(p))
	for _, c := range polynomial[1:] {
		g.op("VFMADD213PS %s, %s, %s", c, g.v(r), g.v(p))
	}
	g.op("VSCALEFPS %s, %s, %s", g.v(x), g.v(p), g.v(x))
}

// inMemory are the coefficients of a polynomial as memory operands.
func (g *gen) inMemory(coefficients []float32) (operands []string) {
	for _, c := range coefficients {
		operands = append(operands, g.number(c))
	}
	return operands
}

// inRegisters loads them into registers from 20 on.
func (g *gen) inRegisters(coefficients []float32) (operands []string) {
	for i, c := range coefficients {
		g.op("VMOVUPS %s, %s", g.number(c), g.v(20+i))
		operands = append(operands, g.v(20+i))
	}
	return operands
}

// gelu replaces x by x/2 (1 + erf(x/sqrt 2)): erf as the rational function of
// Eigen on [-4, 4]. t, p and q are scratch.
func (g *gen) gelu(x, t, p, q int) {
	X, T, P, Q := g.v(x), g.v(t), g.v(p), g.v(q)
	g.op("VMULPS %s, %s, %s", g.number(0.70710678118654752), X, T)
	g.op("VMOVUPS %s, %s", g.number(-4), P)
	g.op("VMAXPS %s, %s, %s", T, P, T)
	g.op("VMOVUPS %s, %s", g.number(4), P)
	g.op("VMINPS %s, %s, %s", T, P, T)
	g.op("VMOVUPS %s, %s", g.number(-2.72614225801306e-10), P)
	Z := g.v(g.spare())
	g.op("VMULPS %s, %s, %s", T, T, Z)
	for _, c := range []float32{2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02} {
		g.op("VFMADD213PS %s, %s, %s", g.number(c), Z, P)
	}
	g.op("VMULPS %s, %s, %s", T, P, P)
	g.op("VMOVUPS %s, %s", g.number(-1.45660718464996e-05), Q)
	for _, c := range []float32{-2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02} {
		g.op("VFMADD213PS %s, %s, %s", g.number(c), Z, Q)
	}
	g.op("VDIVPS %s, %s, %s", Q, P, P)
	g.op("VADDPS %s, %s, %s", g.number(1), P, P)
	// Far down 1 + erf is zero, whatever the division left.
	if g.lanes == 16 {
		g.op("VCMPPS $13, %s, %s, K3", g.number(-5.75), X) // x >= -5.75, false for NaN
		g.op("VMOVAPS.Z %s, K3, %s", P, P)
	} else {
		g.op("VCMPPS $13, %s, %s, %s", g.number(-5.75), X, Q)
		g.op("VANDPS %s, %s, %s", Q, P, P)
	}
	g.op("VMULPS %s, %s, %s", g.number(0.5), X, X)
	g.op("VMULPS %s, %s, %s", P, X, X)
}

// spare is a scratch register that no caller passes.
func (g *gen) spare() int {
	if g.lanes == 16 {
		return 31
	}
	return 15
}

// sigmoid replaces x by x/(1 + exp(-c x)); t, n and p are scratch.
func (g *gen) sigmoid(c float32, x, t, n, p int) {
	g.op("VMULPS %s, %s, %s", g.number(-c*g.exponent()), g.v(x), g.v(t))
	g.gate(x, t, n, p)
}

// exponent is what gate's exponents are to be multiplied by.
func (g *gen) exponent() float32 {
	if g.coarse {
		return math.Log2E
	}
	return 1
}

// gate replaces x by x/(1 + exp(t/exponent)); t, n and p are scratch.
func (g *gen) gate(x, t, n, p int) {
	if g.coarse {
		g.power(t, n, p, g.inMemory(coarsePowerOfTwo))
		g.op("VADDPS %s, %s, %s", g.number(1), g.v(t), g.v(t))
		g.op("VRCP14PS %s, %s", g.v(t), g.v(t))
		g.op("VMULPS %s, %s, %s", g.v(t), g.v(x), g.v(x))
		return
	}
	g.exp(t, n, p)
	g.op("VADDPS %s, %s, %s", g.number(1), g.v(t), g.v(t))
	g.op("VDIVPS %s, %s, %s", g.v(t), g.v(x), g.v(x))
}

// geluTanh replaces x by x/(1 + exp(-c (x + 0.044715 x^3))), c = 2 sqrt(2/pi); t, n and p are scratch.
func (g *gen) geluTanh(x, t, n, p int) {
	const slope, cube = 1.5957691216057308, 0.044715
	g.op("VMULPS %s, %s, %s", g.v(x), g.v(x), g.v(t))
	g.op("VMOVUPS %s, %s", g.number(-slope*cube*g.exponent()), g.v(p))
	g.op("VFMADD213PS %s, %s, %s", g.number(-slope*g.exponent()), g.v(t), g.v(p))
	g.op("VMULPS %s, %s, %s", g.v(x), g.v(p), g.v(t))
	g.gate(x, t, n, p)
}

var activations = []string{"None", "GELU", "QuickGELU", "ReLU", "SiLU", "GELUTanh"}

// activate replaces x by act(x); t, n and p are scratch.
func (g *gen) activate(act string, x, t, n, p int) {
	switch act {
	case "GELU":
		g.gelu(x, t, n, p)
	case "QuickGELU":
		g.sigmoid(1.702, x, t, n, p)
	case "SiLU":
		g.sigmoid(1, x, t, n, p)
	case "GELUTanh":
		g.geluTanh(x, t, n, p)
	case "ReLU":
		g.zero(t)
		g.op("VMAXPS %s, %s, %s", g.v(x), g.v(t), g.v(x))
	}
}

// finish is kernelSet.finish for one activation and format. AVX2 does whole rows
// of 32 only.
func (g *gen) finish(act, format string) {
	g.function("finish"+format+act, 8, "(f *finisher)")
	g.op("MOVQ f+0(FP), AX")
	g.op("MOVQ 0(AX), SI")   // sums
	g.op("MOVQ 8(AX), DI")   // dst
	g.op("MOVQ 16(AX), R8")  // bytes from row to row of dst
	g.op("MOVQ 24(AX), DX")  // rows
	g.op("MOVQ 32(AX), CX")  // cols
	g.op("MOVL 44(AX), R12") // accumulate
	g.op("MOVQ 48(AX), R10") // bias
	g.op("MOVQ 56(AX), R11") // scale
	g.op("MOVQ 64(AX), R9")  // bytes from row to row of sums
	done := g.fresh("done")
	if g.lanes == 8 {
		g.op("VBROADCASTSS 40(AX), %s", g.v(14))
		g.finishRows(done, func() {
			g.finishPair(act, format, 0)
			g.finishPair(act, format, 2)
		})
	} else {
		const alpha, bias, scale = 16, 17, 19
		g.op("VBROADCASTSS 40(AX), Z%d", alpha)
		for v := range 2 {
			g.op("VMOVUPS %d(R10), Z%d", 64*v, bias+v)
			g.op("VMOVUPS %d(R11), Z%d", 64*v, scale+v)
		}
		row := func(masked bool) func() {
			return func() { g.finishRow(act, format, alpha, bias, scale, masked) }
		}
		part := g.fresh("part")
		g.op("CMPQ CX, $32")
		g.op("JNE  %s", part)
		g.finishRows(done, row(false))
		g.op("JMP  %s", done)
		g.label(part)
		g.op("MOVQ $1, BX")
		g.op("SHLQ CX, BX")
		g.op("DECQ BX")
		g.op("KMOVW BX, K1")
		g.op("SHRQ $16, BX")
		g.op("KMOVW BX, K2")
		g.finishRows(done, row(true))
	}
	g.label(done)
	g.ret()
}

// finisherTable emits a function that says where the finishers are, for micro-kernels to call them: those to float32 by activation, then
// those to bfloat16.
func (g *gen) finisherTable(halfSet string) {
	g.function("finishers", 8, "(table *finisherTable)")
	g.op("MOVQ table+0(FP), DI")
	at := 0
	for _, format := range []struct{ name, set string }{{"F32", "AVX512"}, {"BF16", halfSet}} {
		for _, act := range activations {
			g.op("LEAQ ·finish%s%s%s(SB), AX", format.name, act, format.set)
			g.op("MOVQ AX, %d(DI)", at)
			at += 8
		}
	}
	g.op("RET")
}

// finishRows walks over the rows of sums and dst.
func (g *gen) finishRows(done string, row func()) {
	loop := g.fresh("row")
	g.op("TESTQ DX, DX")
	g.op("JEQ %s", done)
	g.label(loop)
	row()
	g.op("ADDQ R9, SI")
	g.op("ADDQ R8, DI")
	g.op("DECQ DX")
	g.op("JNE %s", loop)
}

// finishRow takes a row of sums to dst with AVX-512, masked where K1 and K2 cut it. It asks for the line of dst where the next
// panel will come, which was last touched long ago.
func (g *gen) finishRow(act, format string, alpha, bias, scale int, masked bool) {
	x := func(v int) string { return g.v(5 * v) }
	for v := range 2 {
		g.op("VMOVUPS %d(SI), %s", 64*v, x(v))
		g.op("VFMADD213PS Z%d, Z%d, %s", bias+v, alpha, x(v))
		g.coarse = format == "BF16"
		g.activate(act, 5*v, 5*v+1, 5*v+2, 5*v+3)
		g.coarse = false
		g.op("VMULPS Z%d, %s, %s", scale+v, x(v), x(v))
	}
	wide := map[string]int{"F32": 64, "BF16": 32}[format] // bytes of a vector in dst
	mask := func(v int) string {
		if masked {
			return fmt.Sprintf(" K%d,", v+1)
		}
		return ""
	}
	zeroing := map[bool]string{true: ".Z"}[masked]
	plain := g.fresh("plain")
	g.op("TESTL R12, R12")
	g.op("JEQ %s", plain)
	for v := range 2 {
		if format == "F32" {
			g.op("VMOVUPS%s %d(DI),%s Z%d", zeroing, wide*v, mask(v), 5*v+1)
		} else {
			g.op("VPMOVZXWD%s %d(DI),%s Z%d", zeroing, wide*v, mask(v), 5*v+1)
			g.op("VPSLLD $16, Z%d, Z%d", 5*v+1, 5*v+1)
		}
		g.op("VADDPS Z%d, %s, %s", 5*v+1, x(v), x(v))
	}
	g.label(plain)
	switch {
	case format == "F32":
		for v := range 2 {
			g.op("VMOVUPS %s,%s %d(DI)", x(v), mask(v), wide*v)
		}
	case g.native && !masked:
		g.cvtPairBF16(0, 0, 5)
		g.op("VMOVUPS Z0, (DI)")
	default:
		for v := range 2 {
			if g.native {
				g.cvtBF16(5*v, 5*v)
			} else {
				g.roundBF16(5*v, 5*v+1, 5*v+2)
				g.op("VPMOVDW %s, Y%d", x(v), 5*v)
			}
			g.op("VMOVDQU16 Y%d,%s %d(DI)", 5*v, mask(v), wide*v)
		}
	}
	if !masked {
		for at := 2 * wide; at < 4*wide; at += 64 {
			g.prefetchWrite(at)
		}
	}
}

// finishPair takes two vectors of a row to dst with AVX2.
func (g *gen) finishPair(act, format string, first int) {
	plain := g.fresh("plain")
	size := map[string]int{"F32": 4, "BF16": 2}[format]
	// Each vector has its own scratch, so that the processor overlaps them.
	register := func(v, i int) int { return v%2*5 + i }
	for v := first; v < first+2; v++ {
		x := register(v, 0)
		at := v * g.bytes()
		g.op("VMOVUPS %d(SI), %s", at, g.v(x))
		g.op("VFMADD213PS %d(R10), %s, %s", at, g.v(14), g.v(x))
		g.activate(act, x, register(v, 1), register(v, 2), register(v, 3))
		g.op("VMULPS %d(R11), %s, %s", at, g.v(x), g.v(x))
	}
	at := func(v int) string { return fmt.Sprintf("%d(DI)", v*g.lanes*size) }
	g.op("TESTL R12, R12")
	g.op("JEQ %s", plain)
	for v := first; v < first+2; v++ {
		x, t := register(v, 0), register(v, 1)
		if size == 4 {
			g.load(t, at(v), false)
		} else {
			g.loadBF16(t, at(v), false)
		}
		g.op("VADDPS %s, %s, %s", g.v(t), g.v(x), g.v(x))
	}
	g.label(plain)
	for v := first; v < first+2; v++ {
		x := register(v, 0)
		if size == 4 {
			g.store(x, at(v), false)
		} else {
			g.storeBF16(x, register(v, 1), register(v, 2), at(v), false)
		}
	}
}

// each emits a loop over n numbers (in CX) that calls body for every vector: in
// blocks of unroll vectors, singly, and with AVX-512 for the masked rest (AVX2
// functions get multiples of 8). advance moves the pointers by that many numbers.
func (g *gen) each(unroll int, body func(u int, tail bool), advance func(n int)) {
	block, single, rest, done := g.fresh("block"), g.fresh("single"), g.fresh("rest"), g.fresh("done")
	if unroll > 1 {
		g.label(block)
		g.op("CMPQ CX, $%d", unroll*g.lanes)
		g.op("JLT %s", single)
		for u := range unroll {
			body(u, false)
		}
		advance(unroll * g.lanes)
		g.op("SUBQ $%d, CX", unroll*g.lanes)
		g.op("JMP %s", block)
	}
	g.label(single)
	g.op("CMPQ CX, $%d", g.lanes)
	g.op("JLT %s", rest)
	body(0, false)
	advance(g.lanes)
	g.op("SUBQ $%d, CX", g.lanes)
	g.op("JMP %s", single)
	g.label(rest)
	if g.lanes == 16 {
		g.op("TESTQ CX, CX")
		g.op("JEQ %s", done)
		g.op("MOVQ $1, BX")
		g.op("SHLQ CX, BX")
		g.op("DECQ BX")
		g.op("KMOVW BX, K1")
		body(0, true)
	}
	g.label(done)
}

// fold adds (or with VMAXPS takes the largest of) the lanes of register 0 into X0.
func (g *gen) fold(op string) {
	if g.lanes == 16 {
		g.op("VEXTRACTF64X4 $1, Z0, Y1")
		g.op("%s Y1, Y0, Y0", op)
	}
	g.op("VEXTRACTF128 $1, Y0, X1")
	g.op("%s X1, X0, X0", op)
	g.op("VPERMILPS $0x4e, X0, X1")
	g.op("%s X1, X0, X0", op)
	g.op("VPERMILPS $0xb1, X0, X1")
	g.op("%s X1, X0, X0", op)
}

// at is an operand u vectors of size-byte numbers beyond a pointer.
func (g *gen) at(pointer string, u, size int) string {
	if u == 0 {
		return "(" + pointer + ")"
	}
	return fmt.Sprintf("%d(%s)", u*g.lanes*size, pointer)
}

func (g *gen) conversions() {
	g.function("toBF16", 24, "(dst *uint16, src *float32, n int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	g.each(2, func(u int, tail bool) {
		g.load(3*u, g.at("SI", u, 4), tail)
		g.storeBF16(3*u, 3*u+1, 3*u+2, g.at("DI", u, 2), tail)
	}, func(n int) {
		g.op("ADDQ $%d, SI", 4*n)
		g.op("ADDQ $%d, DI", 2*n)
	})
	g.ret()
}

// widenF16 emits the exact widening of IEEE half-precision numbers.
func (g *gen) widenF16() {
	g.function("fromF16", 24, "(dst *float32, src *byte, n int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	g.each(4, func(u int, tail bool) {
		switch {
		case g.lanes == 8:
			g.op("VCVTPH2PS %s, Y%d", g.at("SI", u, 2), u)
		case tail:
			g.op("VMOVDQU16.Z (SI), K1, Y%d", u)
			g.op("VCVTPH2PS Y%d, Z%d", u, u)
		default:
			g.op("VCVTPH2PS %s, Z%d", g.at("SI", u, 2), u)
		}
		g.store(u, g.at("DI", u, 4), tail)
	}, func(n int) {
		g.op("ADDQ $%d, SI", 2*n)
		g.op("ADDQ $%d, DI", 4*n)
	})
	g.ret()
}

// pairs emits the rounding of two rows into pairs of bfloat16.
func (g *gen) pairs() {
	g.function("pairBF16", 32, "(dst *uint16, even, odd *float32, n int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ even+8(FP), SI")
	g.op("MOVQ odd+16(FP), R8")
	g.op("MOVQ n+24(FP), CX")
	or := "VPOR"
	if g.lanes == 16 {
		or = "VPORD"
	}
	g.each(2, func(u int, tail bool) {
		even, odd, t := 4*u, 4*u+1, 4*u+2
		g.load(even, g.at("SI", u, 4), tail)
		g.load(odd, g.at("R8", u, 4), tail)
		for _, x := range []int{even, odd} {
			if g.native {
				g.cvtBF16(x, x)
				g.op("VPMOVZXWD Y%d, Z%d", x, x)
			} else {
				g.roundBF16(x, t, t+1)
			}
		}
		g.op("VPSLLD $16, %s, %s", g.v(odd), g.v(odd))
		g.op("%s %s, %s, %s", or, g.v(odd), g.v(even), g.v(even))
		g.store(even, g.at("DI", u, 4), tail)
	}, func(n int) {
		g.op("ADDQ $%d, SI", 4*n)
		g.op("ADDQ $%d, R8", 4*n)
		g.op("ADDQ $%d, DI", 4*n)
	})
	g.ret()
}

// expSum emits exp with its sum. fast takes the exponent in float32 to base 2,
// which costs a relative error of about 1e-7 for each unit of it.
func (g *gen) expSum(name string, fast bool) {
	g.function(name, 36, "(dst *float32, x *float32, n int, scale, shift float32) float32")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ x+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	scale, shift := g.spare()-1, g.spare()-2
	g.op("VBROADCASTSS scale+24(FP), %s", g.v(scale))
	g.op("VBROADCASTSS shift+28(FP), %s", g.v(shift))
	unroll := 4
	if g.lanes == 8 {
		unroll = 3
	}
	exponential := func(x int) { g.exp(x, x+1, x+2) }
	if fast && g.lanes == 16 {
		// exp(t) = 2^(t/ln 2), in the logarithm to base 2 from the start.
		g.op("VMULPS %s, %s, %s", g.number(log2E), g.v(scale), g.v(scale))
		g.op("VMULPS %s, %s, %s", g.number(log2E), g.v(shift), g.v(shift))
		polynomial := g.inRegisters(powerOfTwo)
		exponential = func(x int) { g.power(x, g.spare(), x+1, polynomial) }
	}
	g.exponentials(unroll, scale, shift, exponential, func(x, u int, tail bool) {
		g.store(x, g.at("DI", u, 4), tail)
	}, func(n int) {
		g.op("ADDQ $%d, SI", 4*n)
		g.op("ADDQ $%d, DI", 4*n)
	})
	g.op("VMOVSS X0, ret+32(FP)")
	g.ret()
}

// exponentials walks over the CX numbers at SI: exponential replaces scale times a number less shift by its exponential, store
// writes it, and the sum of all is left in X0. Each number has three registers from its own on.
func (g *gen) exponentials(unroll, scale, shift int, exponential func(x int), store func(x, u int, tail bool), advance func(n int)) {
	for u := range unroll {
		g.zero(u)
	}
	g.each(unroll, func(u int, tail bool) {
		x := unroll + 3*u
		g.load(x, g.at("SI", u, 4), tail)
		g.op("VFMSUB213PS %s, %s, %s", g.v(shift), g.v(scale), g.v(x))
		exponential(x)
		if tail {
			g.op("VADDPS %s, %s, K1, %s", g.v(x), g.v(u), g.v(u))
		} else {
			g.op("VADDPS %s, %s, %s", g.v(x), g.v(u), g.v(u))
		}
		store(x, u, tail)
	}, advance)
	for u := 1; u < unroll; u++ {
		g.op("VADDPS %s, %s, %s", g.v(u), g.v(0), g.v(0))
	}
	g.fold("VADDPS")
}
