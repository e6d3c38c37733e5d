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

const microArgs = "(rows, k int, a address, rs, cs uintptr, b, c address, ldc uintptr, accumulate bool, ahead address)"

func (g *gen) microArguments() {
	g.op("MOVQ k+8(FP), CX")
	g.op("MOVQ a+16(FP), AX")
	g.op("MOVQ rs+24(FP), R8")
	g.op("MOVQ cs+32(FP), DX")
	g.op("MOVQ b+40(FP), BX")
	g.op("MOVQ c+48(FP), DI")
	g.op("MOVQ ldc+56(FP), SI")
	g.op("LEAQ (R8)(R8*2), R9   // 3 rows")
	g.op("LEAQ (R8)(R8*4), R10  // 5")
	g.op("LEAQ (R9)(R8*4), R11  // 7")
	g.op("LEAQ (R8)(R8*8), R12  // 9")
	g.op("LEAQ (R9)(R8*8), R13  // 11")
	g.op("LEAQ (R10)(R8*8), R15 // 13")
}

// micro512 is the tile of up to 14 rows and 32 columns: 28 sums in registers, two
// vectors of the panel, the left operand spread from memory.
func (g *gen) micro512(name string, pairs bool) {
	const most = 14
	g.function(name, 80, microArgs)
	g.microArguments()
	g.op("MOVQ rows+0(FP), R14")
	for rows := most; rows > 1; rows-- {
		g.op("CMPQ R14, $%d", rows)
		g.op("JEQ  %s%d", name, rows)
	}
	for rows := 1; rows <= most; rows++ {
		g.label(fmt.Sprintf("%s%d", name, rows))
		loop, clear, start := g.fresh("loop"), g.fresh("clear"), g.fresh("start")
		store := func(move func(row, vector int, at string)) {
			g.op("MOVQ DI, R14")
			for i := range rows {
				move(i, 0, "(R14)")
				move(i, 1, "64(R14)")
				if i+1 < rows {
					g.op("ADDQ SI, R14")
				}
			}
		}
		g.op("CMPB accumulate+64(FP), $0")
		g.op("JEQ  %s", clear)
		store(func(i, v int, at string) { g.op("VMOVUPS %s, Z%d", at, 2*i+v) })
		g.op("JMP %s", start)
		g.label(clear)
		for i := range 2 * rows {
			g.op("VPXORD Z%d, Z%d, Z%d", i, i, i)
		}
		g.label(start)
		g.op("TESTQ CX, CX")
		done := g.fresh("done")
		g.op("JEQ %s", done)
		step := func(u int, advance bool) {
			displace := 0
			if !advance {
				displace = u
			}
			g.op("VMOVUPS %d(BX), Z28", 128*displace)
			g.op("VMOVUPS %d(BX), Z29", 128*displace+64)
			for i := range rows {
				spread := 30 + i%2
				at := rowOperand(i)
				at.disp = 4 * displace
				g.op("VBROADCASTSS %v, Z%d", at, spread)
				for v := range 2 {
					if pairs {
						g.dpbf16(2*i+v, 28+v, spread, false)
					} else {
						g.op("VFMADD231PS Z%d, Z%d, Z%d", spread, 28+v, 2*i+v)
					}
				}
			}
		}
		if rows == most {
			const line = 16
			long, short := g.fresh("long"), g.fresh("short")
			g.op("CMPQ DX, $4")
			g.op("JNE  %s", loop)
			g.op("SUBQ $%d, CX", line)
			g.op("JLT  %s", short)
			g.op("MOVQ ahead+72(FP), DI")
			g.op("LEAQ (AX)(R8*1), SI")
			g.op("LEAQ (SI)(R15*1), SI // 14 rows down")
			g.label(long)
			for u := range line {
				if u < most {
					next := rowOperand(u)
					next.base = "SI"
					g.op("PREFETCHT0 %v", next)
				}
				if u%2 == 0 {
					g.op("PREFETCHT1 %d(DI)", 32*u)
				}
				step(u, false)
			}
			g.op("ADDQ $%d, AX", 4*line)
			g.op("ADDQ $%d, SI", 4*line)
			g.op("ADDQ $%d, DI", 32*line)
			g.op("ADDQ $%d, BX", 128*line)
			g.op("SUBQ $%d, CX", line)
			g.op("JGE  %s", long)
			g.label(short)
			g.op("MOVQ c+48(FP), DI")
			g.op("MOVQ ldc+56(FP), SI")
			g.op("ADDQ $%d, CX", line)
			g.op("JEQ  %s", done)
		}
		g.label(loop)
		step(0, true)
		g.op("ADDQ $128, BX")
		g.op("ADDQ DX, AX")
		g.op("DECQ CX")
		g.op("JNE  %s", loop)
		g.label(done)
		store(func(i, v int, at string) { g.op("VMOVUPS Z%d, %s", 2*i+v, at) })
		g.ret()
	}
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
	const name, most, vectors = "microF32", 3, 4
	g.function(name, 80, microArgs)
	g.microArguments()
	g.op("MOVQ rows+0(FP), R14")
	for rows := most; rows > 1; rows-- {
		g.op("CMPQ R14, $%d", rows)
		g.op("JEQ  %sRows%d", name, rows)
	}
	for rows := 1; rows <= most; rows++ {
		g.label(fmt.Sprintf("%sRows%d", name, rows))
		loop, clear, start, done := g.fresh("loop"), g.fresh("clear"), g.fresh("start"), g.fresh("done")
		store := func(move func(sum int, at string)) {
			g.op("MOVQ DI, R14")
			for i := range rows {
				for v := range vectors {
					move(vectors*i+v, fmt.Sprintf("%d(R14)", 32*v))
				}
				if i+1 < rows {
					g.op("ADDQ SI, R14")
				}
			}
		}
		g.op("CMPB accumulate+64(FP), $0")
		g.op("JEQ  %s", clear)
		store(func(sum int, at string) { g.op("VMOVUPS %s, Y%d", at, sum) })
		g.op("JMP %s", start)
		g.label(clear)
		for i := range vectors * rows {
			g.zero(i)
		}
		g.label(start)
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
		if rows == most {
			g.op("LEAQ (R8)(R8*4), R10 // 5 rows")
			g.op("LEAQ (R9)(R8*1), R14 // 4 rows")
		}
		const unroll = 4
		rest := g.fresh("rest")
		g.op("SUBQ $%d, CX", unroll)
		g.op("JLT %s", rest)
		g.label(loop)
		for u := range unroll {
			if rows == most && u < most {
				// The rows of the next tile come from the L2 cache, in runs too short for the processor to foresee.
				next := memory{base: "AX", index: "R9", scale: 1}
				if u > 0 {
					next = memory{base: "AX", index: []string{"", "R14", "R10"}[u], scale: 1}
				}
				g.op("PREFETCHT0 %v", next)
			}
			step(128 * u)
		}
		g.op("ADDQ $%d, BX", 128*unroll)
		g.op("SUBQ $%d, CX", unroll)
		g.op("JGE %s", loop)
		g.label(rest)
		g.op("ADDQ $%d, CX", unroll)
		g.op("JEQ %s", done)
		single := g.fresh("single")
		g.label(single)
		step(0)
		g.op("ADDQ $128, BX")
		g.op("DECQ CX")
		g.op("JNE  %s", single)
		g.label(done)
		store(func(sum int, at string) { g.op("VMOVUPS Y%d, %s", sum, at) })
		g.ret()
	}
}
