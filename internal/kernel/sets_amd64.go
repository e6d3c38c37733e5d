//go:build !noasm

package kernel

import "unsafe"

const (
	lanesAVX512 = 16
	lanesAVX2   = 8
)

var avx2 = kernelSet{
	name: "avx2", microRows: 3, innerSteps: 128,
	microF32: microF32AVX2, microBF16: microBF16Go,
	finishF32: finishFullAVX2, finishBF16: finishHalfAVX2,
	toBF16: convertBF16AVX2, fromBF16: widenBF16AVX2, fromF16: widenF16AVX2, roundBF16: roundToBF16AVX2,
	expandPairs: expandAVX2, packRows32: packAVX2, interleave: interleavePairsAVX2, pairBF16: pairAVX2,
	moments: momentsAVX2, normalize: normalizeByAVX2, maximum: largestAVX2, highest: highestLinesAVX2,
	expSum: exponentialsAVX2, expWeights: weightsAVX2, softmaxF32: softmaxBy(largestAVX2, weightsAVX2), softmaxBF16: softmaxBF16Go,
	pairPanel: pairPanelAVX2,
	dot:       dotProductAVX2, axpy: addScaledAVX2, scale: scaleByAVX2,
	activate: activateAllAVX2, adam: adamStepAVX2,
	weighRows: weighAVX2, paeth: filterPaethAVX2, toRGB: convertRGBAVX2, upsample: doubleChromaAVX2,
	peakF32:  func(steps int) int { peakF32AVX2(steps); return steps * 12 * 16 },
	peakBF16: func(steps int) int { peakF32AVX2(steps); return steps * 12 * 16 },
}

var avx512 = kernelSet{
	name: "avx512", microRows: 14, innerSteps: chunkSteps,
	microF32: microF32AVX512, microBF16: microBF16Go,
	finishF32: finishFullAVX512, finishBF16: finishHalfAVX512, finishers: finishersOf(finishersAVX512),
	toBF16: convertBF16AVX512, fromBF16: widenBF16AVX512, fromF16: widenF16AVX512, roundBF16: roundToBF16AVX512,
	expandPairs: expandAVX512, packRows32: packAVX512, interleave: interleavePairsAVX512, pairBF16: pairAVX512,
	moments: momentsAVX512, normalize: normalizeByAVX512, maximum: largestAVX512, highest: highestLinesAVX512,
	expSum: exponentialsAVX512, expWeights: weightsAVX512,
	softmaxF32: func(dst, x []float32, scale float32, s *softmaxState) {
		softmaxF32AVX512(&dst[0], &x[0], len(x), scale, s)
	},
	softmaxBF16: softmaxBF16Go,
	pairPanel:   pairPanelAVX512,
	dot:         dotProductAVX512, axpy: addScaledAVX512, scale: scaleByAVX512,
	activate: activateAllAVX512, adam: adamStepAVX512,
	weighRows: weighAVX512, paeth: filterPaethAVX2, toRGB: convertRGBAVX2, upsample: doubleChromaAVX2,
	peakF32:  func(steps int) int { peakF32AVX512(steps); return steps * 24 * 32 },
	peakBF16: func(steps int) int { peakF32AVX512(steps); return steps * 24 * 32 },
}

var avx512bf16 = func() kernelSet {
	set := avx512
	set.name, set.bf16 = "avx512bf16", true
	set.microBF16, set.finishBF16, set.finishers = microBF16VBF16, finishHalfVBF16, finishersOf(finishersVBF16)
	set.pairBF16 = pairVBF16
	set.toBF16, set.pairPanelF32 = convertBF16VBF16, pairPanelF32VBF16
	set.softmaxBF16 = func(dst []uint16, x []float32, scale float32, s *softmaxState) {
		softmaxBF16VBF16(&dst[0], &x[0], len(x), scale, s)
	}
	set.softmaxFour = softmaxFourVBF16
	set.peakBF16 = func(steps int) int { peakBF16VBF16(steps); return steps * 24 * 64 }
	return set
}()

func finishersOf(fill func(*finisherTable)) *finisherTable {
	t := new(finisherTable)
	fill(t)
	return t
}

// packStrip is packRows32 for the columns c0 to c1 of a panel and the steps p0 to p1.
func packStrip(dst, src address, c0, c1, rows, p0, p1 int, ld uintptr) {
	for p := p0; p < p1; p++ {
		out := (*[panelWidth]uint32)(unsafe.Add(dst, p*4*panelWidth))
		for j := c0; j < min(c1, rows); j++ {
			out[j] = *(*uint32)(unsafe.Add(src, uintptr(j)*ld+uintptr(p)*4))
		}
		clear(out[min(max(c0, rows), c1):c1])
	}
}

// finishF32Edge gives rows that are shorter than a panel to a kernel for whole
// ones, through the finisher's buffer.
func finishF32Edge(f *finisher, act Activation, whole func(f *finisher, act Activation)) {
	before, row := *f, &f.edge
	for i := range before.rows {
		dst := unsafe.Slice((*float32)(unsafe.Add(before.dst, uintptr(i)*before.ldDst)), before.cols)
		copy(row[:], dst)
		f.dst, f.rows, f.cols = address(row), 1, panelWidth
		f.sums = unsafe.Add(before.sums, uintptr(i)*before.ldSums)
		whole(f, act)
		copy(dst, row[:])
	}
	f.sums, f.dst, f.rows, f.cols = before.sums, before.dst, before.rows, before.cols
}

// finishBF16Edge is finishF32Edge for bfloat16.
func finishBF16Edge(f *finisher, act Activation, whole func(f *finisher, act Activation)) {
	before, row := *f, (*[panelWidth]uint16)(address(&f.edge))
	for i := range before.rows {
		dst := unsafe.Slice((*uint16)(unsafe.Add(before.dst, uintptr(i)*before.ldDst)), before.cols)
		copy(row[:], dst)
		f.dst, f.rows, f.cols = address(row), 1, panelWidth
		f.sums = unsafe.Add(before.sums, uintptr(i)*before.ldSums)
		whole(f, act)
		copy(dst, row[:])
	}
	f.sums, f.dst, f.rows, f.cols = before.sums, before.dst, before.rows, before.cols
}
