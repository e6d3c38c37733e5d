package main

func (g *gen) finishes() {
	for _, act := range activations {
		g.finish(act, "F32")
		g.finish(act, "BF16")
	}
}

func avx512(g *gen) {
	g.suffix, g.lanes = "AVX512", 16
	g.micro512("microF32", false)
	g.peak("peakF32", 24, func(i int) { g.op("VFMADD231PS Z24, Z25, Z%d", i) })
	g.finishes()
	g.conversions()
	g.widenF16()
	g.pairs()
	g.rows()
	g.transpose()
	g.pairPanel()
	g.expSum("expSum", false)
	g.expSum("expWeights", true)
	g.softmax("softmaxF32", false)
	g.weighRows()
	g.finisherTable("AVX512")
}

// bf16 has the kernels that the BF16 instructions change.
func bf16(g *gen) {
	g.suffix, g.lanes, g.native = "VBF16", 16, true
	g.micro512("microBF16", true)
	g.peak("peakBF16", 24, func(i int) { g.dpbf16(i, 24, 25, false) })
	for _, act := range activations {
		g.finish(act, "BF16")
	}
	g.conversions()
	g.pairs()
	g.pairPanelF32()
	g.softmax("softmaxBF16", true)
	g.softmaxFour()
	g.finisherTable("VBF16")
}

func avx2(g *gen) {
	g.suffix, g.lanes = "AVX2", 8
	g.micro256()
	g.peak("peakF32", 12, func(i int) { g.op("VFMADD231PS Y12, Y13, Y%d", i) })
	g.finishes()
	g.conversions()
	g.widenF16()
	g.pairs()
	g.rows()
	g.transpose()
	g.pairPanel()
	g.expSum("expSum", false)
	g.expSum("expWeights", true)
	g.weighRows()
	g.paeth()
	g.toRGB()
	g.upsample()
}
