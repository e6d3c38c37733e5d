package main

// rows emits the kernels that walk over one or two slices.
func (g *gen) rows() {
	four := func(body func(u int)) {
		for u := range 4 {
			body(u)
		}
	}
	sumUp := func() {
		g.op("VADDPS %s, %s, %s", g.v(1), g.v(0), g.v(0))
		g.op("VADDPS %s, %s, %s", g.v(3), g.v(2), g.v(2))
		g.op("VADDPS %s, %s, %s", g.v(2), g.v(0), g.v(0))
		g.fold("VADDPS")
	}
	move := func(registers ...string) func(n int) {
		return func(n int) {
			for _, r := range registers {
				g.op("ADDQ $%d, %s", 4*n, r)
			}
		}
	}

	g.function("sum", 20, "(x *float32, n int) float32")
	g.op("MOVQ x+0(FP), SI")
	g.op("MOVQ n+8(FP), CX")
	four(g.zero)
	g.each(4, func(u int, tail bool) {
		g.load(4+u, g.at("SI", u, 4), tail)
		g.op("VADDPS %s, %s, %s", g.v(4+u), g.v(u), g.v(u))
	}, move("SI"))
	sumUp()
	g.op("VMOVSS X0, ret+16(FP)")
	g.ret()

	g.function("squares", 28, "(x *float32, n int, mean float32) float32")
	g.op("MOVQ x+0(FP), SI")
	g.op("MOVQ n+8(FP), CX")
	g.op("VBROADCASTSS mean+16(FP), %s", g.v(8))
	four(g.zero)
	g.each(4, func(u int, tail bool) {
		g.load(4+u, g.at("SI", u, 4), tail)
		if tail {
			g.op("VSUBPS.Z %s, %s, K1, %s", g.v(8), g.v(4+u), g.v(4+u))
		} else {
			g.op("VSUBPS %s, %s, %s", g.v(8), g.v(4+u), g.v(4+u))
		}
		g.op("VFMADD231PS %s, %s, %s", g.v(4+u), g.v(4+u), g.v(u))
	}, move("SI"))
	sumUp()
	g.op("VMOVSS X0, ret+24(FP)")
	g.ret()

	g.function("normalize", 48, "(dst, x, gamma, beta *float32, n int, mean, inverse float32)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ x+8(FP), SI")
	g.op("MOVQ gamma+16(FP), R8")
	g.op("MOVQ beta+24(FP), R9")
	g.op("MOVQ n+32(FP), CX")
	g.op("VBROADCASTSS mean+40(FP), %s", g.v(0))
	g.op("VBROADCASTSS inverse+44(FP), %s", g.v(1))
	g.each(2, func(u int, tail bool) {
		x, y := 2+2*u, 3+2*u
		g.load(x, g.at("SI", u, 4), tail)
		g.op("VSUBPS %s, %s, %s", g.v(0), g.v(x), g.v(x))
		g.op("VMULPS %s, %s, %s", g.v(1), g.v(x), g.v(x))
		g.load(y, g.at("R8", u, 4), tail)
		g.op("VMULPS %s, %s, %s", g.v(y), g.v(x), g.v(x))
		g.load(y, g.at("R9", u, 4), tail)
		g.op("VADDPS %s, %s, %s", g.v(y), g.v(x), g.v(x))
		g.store(x, g.at("DI", u, 4), tail)
	}, move("DI", "SI", "R8", "R9"))
	g.ret()

	// The NaN that MAX may drop are kept in a vector (or mask) beside it.
	g.function("maximum", 20, "(x *float32, n int) float32")
	g.op("MOVQ x+0(FP), SI")
	g.op("MOVQ n+8(FP), CX")
	four(func(u int) { g.op("VMOVUPS %s, %s", g.constant(negativeInfinity), g.v(u)) })
	g.zero(8)
	g.each(4, func(u int, tail bool) {
		if tail {
			g.op("VMOVUPS %s, %s", g.constant(negativeInfinity), g.v(4))
			g.op("VMOVUPS (SI), K1, %s", g.v(4))
		} else {
			g.load(4+u, g.at("SI", u, 4), false)
		}
		g.op("VMAXPS %s, %s, %s", g.v(4+u), g.v(u), g.v(u))
		if g.lanes == 16 {
			g.op("VCMPPS $3, %s, %s, K2", g.v(4+u), g.v(4+u))
			g.op("VMOVAPS %s, K2, %s", g.v(4+u), g.v(8))
		} else {
			g.op("VCMPPS $3, %s, %s, %s", g.v(4+u), g.v(4+u), g.v(9))
			g.op("VORPS %s, %s, %s", g.v(9), g.v(8), g.v(8))
		}
	}, move("SI"))
	for u := 1; u < 4; u++ {
		g.op("VMAXPS %s, %s, %s", g.v(u), g.v(0), g.v(0))
	}
	g.fold("VMAXPS")
	g.op("VMOVAPS X0, X2")
	g.op("VMOVAPS %s, %s", g.v(8), g.v(0))
	g.fold("VADDPS") // NaN where one was seen, else zero
	g.op("VADDSS X0, X2, X0")
	g.op("VMOVSS X0, ret+16(FP)")
	g.ret()

	g.function("highest", 56, "(best *float32, winner *int32, at *float32, n int, from, rise *float32, lines int)")
	g.op("MOVQ best+0(FP), DI")
	g.op("MOVQ winner+8(FP), DX")
	g.op("MOVQ at+16(FP), SI")
	g.op("MOVQ n+24(FP), CX")
	g.op("MOVQ from+32(FP), R8")
	g.op("MOVQ rise+40(FP), R9")
	g.op("MOVQ lines+48(FP), R10")
	g.each(1, func(_ int, tail bool) {
		const at, from, value, best, winner, line, bigger = 0, 1, 2, 3, 4, 5, 6
		height := func() {
			g.op("VBROADCASTSS (R8)(R11*4), %s", g.v(from))
			g.op("VBROADCASTSS (R9)(R11*4), %s", g.v(value))
			g.op("VMULPS %s, %s, %s", g.v(at), g.v(value), g.v(value))
			g.op("VADDPS %s, %s, %s", g.v(from), g.v(value), g.v(value))
		}
		next, done := g.fresh("line"), g.fresh("done")
		g.load(at, "(SI)", tail)
		g.op("XORQ R11, R11")
		height()
		g.op("VMOVAPS %s, %s", g.v(value), g.v(best))
		g.zero(winner)
		g.zero(line)
		g.label(next)
		g.op("INCQ R11")
		g.op("CMPQ R11, R10")
		g.op("JGE  %s", done)
		height()
		g.op("VPADDD %s, %s, %s", g.constant(1), g.v(line), g.v(line))
		if g.lanes == 16 {
			g.op("VCMPPS $30, %s, %s, K3", g.v(best), g.v(value)) // value > best
			g.op("VMOVDQA32 %s, K3, %s", g.v(line), g.v(winner))
		} else {
			g.op("VCMPPS $30, %s, %s, %s", g.v(best), g.v(value), g.v(bigger))
			g.op("VBLENDVPS %s, %s, %s, %s", g.v(bigger), g.v(line), g.v(winner), g.v(winner))
		}
		g.op("VMAXPS %s, %s, %s", g.v(best), g.v(value), g.v(best)) // the best so far unless the value is larger
		g.op("JMP  %s", next)
		g.label(done)
		g.store(best, "(DI)", tail)
		g.store(winner, "(DX)", tail)
	}, move("DI", "DX", "SI"))
	g.ret()

	g.function("dot", 28, "(x, y *float32, n int) float32")
	g.op("MOVQ x+0(FP), SI")
	g.op("MOVQ y+8(FP), DI")
	g.op("MOVQ n+16(FP), CX")
	four(g.zero)
	g.each(4, func(u int, tail bool) {
		g.load(4+u, g.at("SI", u, 4), tail)
		g.load(8+u, g.at("DI", u, 4), tail)
		g.op("VFMADD231PS %s, %s, %s", g.v(4+u), g.v(8+u), g.v(u))
	}, move("SI", "DI"))
	sumUp()
	g.op("VMOVSS X0, ret+24(FP)")
	g.ret()

	g.function("axpy", 28, "(y, x *float32, n int, alpha float32)")
	g.op("MOVQ y+0(FP), DI")
	g.op("MOVQ x+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	g.op("VBROADCASTSS alpha+24(FP), %s", g.v(0))
	g.each(4, func(u int, tail bool) {
		g.load(1+u, g.at("DI", u, 4), tail)
		g.load(5+u, g.at("SI", u, 4), tail)
		g.op("VFMADD231PS %s, %s, %s", g.v(0), g.v(5+u), g.v(1+u))
		g.store(1+u, g.at("DI", u, 4), tail)
	}, move("DI", "SI"))
	g.ret()

	g.function("scale", 28, "(dst, x *float32, n int, alpha float32)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ x+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	g.op("VBROADCASTSS alpha+24(FP), %s", g.v(0))
	g.each(4, func(u int, tail bool) {
		g.load(1+u, g.at("SI", u, 4), tail)
		g.op("VMULPS %s, %s, %s", g.v(0), g.v(1+u), g.v(1+u))
		g.store(1+u, g.at("DI", u, 4), tail)
	}, move("DI", "SI"))
	g.ret()

	for _, act := range activations[1:] {
		g.function("activate"+act, 24, "(dst, x *float32, n int)")
		g.op("MOVQ dst+0(FP), DI")
		g.op("MOVQ x+8(FP), SI")
		g.op("MOVQ n+16(FP), CX")
		g.each(2, func(u int, tail bool) {
			x := 5 * u
			g.load(x, g.at("SI", u, 4), tail)
			g.activate(act, x, x+1, x+2, x+3)
			g.store(x, g.at("DI", u, 4), tail)
		}, move("DI", "SI"))
		g.ret()
	}

	g.function("adam", 48, "(w, m, v, grad *float32, n int, s *adamStep)")
	g.op("MOVQ w+0(FP), DI")
	g.op("MOVQ m+8(FP), R8")
	g.op("MOVQ v+16(FP), R9")
	g.op("MOVQ grad+24(FP), SI")
	g.op("MOVQ n+32(FP), CX")
	g.op("MOVQ s+40(FP), DX")
	for i := range 8 { // beta1, oneBeta1, beta2, oneBeta2, keep, rate, root, eps
		g.op("VBROADCASTSS %d(DX), %s", 4*i, g.v(i))
	}
	g.each(1, func(u int, tail bool) {
		d, m, v, w := 8, 9, 10, 11
		g.load(d, "(SI)", tail)
		g.load(m, "(R8)", tail)
		g.op("VMULPS %s, %s, %s", g.v(0), g.v(m), g.v(m))
		g.op("VFMADD231PS %s, %s, %s", g.v(1), g.v(d), g.v(m))
		g.store(m, "(R8)", tail)
		g.load(v, "(R9)", tail)
		g.op("VMULPS %s, %s, %s", g.v(d), g.v(d), g.v(d))
		g.op("VMULPS %s, %s, %s", g.v(2), g.v(v), g.v(v))
		g.op("VFMADD231PS %s, %s, %s", g.v(3), g.v(d), g.v(v))
		g.store(v, "(R9)", tail)
		g.op("VSQRTPS %s, %s", g.v(v), g.v(v))
		g.op("VFMADD213PS %s, %s, %s", g.v(7), g.v(6), g.v(v))
		g.op("VMULPS %s, %s, %s", g.v(5), g.v(m), g.v(m))
		g.op("VDIVPS %s, %s, %s", g.v(v), g.v(m), g.v(m))
		g.load(w, "(DI)", tail)
		g.op("VFMSUB213PS %s, %s, %s", g.v(m), g.v(4), g.v(w))
		g.store(w, "(DI)", tail)
	}, move("DI", "R8", "R9", "SI"))
	g.ret()

	g.function("fromBF16", 24, "(dst *float32, src *uint16, n int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	g.each(4, func(u int, tail bool) {
		g.loadBF16(u, g.at("SI", u, 2), tail)
		g.store(u, g.at("DI", u, 4), tail)
	}, func(n int) {
		g.op("ADDQ $%d, SI", 2*n)
		g.op("ADDQ $%d, DI", 4*n)
	})
	g.ret()

	g.function("roundBF16", 24, "(dst, src *float32, n int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	g.each(2, func(u int, tail bool) {
		g.load(3*u, g.at("SI", u, 4), tail)
		g.roundBF16(3*u, 3*u+1, 3*u+2)
		g.op("VPSLLD $16, %s, %s", g.v(3*u), g.v(3*u))
		g.store(3*u, g.at("DI", u, 4), tail)
	}, move("DI", "SI"))
	g.ret()

	g.function("interleave", 32, "(dst, even, odd *uint16, n int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ even+8(FP), SI")
	g.op("MOVQ odd+16(FP), R8")
	g.op("MOVQ n+24(FP), CX")
	or := "VPOR"
	if g.lanes == 16 {
		or = "VPORD"
	}
	g.each(2, func(u int, tail bool) {
		if tail {
			g.op("VPMOVZXWD.Z (SI), K1, %s", g.v(0))
			g.op("VPMOVZXWD.Z (R8), K1, %s", g.v(1))
		} else {
			g.op("VPMOVZXWD %s, %s", g.at("SI", u, 2), g.v(2*u))
			g.op("VPMOVZXWD %s, %s", g.at("R8", u, 2), g.v(2*u+1))
		}
		g.op("VPSLLD $16, %s, %s", g.v(2*u+1), g.v(2*u+1))
		g.op("%s %s, %s, %s", or, g.v(2*u+1), g.v(2*u), g.v(2*u))
		g.store(2*u, g.at("DI", u, 4), tail)
	}, func(n int) {
		g.op("ADDQ $%d, SI", 2*n)
		g.op("ADDQ $%d, R8", 2*n)
		g.op("ADDQ $%d, DI", 4*n)
	})
	g.ret()

	g.function("expandPairs", 24, "(dst, src *float32, rows int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ rows+16(FP), CX")
	loop := g.fresh("loop")
	and := "VPAND"
	if g.lanes == 16 {
		and = "VPANDD"
	}
	g.label(loop)
	for u := range 32 / g.lanes {
		g.load(0, g.at("SI", u, 4), false)
		g.op("VPSLLD $16, %s, %s", g.v(0), g.v(1))
		g.op("%s %s, %s, %s", and, g.constant(0xffff0000), g.v(0), g.v(0))
		g.store(1, g.at("DI", u, 4), false)
		g.store(0, g.at("DI", u+32/g.lanes, 4), false)
	}
	g.op("ADDQ $128, SI")
	g.op("ADDQ $256, DI")
	g.op("DECQ CX")
	g.op("JNE %s", loop)
	g.ret()
}

