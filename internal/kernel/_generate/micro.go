package main

import "fmt"

// rowOperand addresses row i of the left operand: one pointer and seven multiples
// of the row stride reach 14 rows.
func rowOperand(i int) memory {
	at := func(index string, scale int) memory { return memory{base: "AX", index: index, scale: scale} }
	return []memory{
		{base: "AX"}, at("R8", 1), at("R8", 2), at("R9", 1), at("R8", 4), at("R10", 1), at("R9", 2),
		at("R11", 1), at("R8", 8), at("R12", 1), at("R10", 2), at("R13", 1), at("R9", 4), at("R15", 1),
	}[i]
}

// The fields of multiplier, by offset.
const (
	fieldA, fieldRS, fieldCS                         = 0, 8, 16
	fieldB, fieldPanelBytes                          = 24, 32
	fieldC, fieldLDC                                 = 40, 48
	fieldAhead, fieldEnd                             = 56, 64
	fieldK, fieldPanels                              = 72, 80
	fieldHeight, fieldTall, fieldShort, fieldAddSums = 88, 96, 104, 112
	fieldFinish, fieldFinisher                       = 120, 128
)

// The fields of finisher that a micro-kernel moves from tile to tile.
const finisherSums, finisherDst, finisherLdDst, finisherRows = 0, 8, 16, 24

