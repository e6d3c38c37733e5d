package main

// softmax emits kernelSet.softmaxF32 or softmaxBF16 for AVX-512.
func (g *gen) softmax(name string, half bool) {
	const (
		negativeInfinity = 0xff800000
		log2E            = 1.44269504088896341
		shift, scale     = 29, 30
	)
	kind, size, terms := "float32", 4, powerOfTwo
	if half {
		kind, size, terms = "uint16", 2, coarsePowerOfTwo
	}
	begin := func() {
		g.op("MOVQ dst+0(FP), DI")
		g.op("MOVQ x+8(FP), SI")
		g.op("MOVQ n+16(FP), CX")
	}
	advance := func(n int) {
		g.op("ADDQ $%d, SI", 4*n)
		g.op("ADDQ $%d, DI", size*n)
	}
	g.function(name, 40, "(dst *"+kind+", x *float32, n int, scale float32, s *softmaxState)")
	g.op("MOVQ s+32(FP), R8")

	// The new maximum, X0, and the old one, X1.
	begin()
	for u := range 4 {
		g.op("VMOVUPS %s, Z%d", g.constant(negativeInfinity), u)
	}
	g.each(4, func(u int, tail bool) {
		if tail {
			g.op("VMOVUPS %s, Z4", g.constant(negativeInfinity))
			g.op("VMOVUPS (SI), K1, Z4")
			g.op("VMAXPS Z4, Z0, Z0")
			return
		}
		g.op("VMAXPS %s, Z%d, Z%d", g.at("SI", u, 4), u, u)
	}, advance)
	for u := 1; u < 4; u++ {
		g.op("VMAXPS Z%d, Z0, Z0", u)
	}
	g.fold("VMAXPS")
	g.op("VMULSS scale+24(FP), X0, X0")
	g.op("VMOVSS (R8), X1")
	g.op("VMAXSS X0, X1, X0")
	nothing, rescale, same := g.fresh("nothing"), g.fresh("rescale"), g.fresh("same")
	g.op("VMOVSS %s, X5 // the factor while the maximum stays", g.number(1))
	g.op("VMOVAPS X0, X28 // what exponents are measured from")
	g.op("VUCOMISS X0, X1")
	g.op("JPS  %s", rescale)
	g.op("JNE  %s", rescale)
	g.op("VUCOMISS %s, X0", g.constant(negativeInfinity))
	g.op("JEQ  %s", nothing)
	g.op("JMP  %s", same)
	g.label(rescale)
	g.op("VSUBSS X0, X1, X5")
	g.op("VMULSS %s, X5, X5", g.number(log2E))
	g.power(5, g.spare(), 6, g.inRegisters(powerOfTwo))
	g.op("JMP  %s", same)
	g.label(nothing)
	g.op("VPXORD X28, X28, X28 // -Inf only: from zero, so that they become zero and NaN stays")
	g.label(same)
	g.op("VMOVSS X0, (R8)")
	g.op("VMOVSS X5, 8(R8)")
	g.op("VMULSS 4(R8), X5, X5")
	g.op("VMOVSS X5, 4(R8)")

	// exp(t) = 2^(t/ln 2), in the logarithm to base 2 from the start.
	g.op("VBROADCASTSS X28, Z%d", shift)
	g.op("VMULPS %s, Z%d, Z%d", g.number(log2E), shift, shift)
	g.op("VBROADCASTSS scale+24(FP), Z%d", scale)
	g.op("VMULPS %s, Z%d, Z%d", g.number(log2E), scale, scale)
	polynomial := g.inRegisters(terms)
	begin()
	g.exponentials(4, scale, shift, func(x int) { g.power(x, g.spare(), x+1, polynomial) }, func(x, u int, tail bool) {
		if half {
			g.storeBF16(x, x+1, x+2, g.at("DI", u, 2), tail)
		} else {
			g.store(x, g.at("DI", u, 4), tail)
		}
	}, advance)
	g.op("VADDSS 4(R8), X0, X0")
	g.op("VMOVSS X0, 4(R8)")
	g.ret()
}

// pairPanel emits kernelSet.pairPanel: 64 bytes of two rows at a time become 32 pairs.
func (g *gen) pairPanel() {
	g.function("pairPanel", 32, "(dst, src address, pairs int, ld uintptr)")
	g.pairPanelArguments()
	if g.lanes == 16 {
		g.op("VMOVUPS %s, Z30", g.words("first", 0))
		g.op("VMOVUPS %s, Z31", g.words("second", 16))
	}
	g.pairRows(func() {
		if g.lanes == 16 {
			g.op("VMOVUPS (SI), Z0")
			g.op("VMOVUPS (SI)(R8*1), Z1")
			g.op("VMOVAPS Z0, Z2")
			g.op("VPERMT2W Z1, Z30, Z0")
			g.op("VPERMT2W Z1, Z31, Z2")
			g.op("VMOVUPS Z0, (DI)")
			g.op("VMOVUPS Z2, 64(DI)")
			return
		}
		for half := range 2 {
			g.op("VMOVUPS %d(SI), Y0", 32*half)
			g.op("VMOVUPS %d(SI)(R8*1), Y1", 32*half)
			g.op("VPUNPCKLWD Y1, Y0, Y2")
			g.op("VPUNPCKHWD Y1, Y0, Y3")
			g.op("VPERM2I128 $0x20, Y3, Y2, Y0")
			g.op("VPERM2I128 $0x31, Y3, Y2, Y1")
			g.op("VMOVUPS Y0, %d(DI)", 64*half)
			g.op("VMOVUPS Y1, %d(DI)", 64*half+32)
		}
	})
}

// pairPanelF32 is the same for rows of float32, with the processor's own rounding.
func (g *gen) pairPanelF32() {
	g.function("pairPanelF32", 32, "(dst, src address, pairs int, ld uintptr)")
	g.pairPanelArguments()
	g.op("VMOVUPS %s, Z31", g.words("spread", 0))
	g.pairRows(func() {
		for half := range 2 {
			even, odd := 2*half, 2*half+1
			g.op("VMOVUPS %d(SI), Z%d", 64*half, even)
			g.op("VMOVUPS %d(SI)(R8*1), Z%d", 64*half, odd)
			g.cvtPairBF16(even, even, odd)
			g.op("VPERMW Z%d, Z31, Z%d", even, even)
			g.op("VMOVUPS Z%d, %d(DI)", even, 64*half)
		}
	})
}

func (g *gen) pairPanelArguments() {
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ pairs+16(FP), CX")
	g.op("MOVQ ld+24(FP), R8")
}

// pairRows walks over pairs of rows of the source and rows of the panel.
func (g *gen) pairRows(body func()) {
	loop := g.fresh("loop")
	g.label(loop)
	body()
	g.op("LEAQ (SI)(R8*2), SI")
	g.op("ADDQ $128, DI")
	g.op("DECQ CX")
	g.op("JNE  %s", loop)
	g.ret()
}

// words is a table that takes pairs apart: word 2i is from+i of one vector; word 2i+1 is from+i of the vector after it or, in
// "spread", of the same vector's upper half.
func (g *gen) words(name string, from uint32) string {
	other := uint32(32)
	if name == "spread" {
		other = 16
	}
	table := make([]uint32, 16)
	for i := range table {
		low := from + uint32(i)
		table[i] = low | (low+other)<<16
	}
	return g.table(name, table...)
}