// transpose emits the packing of lanes rows by k steps, k a multiple of lanes.
func (g *gen) transpose() {
	g.function("transpose", 32, "(dst, src address, k int, ld uintptr)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ k+16(FP), CX")
	g.op("MOVQ ld+24(FP), R8")
	loop := g.fresh("loop")
	g.label(loop)
	g.op("MOVQ SI, AX")
	for i := range g.lanes {
		g.load(i, "(AX)", false)
		if i+1 < g.lanes {
			g.op("ADDQ R8, AX")
		}
	}
	// Pairs of rows, then fours, within lanes of 128 bits.
	for i := 0; i < g.lanes; i += 2 {
		g.op("VUNPCKLPS %s, %s, %s", g.v(i+1), g.v(i), g.v(g.lanes+i))
		g.op("VUNPCKHPS %s, %s, %s", g.v(i+1), g.v(i), g.v(g.lanes+i+1))
	}
	for i := 0; i < g.lanes; i += 4 {
		for half := range 2 {
			a, b := g.lanes+i+half, g.lanes+i+2+half
			g.op("VUNPCKLPD %s, %s, %s", g.v(b), g.v(a), g.v(i+2*half))
			g.op("VUNPCKHPD %s, %s, %s", g.v(b), g.v(a), g.v(i+2*half+1))
		}
	}
	// Register 4*group+c now holds column 4*lane+c of the group's rows in each lane.
	out := func(column, register int) { g.op("VMOVUPS %s, %d(DI)", g.v(register), 128*column) }
	for c := range 4 {
		if g.lanes == 8 {
			g.op("VPERM2F128 $0x20, Y%d, Y%d, Y8", 4+c, c)
			g.op("VPERM2F128 $0x31, Y%d, Y%d, Y9", 4+c, c)
			out(c, 8)
			out(4+c, 9)
			continue
		}
		g.op("VSHUFF32X4 $0x88, Z%d, Z%d, Z16", 4+c, c)
		g.op("VSHUFF32X4 $0xdd, Z%d, Z%d, Z17", 4+c, c)
		g.op("VSHUFF32X4 $0x88, Z%d, Z%d, Z18", 12+c, 8+c)
		g.op("VSHUFF32X4 $0xdd, Z%d, Z%d, Z19", 12+c, 8+c)
		g.op("VSHUFF32X4 $0x88, Z18, Z16, Z20")
		g.op("VSHUFF32X4 $0x88, Z19, Z17, Z21")
		g.op("VSHUFF32X4 $0xdd, Z18, Z16, Z22")
		g.op("VSHUFF32X4 $0xdd, Z19, Z17, Z23")
		for lane := range 4 {
			out(4*lane+c, 20+lane)
		}
	}
	g.op("ADDQ $%d, SI", g.bytes())
	g.op("ADDQ $%d, DI", 128*g.lanes)
	g.op("SUBQ $%d, CX", g.lanes)
	g.op("JNE %s", loop)
	g.ret()
}