// micro emits a micro-kernel: for each panel the tiles of the left operand's rows, first those of the given height, then those of
// one row less. A tile's sums are vectors registers a row. multiply adds the products of a tile of so many rows: AX is at the
// left operand, BX at the panel, CX has the steps of k, DX the bytes from step to step, DI is at what comes ahead; it may
// use SI and R14 besides. A kernel that finishes calls the function that the multiplier names with each tile's sums: its stores, which
// wait for memory, then go on behind the next tile's products.
func (g *gen) micro(name string, most, vectors int, finishes bool, multiply func(rows int)) {
	const argument, left, panel, ahead, out, outTop, height, count, short, panels, dst, size = "0(SP)", "8(SP)", "16(SP)", "24(SP)", "32(SP)", "40(SP)", "48(SP)", "56(SP)", "64(SP)", "72(SP)", "80(SP)", 88
	g.frame(name, size, 8, "(m *multiplier)")
	fetch := func(field int, local string) {
		g.op("MOVQ %d(R14), AX", field)
		g.op("MOVQ AX, %s", local)
	}
	g.op("MOVQ m+0(FP), R14")
	fetch(fieldB, panel)
	fetch(fieldAhead, ahead)
	fetch(fieldC, outTop)
	fetch(fieldPanels, panels)
	strides := func() {
		g.op("MOVQ %d(R14), R8", fieldRS)
		g.op("MOVQ %d(R14), DX", fieldCS)
		g.op("LEAQ (R8)(R8*2), R9   // 3 rows")
		g.op("LEAQ (R8)(R8*4), R10  // 5")
		g.op("LEAQ (R9)(R8*4), R11  // 7")
		g.op("LEAQ (R8)(R8*8), R12  // 9")
		g.op("LEAQ (R9)(R8*8), R13  // 11")
		g.op("LEAQ (R10)(R8*8), R15 // 13")
	}
	strides()
	if finishes {
		raw := g.fresh("raw")
		g.op("MOVQ  %d(R14), AX", fieldFinisher)
		g.op("TESTQ AX, AX")
		g.op("JEQ   %s", raw)
		g.op("MOVQ  %d(AX), AX", finisherDst)
		g.op("MOVQ  AX, %s", dst)
		g.label(raw)
	}
	nextPanel, nextTile, after := g.fresh("panel"), g.fresh("tile"), g.fresh("after")

	g.label(nextPanel)
	fetch(fieldA, left)
	fetch(fieldHeight, height)
	fetch(fieldTall, count)
	fetch(fieldShort, short)
	g.op("MOVQ %s, AX", outTop)
	g.op("MOVQ AX, %s", out)

	g.label(nextTile)
	g.op("MOVQ %s, AX", left)
	g.op("MOVQ %s, BX", panel)
	g.op("MOVQ %s, DI", ahead)
	g.op("CMPQ DI, %d(R14)", fieldEnd)
	g.op("CMOVQCC BX, DI // nothing is left to fetch")
	g.op("MOVQ %d(R14), CX", fieldK)
	g.op("MOVQ %s, SI", height)
	for rows := most; rows > 1; rows-- {
		g.op("CMPQ SI, $%d", rows)
		g.op("JEQ  %sRows%d", name, rows)
	}
	for rows := 1; rows <= most; rows++ {
		g.label(fmt.Sprintf("%sRows%d", name, rows))
		store := func(move func(sum int, at string)) {
			g.op("MOVQ %s, SI", out)
			for i := range rows {
				for v := range vectors {
					move(vectors*i+v, fmt.Sprintf("%d(SI)", g.bytes()*v))
				}
				if i+1 < rows {
					g.op("ADDQ %d(R14), SI", fieldLDC)
				}
			}
		}
		start, clear := g.fresh("start"), g.fresh("clear")
		g.op("CMPQ %d(R14), $0", fieldAddSums)
		g.op("JEQ  %s", clear)
		store(func(sum int, at string) { g.op("VMOVUPS %s, %s", at, g.v(sum)) })
		g.op("JMP  %s", start)
		g.label(clear)
		for i := range vectors * rows {
			g.zero(i)
		}
		g.label(start)
		multiply(rows)
		g.op("MOVQ m+0(FP), R14")
		store(func(sum int, at string) { g.op("VMOVUPS %s, %s", g.v(sum), at) })
		g.op("JMP  %s", after)
	}

	g.label(after)
	same := g.fresh("same")
	if finishes {
		raw := g.fresh("raw")
		g.op("MOVQ  %d(R14), BX", fieldFinish)
		g.op("TESTQ BX, BX")
		g.op("JEQ   %s", raw)
		g.op("MOVQ  %d(R14), AX", fieldFinisher)
		for _, f := range []struct {
			local string
			field int
		}{{out, finisherSums}, {dst, finisherDst}, {height, finisherRows}} {
			g.op("MOVQ  %s, CX", f.local)
			g.op("MOVQ  CX, %d(AX)", f.field)
		}
		// Where dst goes is kept in the frame: behind the last row it would be an address that the finisher must not hold, since the
		// collector looks at it. It need not be told of what is stored here: all of it points into what the product holds anyway.
		g.op("MOVQ  %s, CX", height)
		g.op("IMULQ %d(AX), CX", finisherLdDst)
		g.op("ADDQ  CX, %s", dst)
		g.op("MOVQ  AX, %s", argument)
		g.op("CALL  BX")
		g.op("MOVQ  m+0(FP), R14")
		strides()
		g.op("CMPQ  %d(R14), $0", fieldAddSums)
		g.op("JEQ   %s // the next tile's sums may have this one's place", same)
		g.label(raw)
	}
	g.op("MOVQ  %s, AX", height)
	g.op("IMULQ %d(R14), AX", fieldLDC)
	g.op("ADDQ  AX, %s", out)
	g.label(same)
	g.op("MOVQ  %s, AX", height)
	g.op("IMULQ R8, AX")
	g.op("ADDQ  AX, %s", left)
	g.op("MOVQ  %d(R14), CX", fieldK)
	g.op("SHLQ  $%d, CX", aheadShift)
	g.op("ADDQ  CX, %s", ahead)
	g.op("DECQ  %s", count)
	g.op("JNE   %s", nextTile)
	g.op("DECQ  %s", height)
	g.op("MOVQ  %s, AX", short)
	g.op("MOVQ  $0, %s", short)
	g.op("MOVQ  AX, %s", count)
	g.op("TESTQ AX, AX")
	g.op("JNE   %s", nextTile)
	g.op("MOVQ  %d(R14), AX", fieldPanelBytes)
	g.op("ADDQ  AX, %s", panel)
	g.op("ADDQ  $128, %s", outTop)
	g.op("DECQ  %s", panels)
	g.op("JNE   %s", nextPanel)
	g.ret()
}

// aheadShift: what comes ahead is fetched at 32 bytes a step of k, a line every other step.
const aheadShift = 5

