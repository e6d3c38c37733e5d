package kernel

import (
	"math"
	"unsafe"
)

// portable are the kernels in Go: the definition of each, and the engine where
// there is no assembly.
var portable = kernelSet{
	name: "portable", bf16: true, microRows: 4, innerSteps: 192,
	microF32: microF32Go, microBF16: microBF16Go,
	finishF32: finishF32Go, finishBF16: finishBF16Go,
	toBF16: toBF16Go, fromBF16: fromBF16Go, fromF16: fromF16Go, roundBF16: roundBF16Go,
	expandPairs: expandPairsGo, packRows32: packRows32Go, interleave: interleaveGo, pairBF16: pairBF16Go,
	moments: momentsGo, normalize: normalizeGo, maximum: maximumGo, highest: highestGo, expSum: expSumGo, expWeights: expSumGo,
	softmaxF32: softmaxBy(maximumGo, expSumGo), softmaxBF16: softmaxBF16Go, pairPanel: pairPanelGo,
	dot: dotGo, axpy: axpyGo, scale: scaleGo, activate: activateGo, adam: adamGo,
	weighRows: weighRowsGo, paeth: paethRowGo, toRGB: toRGBGo, upsample: upsampleGo,
	peakF32: peakF32Go, peakBF16: peakF32Go,
}

func microF32Go(m *multiplier) { microGo(m, rowF32) }

func microBF16Go(m *multiplier) { microGo(m, rowBF16) }

// microGo calls row for every row of every panel.
func microGo(m *multiplier, row func(out *[panelWidth]float32, m *multiplier, a, panel address)) {
	for q := range m.panels {
		panel := unsafe.Add(m.b, uintptr(q)*m.panelBytes)
		for i := range m.rows() {
			out := (*[panelWidth]float32)(unsafe.Add(m.c, uintptr(i)*m.ldc+uintptr(q)*4*panelWidth))
			if m.add == 0 {
				*out = [panelWidth]float32{}
			}
			row(out, m, unsafe.Add(m.a, uintptr(i)*m.rs), panel)
		}
	}
}

// rowF32 adds the products of one row and a panel to out.
func rowF32(out *[panelWidth]float32, m *multiplier, a, panel address) {
	sum := *out
	for p := range m.k {
		x := *(*float32)(unsafe.Add(a, uintptr(p)*m.cs))
		y := (*[panelWidth]float32)(unsafe.Add(panel, p*4*panelWidth))
		for j := range sum {
			sum[j] += x * y[j]
		}
	}
	*out = sum
}

// rowBF16 is rowF32 for pairs of bfloat16.
func rowBF16(out *[panelWidth]float32, m *multiplier, a, panel address) {
	sum := *out
	for p := range m.k {
		pair := *(*uint32)(unsafe.Add(a, uintptr(p)*m.cs))
		even, odd := math.Float32frombits(pair<<16), math.Float32frombits(pair&0xffff0000)
		y := (*[panelWidth]uint32)(unsafe.Add(panel, p*4*panelWidth))
		for j := range sum {
			sum[j] += odd * math.Float32frombits(y[j]&0xffff0000)
			sum[j] += even * math.Float32frombits(y[j]<<16)
		}
	}
	*out = sum
}

func finishRowGo(f *finisher, act Activation, i int, store func(j int, y float32), load func(j int) float32) {
	sums := unsafe.Slice((*float32)(unsafe.Add(f.sums, uintptr(i)*f.ldSums)), f.cols)
	for j, sum := range sums {
		y := act.of(f.alpha*sum+f.bias[j]) * f.scale[j]
		if f.accumulate != 0 {
			y += load(j)
		}
		store(j, y)
	}
}

func finishF32Go(f *finisher, act Activation) {
	for i := 0; i < f.rows; i++ {
		dst := unsafe.Slice((*float32)(unsafe.Add(f.dst, uintptr(i)*f.ldDst)), f.cols)
		finishRowGo(f, act, i, func(j int, y float32) { dst[j] = y }, func(j int) float32 { return dst[j] })
	}
}

func finishBF16Go(f *finisher, act Activation) {
	for i := 0; i < f.rows; i++ {
		dst := unsafe.Slice((*uint16)(unsafe.Add(f.dst, uintptr(i)*f.ldDst)), f.cols)
		finishRowGo(f, act, i, func(j int, y float32) { dst[j] = Float32ToBF16(y) }, func(j int) float32 { return BF16ToFloat32(dst[j]) })
	}
}

