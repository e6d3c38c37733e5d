package main

import "fmt"

// weighRows sums rows of bytes under weights. AVX-512 leaves fewer than 16 bytes to the portable kernel, AVX2 fewer than 32.
func (g *gen) weighRows() {
	const weight, value, zero = 4, 5, 9 // registers; sums are 0 to 3
	g.function("weighRows", 48, "(dst, src *byte, n int, stride uintptr, weights *int32, taps int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	g.op("MOVQ stride+24(FP), R8")
	g.op("MOVQ weights+32(FP), R9")
	g.op("MOVQ taps+40(FP), R10")
	g.zero(zero)
	block := func(vectors int, next string) {
		loop, tap := g.fresh("block"), g.fresh("tap")
		g.label(loop)
		g.op("CMPQ CX, $%d", vectors*g.lanes)
		g.op("JLT  %s", next)
		for u := range vectors {
			g.op("VMOVDQU%s %s, %s", g.wide("32"), g.constant(1<<21), g.v(u))
		}
		g.op("MOVQ SI, R11")
		g.op("XORQ R12, R12")
		g.label(tap)
		g.op("VPBROADCASTD (R9)(R12*4), %s", g.v(weight))
		for u := range vectors {
			g.op("VPMOVZXBD %s, %s", g.at("R11", u, 1), g.v(value+u))
			g.op("VPMULLD %s, %s, %s", g.v(weight), g.v(value+u), g.v(value+u))
			g.op("VPADDD %s, %s, %s", g.v(value+u), g.v(u), g.v(u))
		}
		g.op("ADDQ R8, R11")
		g.op("INCQ R12")
		g.op("CMPQ R12, R10")
		g.op("JLT  %s", tap)
		for u := range vectors {
			g.op("VPSRAD $22, %s, %s", g.v(u), g.v(u))
			if g.lanes == 16 {
				g.op("VPMAXSD %s, %s, %s", g.v(zero), g.v(u), g.v(u))
				g.op("VPMOVUSDB %s, %s", g.v(u), g.at("DI", u, 1))
			}
		}
		if g.lanes == 8 { // packing works within halves of 16 bytes
			g.op("VPACKSSDW Y1, Y0, Y0")
			g.op("VPACKSSDW Y3, Y2, Y2")
			g.op("VPACKUSWB Y2, Y0, Y0")
			g.op("VMOVDQU %s, Y1", g.table("halves", 0, 4, 1, 5, 2, 6, 3, 7))
			g.op("VPERMD Y0, Y1, Y0")
			g.op("VMOVDQU Y0, (DI)")
		}
		g.op("ADDQ $%d, SI", vectors*g.lanes)
		g.op("ADDQ $%d, DI", vectors*g.lanes)
		g.op("SUBQ $%d, CX", vectors*g.lanes)
		g.op("JMP  %s", loop)
		g.label(next)
	}
	block(4, g.fresh("rest"))
	if g.lanes == 16 {
		block(1, g.fresh("rest"))
	}
	g.ret()
}

// wide is a suffix that AVX-512 instructions have.
func (g *gen) wide(suffix string) string {
	if g.lanes == 16 {
		return suffix
	}
	return ""
}

// paeth filters whole vectors of 32 bytes behind the first pixel of a row, whose left neighbours are 3 bytes before them. Differences
// are kept in bytes: that to the corner is the sum of the other two where both go one way, and then never the smallest, so that it may be
// cut at 255; else it is the difference of the other two.
func (g *gen) paeth() {
	const now, left, up, corner, high, low, toLeft, toUp, differ, sum, toCorner, smaller, nearest = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
	y := func(i int) string { return fmt.Sprintf("Y%d", i) }
	loop, done := g.fresh("block"), g.fresh("done")
	g.function("paeth", 32, "(dst, row, above *byte, n int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ row+8(FP), SI")
	g.op("MOVQ above+16(FP), DX")
	g.op("MOVQ n+24(FP), CX")
	g.label(loop)
	g.op("CMPQ CX, $32")
	g.op("JLT  %s", done)
	g.op("VMOVDQU (SI), %s", y(now))
	g.op("VMOVDQU -3(SI), %s", y(left))
	g.op("VMOVDQU (DX), %s", y(up))
	g.op("VMOVDQU -3(DX), %s", y(corner))
	// distance = |a - corner|, and 255 in sign where a is not below the corner.
	distance := func(a, distance, sign int) {
		g.op("VPMAXUB %s, %s, %s", y(corner), y(a), y(high))
		g.op("VPMINUB %s, %s, %s", y(corner), y(a), y(low))
		g.op("VPSUBB %s, %s, %s", y(low), y(high), y(distance))
		g.op("VPCMPEQB %s, %s, %s", y(high), y(a), y(sign))
	}
	distance(up, toLeft, differ)
	distance(left, toUp, sum)
	g.op("VPXOR %s, %s, %s", y(sum), y(differ), y(differ))
	g.op("VPADDUSB %s, %s, %s", y(toLeft), y(toUp), y(sum))
	g.op("VPMAXUB %s, %s, %s", y(toLeft), y(toUp), y(high))
	g.op("VPMINUB %s, %s, %s", y(toLeft), y(toUp), y(smaller))
	g.op("VPSUBB %s, %s, %s", y(smaller), y(high), y(toCorner))
	g.op("VPBLENDVB %s, %s, %s, %s", y(differ), y(toCorner), y(sum), y(toCorner))
	g.op("VPCMPEQB %s, %s, %s", y(high), y(toUp), y(high)) // up is no nearer than left
	g.op("VPBLENDVB %s, %s, %s, %s", y(high), y(left), y(up), y(nearest))
	g.op("VPMAXUB %s, %s, %s", y(toCorner), y(smaller), y(high))
	g.op("VPCMPEQB %s, %s, %s", y(high), y(toCorner), y(high)) // nor is the corner than both
	g.op("VPBLENDVB %s, %s, %s, %s", y(high), y(nearest), y(corner), y(nearest))
	g.op("VPSUBB %s, %s, %s", y(nearest), y(now), y(now))
	g.op("VMOVDQU %s, (DI)", y(now))
	for _, pointer := range []string{"DI", "SI", "DX"} {
		g.op("ADDQ $32, %s", pointer)
	}
	g.op("SUBQ $32, CX")
	g.op("JMP  %s", loop)
	g.label(done)
	g.ret()
}

// toRGB converts blocks of 8 pixels of JFIF's planes. A block's store goes 8 bytes beyond it.
func (g *gen) toRGB() {
	g.function("toRGB", 40, "(dst, luma, cb, cr *byte, blocks int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ luma+8(FP), SI")
	g.op("MOVQ cb+16(FP), R8")
	g.op("MOVQ cr+24(FP), R9")
	g.op("MOVQ blocks+32(FP), CX")
	const y, u, v, red, green, blue, part, zero, most = 0, 1, 2, 3, 4, 5, 6, 7, 8
	r := func(i int) string { return fmt.Sprintf("Y%d", i) }
	g.zero(zero)
	g.op("VMOVDQU %s, %s", g.constant(255), r(most))
	loop := g.fresh("block")
	g.label(loop)
	g.op("VPMOVZXBD (SI), %s", r(y))
	g.op("VPMOVZXBD (R8), %s", r(u))
	g.op("VPMOVZXBD (R9), %s", r(v))
	g.op("VPSLLD $16, %s, %s", r(y), r(y))
	g.op("VPADDD %s, %s, %s", g.constant(1<<15), r(y), r(y))
	for _, chroma := range []int{u, v} {
		g.op("VPSUBD %s, %s, %s", g.constant(128), r(chroma), r(chroma))
	}
	times := func(factor uint32, x, dst int) { g.op("VPMULLD %s, %s, %s", g.constant(factor), r(x), r(dst)) }
	times(91881, v, red)
	g.op("VPADDD %s, %s, %s", r(y), r(red), r(red))
	times(22554, u, green)
	times(46802, v, part)
	g.op("VPSUBD %s, %s, %s", r(green), r(y), r(green))
	g.op("VPSUBD %s, %s, %s", r(part), r(green), r(green))
	times(116130, u, blue)
	g.op("VPADDD %s, %s, %s", r(y), r(blue), r(blue))
	for i, c := range []int{red, green, blue} {
		g.op("VPSRAD $16, %s, %s", r(c), r(c))
		g.op("VPMAXSD %s, %s, %s", r(zero), r(c), r(c))
		g.op("VPMINSD %s, %s, %s", r(most), r(c), r(c))
		if i > 0 {
			g.op("VPSLLD $%d, %s, %s", 8*i, r(c), r(c))
			g.op("VPOR %s, %s, %s", r(c), r(red), r(red))
		}
	}
	// Within halves 4 pixels of 4 bytes become 12 bytes, then the halves come together.
	g.op("VPSHUFB %s, %s, %s", g.table("threes", 0x04020100, 0x09080605, 0x0e0d0c0a, 0x80808080, 0x04020100, 0x09080605, 0x0e0d0c0a, 0x80808080), r(red), r(red))
	g.op("VMOVDQU %s, %s", g.table("joined", 0, 1, 2, 4, 5, 6, 3, 7), r(part))
	g.op("VPERMD %s, %s, %s", r(red), r(part), r(red))
	g.op("VMOVDQU %s, (DI)", r(red))
	g.op("ADDQ $24, DI")
	for _, pointer := range []string{"SI", "R8", "R9"} {
		g.op("ADDQ $8, %s", pointer)
	}
	g.op("DECQ CX")
	g.op("JNE  %s", loop)
	g.ret()
}

// upsample doubles blocks of 16 samples of chroma; it reads the sample behind them.
func (g *gen) upsample() {
	g.function("upsample", 32, "(dst, near, far *byte, blocks int)")
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ near+8(FP), SI")
	g.op("MOVQ far+16(FP), DX")
	g.op("MOVQ blocks+24(FP), CX")
	const here, next, near, first, second = 0, 1, 2, 3, 4
	r := func(i int) string { return fmt.Sprintf("Y%d", i) }
	words := func(value uint32) string { return g.constant(value | value<<16) }
	// threeTo sets dst to three times a and b.
	threeTo := func(a, b, dst int) {
		g.op("VPADDW %s, %s, %s", r(a), r(a), r(dst))
		g.op("VPADDW %s, %s, %s", r(a), r(dst), r(dst))
		g.op("VPADDW %s, %s, %s", r(b), r(dst), r(dst))
	}
	loop := g.fresh("block")
	g.label(loop)
	for i, sum := range []int{here, next} {
		g.op("VPMOVZXBW %d(SI), %s", i, r(near))
		g.op("VPMOVZXBW %d(DX), %s", i, r(first))
		threeTo(near, first, sum)
	}
	threeTo(here, next, first)
	threeTo(next, here, second)
	g.op("VPADDW %s, %s, %s", words(7), r(first), r(first))
	g.op("VPADDW %s, %s, %s", words(8), r(second), r(second))
	g.op("VPSRLW $4, %s, %s", r(first), r(first))
	g.op("VPSRLW $4, %s, %s", r(second), r(second))
	g.op("VPSLLW $8, %s, %s", r(second), r(second))
	g.op("VPOR %s, %s, %s", r(second), r(first), r(first))
	g.op("VMOVDQU %s, (DI)", r(first))
	g.op("ADDQ $32, DI")
	g.op("ADDQ $16, SI")
	g.op("ADDQ $16, DX")
	g.op("DECQ CX")
	g.op("JNE  %s", loop)
	g.ret()
}