// micro512 is the tile of up to 14 rows and 32 columns: 28 sums in registers, two vectors of the panel, and a number of
// the left operand spread over a vector for two products, so that the load units keep up with two of those a cycle.
func (g *gen) micro512(name string, pairs bool) {
	g.micro(name, 14, 2, true, func(rows int) {
		step := func(at int) {
			g.op("VMOVUPS %d(BX), Z28", at)
			g.op("VMOVUPS %d(BX), Z29", at+64)
			for i := range rows {
				spread := 30 + i%2
				g.op("VBROADCASTSS %v, Z%d", rowOperand(i), spread)
				for v := range 2 {
					if pairs {
						g.dpbf16(2*i+v, 28+v, spread, false)
					} else {
						g.op("VFMADD231PS Z%d, Z%d, Z%d", spread, 28+v, 2*i+v)
					}
				}
			}
		}
		loop, rest, done := g.fresh("loop"), g.fresh("rest"), g.fresh("done")
		g.op("SUBQ $2, CX")
		g.op("JLT  %s", rest)
		g.label(loop)
		g.op("PREFETCHT1 (DI)")
		step(0)
		g.op("ADDQ DX, AX")
		step(128)
		g.op("ADDQ DX, AX")
		g.op("ADDQ $256, BX")
		g.op("ADDQ $64, DI")
		g.op("SUBQ $2, CX")
		g.op("JGE  %s", loop)
		g.label(rest)
		g.op("CMPQ CX, $-2")
		g.op("JEQ  %s", done)
		step(0)
		g.label(done)
	})
}

// peak loops over independent multiply-adds in registers.
func (g *gen) peak(name string, sums int, step func(i int)) {
	g.function(name, 8, "(steps int)")
	g.op("MOVQ steps+0(FP), CX")
	for i := range sums + 2 {
		if g.lanes == 16 {
			g.op("VPXORD Z%d, Z%d, Z%d", i, i, i)
		} else {
			g.op("VXORPS Y%d, Y%d, Y%d", i, i, i)
		}
	}
	loop := g.fresh("loop")
	g.label(loop)
	for i := range sums {
		step(i)
	}
	g.op("DECQ CX")
	g.op("JNE  %s", loop)
	g.ret()
}

// micro256 is the tile of up to 3 rows and 32 columns: 12 sums in registers, three
// spread numbers and one vector of the panel at a time.
func (g *gen) micro256() {
	const most, vectors, unroll = 3, 4, 4
	g.micro("microF32", most, vectors, false, func(rows int) {
		step := func(at int) {
			for i := range rows {
				g.op("VBROADCASTSS %v, Y%d", rowOperand(i), 12+i)
			}
			g.op("ADDQ DX, AX")
			for v := range vectors {
				g.op("VMOVUPS %d(BX), Y15", at+32*v)
				for i := range rows {
					g.op("VFMADD231PS Y15, Y%d, Y%d", 12+i, vectors*i+v)
				}
			}
		}
		loop, rest, single, done := g.fresh("loop"), g.fresh("rest"), g.fresh("single"), g.fresh("done")
		g.op("SUBQ $%d, CX", unroll)
		g.op("JLT  %s", rest)
		g.label(loop)
		for u := range unroll {
			if rows == most && u < most {
				// The rows of the next tile come from the L2 cache, in runs too short for the processor to foresee.
				g.op("PREFETCHT0 %v", []memory{
					{base: "AX", index: "R9", scale: 1}, {base: "AX", index: "R8", scale: 4}, {base: "AX", index: "R10", scale: 1},
				}[u])
			}
			if u%2 == 0 {
				g.op("PREFETCHT1 %d(DI)", 32*u)
			}
			step(128 * u)
		}
		g.op("ADDQ $%d, BX", 128*unroll)
		g.op("ADDQ $%d, DI", 32*unroll)
		g.op("SUBQ $%d, CX", unroll)
		g.op("JGE  %s", loop)
		g.label(rest)
		g.op("ADDQ $%d, CX", unroll)
		g.op("JEQ  %s", done)
		g.label(single)
		step(0)
		g.op("ADDQ $128, BX")
		g.op("DECQ CX")
		g.op("JNE  %s", single)
		g.label(done)
	})
}