// Float32ToBF16 rounds to the nearest bfloat16, ties to even; NaN becomes a quiet
// NaN and a subnormal number zero, as VCVTNEPS2BF16 does.
func Float32ToBF16(x float32) uint16 {
	bits := math.Float32bits(x)
	switch bits & 0x7f800000 {
	case 0:
		return uint16(bits >> 16 & 0x8000)
	case 0x7f800000:
		if bits&0x7fffff != 0 {
			return uint16(bits>>16 | 0x40)
		}
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// BF16ToFloat32 is exact.
func BF16ToFloat32(x uint16) float32 { return math.Float32frombits(uint32(x) << 16) }

func toBF16Go(dst []uint16, src []float32) {
	for i, x := range src {
		dst[i] = Float32ToBF16(x)
	}
}

func fromBF16Go(dst []float32, src []uint16) {
	for i, x := range src {
		dst[i] = BF16ToFloat32(x)
	}
}

func fromF16Go(dst []float32, src []byte) {
	for i := range dst {
		h := uint32(src[2*i]) | uint32(src[2*i+1])<<8
		sign, exponent, fraction := h&0x8000<<16, h>>10&0x1f, h&0x3ff
		switch exponent {
		case 0: // zero and subnormal numbers
			v := float32(fraction) * (1.0 / (1 << 24))
			dst[i] = math.Float32frombits(math.Float32bits(v) | sign)
		case 0x1f:
			if fraction != 0 {
				fraction |= 0x200 // quiet
			}
			dst[i] = math.Float32frombits(sign | 0x7f800000 | fraction<<13)
		default:
			dst[i] = math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
		}
	}
}

func roundBF16Go(dst, src []float32) {
	for i, x := range src {
		dst[i] = BF16ToFloat32(Float32ToBF16(x))
	}
}

func expandPairsGo(dst, src []float32) {
	for i, pair := range src {
		bits := math.Float32bits(pair)
		row, j := i/panelWidth*2, i%panelWidth
		dst[row*panelWidth+j] = math.Float32frombits(bits << 16)
		dst[(row+1)*panelWidth+j] = math.Float32frombits(bits & 0xffff0000)
	}
}

func packRows32Go(dst, src address, rows, k int, ld uintptr) {
	for p := 0; p < k; p++ {
		out := (*[panelWidth]uint32)(unsafe.Add(dst, p*4*panelWidth))
		for j := 0; j < rows; j++ {
			out[j] = *(*uint32)(unsafe.Add(src, uintptr(j)*ld+uintptr(p)*4))
		}
		clear(out[rows:])
	}
}

func interleaveGo(dst, even, odd []uint16) {
	for j := range even {
		dst[2*j], dst[2*j+1] = even[j], odd[j]
	}
}

func pairBF16Go(dst []uint16, even, odd []float32) {
	for j, x := range even {
		dst[2*j], dst[2*j+1] = Float32ToBF16(x), Float32ToBF16(odd[j])
	}
}

func momentsGo(x []float32) (mean, variance float32) {
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
	}
	center := sum / float64(len(x))
	for _, v := range x {
		d := float64(v) - center
		squares += d * d
	}
	return float32(center), float32(squares / float64(len(x)))
}

func normalizeGo(dst, x, gamma, beta []float32, mean, inverse float32) {
	for i, v := range x {
		dst[i] = (v-mean)*inverse*gamma[i] + beta[i]
	}
}

func maximumGo(x []float32) float32 {
	top := float32(math.Inf(-1))
	for _, v := range x {
		if v > top || v != v {
			top = v
		}
		if top != top {
			return top
		}
	}
	return top
}

func highestGo(best []float32, winner []int32, at, from, rise []float32) {
	for j, x := range at {
		top, first := from[0]+rise[0]*x, 0
		for i := 1; i < len(from); i++ {
			if y := from[i] + rise[i]*x; y > top {
				top, first = y, i
			}
		}
		best[j], winner[j] = top, int32(first)
	}
}

func expSumGo(dst, x []float32, scale, shift float32) float32 {
	var sum float64
	for i, v := range x {
		y := float32(math.Exp(float64(v)*float64(scale) - float64(shift)))
		dst[i] = y
		sum += float64(y)
	}
	return float32(sum)
}

// softmaxBy makes kernelSet.softmaxF32 of its parts.
func softmaxBy(maximum func([]float32) float32, exponentials func(dst, x []float32, scale, shift float32) float32) func(dst, x []float32, scale float32, s *softmaxState) {
	return func(dst, x []float32, scale float32, s *softmaxState) {
		if !s.raise(scale * maximum(x)) {
			clear(dst)
			return
		}
		s.sum += exponentials(dst, x, scale, s.top)
	}
}

func softmaxBF16Go(dst []uint16, x []float32, scale float32, s *softmaxState) {
	if !s.raise(scale * maximumGo(x)) {
		clear(dst)
		return
	}
	var sum float64
	for i, v := range x {
		y := float32(math.Exp(float64(v)*float64(scale) - float64(s.top)))
		dst[i] = Float32ToBF16(y)
		sum += float64(y)
	}
	s.sum += float32(sum)
}

// raise takes what was summed to a new maximum; false: it is still -Inf.
func (s *softmaxState) raise(highest float32) bool {
	if highest < s.top {
		highest = s.top
	}
	s.factor = 1
	if math.IsInf(float64(highest), -1) {
		return false
	}
	if highest != s.top {
		s.factor = float32(math.Exp(float64(s.top) - float64(highest)))
	}
	s.sum *= s.factor
	s.top = highest
	return true
}

func pairPanelGo(dst, src address, pairs int, ld, ldDst uintptr) {
	for p := range pairs {
		even := unsafe.Slice((*uint16)(unsafe.Add(src, uintptr(2*p)*ld)), panelWidth)
		odd := unsafe.Slice((*uint16)(unsafe.Add(src, uintptr(2*p+1)*ld)), panelWidth)
		interleaveGo(unsafe.Slice((*uint16)(unsafe.Add(dst, uintptr(p)*ldDst)), 2*panelWidth), even, odd)
	}
}

func dotGo(x, y []float32) float32 {
	var sum float64
	for i, v := range x {
		sum += float64(v) * float64(y[i])
	}
	return float32(sum)
}

func axpyGo(y []float32, alpha float32, x []float32) {
	for i, v := range x {
		y[i] += alpha * v
	}
}

func scaleGo(dst, x []float32, alpha float32) {
	for i, v := range x {
		dst[i] = alpha * v
	}
}

func activateGo(dst, x []float32, act Activation) {
	for i, v := range x {
		dst[i] = act.of(v)
	}
}

func peakF32Go(steps int) int {
	var s [8]float32
	for i := 0; i < steps; i++ {
		for j := range s {
			s[j] += s[j] * 0.5
		}
	}
	if s[0] != 0 { // never: it keeps the compiler from dropping the loop
		return 0
	}
	return steps * 2 * len(s)
}
