package main

func avx512(g *gen) {
	g.suffix, g.lanes = "AVX512", 16
	g.micro512("microF32", false)
	g.peak("peakF32", 24, func(i int) { g.op("VFMADD231PS Z24, Z25, Z%d", i) })
}

func bf16(g *gen) {
	g.suffix, g.lanes, g.native = "BF16", 16, true
	g.micro512("microBF16", true)
	g.peak("peakBF16", 24, func(i int) { g.dpbf16(i, 24, 25, false) })
}

func avx2(g *gen) {
	g.suffix, g.lanes = "AVX2", 8
	g.peak("peakF32", 12, func(i int) { g.op("VFMADD231PS Y12, Y13, Y%d", i) })
}
