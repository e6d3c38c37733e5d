package main

const (
	negativeInfinity = 0xff800000
	log2E            = 1.44269504088896341
)

// softmax emits kernelSet.softmaxF32 or softmaxBF16 for AVX-512.
func (g *gen) softmax(name string, half bool) {
	const shift, scale = 29, 30
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

// softmaxFour emits kernelSet.softmaxFour: softmaxBF16 for four rows. What is done once a row, down to a last number in a
// vector, is done for four at once or while the next row begins.
func (g *gen) softmaxFour() {
	const shift, scale = 29, 30
	g.function("softmaxFour", 56, "(dst *uint16, ldDst uintptr, x *float32, ldX uintptr, n int, scale float32, s *softmaxState)")
	g.op("MOVQ x+16(FP), R13")
	g.op("MOVQ ldX+24(FP), R9")
	g.op("LEAQ (R9)(R9*2), R10")
	g.op("MOVQ s+48(FP), R8")

	// The largest of each row.
	g.op("MOVQ R13, SI")
	g.op("MOVQ n+32(FP), CX")
	rows := []string{"(SI)", "(SI)(R9*1)", "(SI)(R9*2)", "(SI)(R10*1)"}
	for r := range rows {
		g.op("VMOVUPS %s, Z%d", g.constant(negativeInfinity), r)
	}
	g.each(1, func(_ int, tail bool) {
		for r, at := range rows {
			if !tail {
				g.op("VMAXPS %s, Z%d, Z%d", at, r, r)
				continue
			}
			g.op("VMOVUPS %s, Z4", g.constant(negativeInfinity))
			g.op("VMOVUPS %s, K1, Z4", at)
			g.op("VMAXPS Z4, Z%d, Z%d", r, r)
		}
	}, func(n int) { g.op("ADDQ $%d, SI", 4*n) })
	for r := range rows {
		g.op("VEXTRACTF64X4 $1, Z%d, Y%d", r, 4+r)
		g.op("VMAXPS Y%d, Y%d, Y%d", 4+r, r, r)
		g.op("VEXTRACTF128 $1, Y%d, X%d", r, 4+r)
		g.op("VMAXPS X%d, X%d, X%d", 4+r, r, r)
	}
	for r := 0; r < 4; r += 2 {
		g.op("VUNPCKLPS X%d, X%d, X4", r+1, r)
		g.op("VUNPCKHPS X%d, X%d, X5", r+1, r)
		g.op("VMAXPS X5, X4, X%d", r)
	}
	g.op("VSHUFPS $0x44, X2, X0, X4")
	g.op("VSHUFPS $0xee, X2, X0, X5")
	g.op("VMAXPS X5, X4, X0")

	// The states, a row in each lane: the new maximum X0, the old one X1, and the factor X5.
	gather := func(field, to int) {
		g.op("VMOVSS %d(R8), X%d", field, to)
		for r := 1; r < 4; r++ {
			g.op("VINSERTPS $%d, %d(R8), X%d, X%d", r<<4, 12*r+field, to, to)
		}
	}
	scatter := func(from, field int) {
		g.op("VMOVSS X%d, %d(R8)", from, field)
		for r := 1; r < 4; r++ {
			g.op("VEXTRACTPS $%d, X%d, %d(R8)", r, from, 12*r+field)
		}
	}
	gather(0, 1)
	g.op("VBROADCASTSS scale+40(FP), X4")
	g.op("VMULPS X4, X0, X0")
	g.op("VMAXPS X0, X1, X0")
	scatter(0, 0)
	g.op("VCMPPS $0, X0, X1, K2 // the maximum stays")
	g.op("VSUBPS X0, X1, X5")
	g.op("VMULPS %s, Z5, Z5", g.number(log2E))
	g.power(5, g.spare(), 6, g.inRegisters(powerOfTwo))
	g.op("VBROADCASTSS %s, X6", g.number(1))
	g.op("VMOVAPS X6, K2, X5")
	scatter(5, 8)
	gather(4, 7)
	g.op("VMULPS X5, X7, X7")
	scatter(7, 4)

	// The exponentials are measured from the maximum, or from zero where there is nothing but -Inf.
	g.op("VBROADCASTSS %s, X4", g.constant(negativeInfinity))
	g.op("VCMPPS $4, X4, X0, K2 // not equal, or NaN")
	g.op("VMOVAPS.Z X0, K2, X27")
	g.op("VBROADCASTSS scale+40(FP), Z%d", scale)
	g.op("VMULPS %s, Z%d, Z%d", g.number(log2E), scale, scale)
	polynomial := g.inRegisters(coarsePowerOfTwo)
	g.op("MOVQ dst+0(FP), DX")
	g.op("MOVQ $4, R12")
	row := g.fresh("row")
	g.label(row)
	g.op("VBROADCASTSS X27, Z%d", shift)
	g.op("VPERMILPS $0x39, X27, X27 // the next row's")
	g.op("VMULPS %s, Z%d, Z%d", g.number(log2E), shift, shift)
	g.op("MOVQ R13, SI")
	g.op("MOVQ DX, DI")
	g.op("MOVQ n+32(FP), CX")
	g.exponentials(4, scale, shift, func(x int) { g.power(x, g.spare(), x+1, polynomial) }, func(x, u int, tail bool) {
		g.storeBF16(x, x+1, x+2, g.at("DI", u, 2), tail)
	}, func(n int) {
		g.op("ADDQ $%d, SI", 4*n)
		g.op("ADDQ $%d, DI", 2*n)
	})
	g.op("VADDSS 4(R8), X0, X0")
	g.op("VMOVSS X0, 4(R8)")
	g.op("ADDQ $12, R8")
	g.op("ADDQ R9, R13")
	g.op("ADDQ ldDst+8(FP), DX")
	g.op("DECQ R12")
	g.op("JNE  %s", row)
	g.ret()
}

// pairPanel emits kernelSet.pairPanel: 64 bytes of two rows at a time become 32 pairs.
func (g *gen) pairPanel() {
	g.function("pairPanel", 40, "(dst, src address, pairs int, ld, ldDst uintptr)")
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
	g.function("pairPanelF32", 40, "(dst, src address, pairs int, ld, ldDst uintptr)")
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
	g.op("MOVQ ldDst+32(FP), R9")
}

// pairRows walks over pairs of rows of the source and rows of pairs.
func (g *gen) pairRows(body func()) {
	loop := g.fresh("loop")
	g.label(loop)
	body()
	g.op("LEAQ (SI)(R8*2), SI")
	g.op("ADDQ R9, DI")
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
