package kernel

import (
	"os"
	"time"
)

// choose takes the best set that the processor offers and PACL_CPU allows.
func choose() *kernelSet {
	sets := available()
	wanted := os.Getenv("PACL_CPU")
	for _, set := range sets {
		if set.name == wanted {
			return set
		}
	}
	return sets[len(sets)-1]
}

// Name is the instruction set in use: portable, avx2, avx512 or avx512bf16.
func Name() string { return active.name }

// Default is the precision that this processor multiplies fastest: BFloat16 where it has instructions for it that are
// faster than those for float32.
func Default() Precision {
	if multipliesBF16() && !slowBF16() {
		return BFloat16
	}
	return Float32
}

// multipliesBF16 says whether the set in use has instructions for products of BFloat16.
func multipliesBF16() bool { return active.bf16 && active != &portable }

// Features explains the choice of Name: what the processor has, one line each.
func Features() []string {
	lines := processor()
	for _, set := range available() {
		line := "available: " + set.name
		if set == active {
			line += " (chosen)"
		}
		lines = append(lines, line)
	}
	if multipliesBF16() && slowBF16() {
		lines = append(lines, "f32 products are faster than bf16 ones on processors with AMX, whose tiles are not used")
	}
	if wanted := os.Getenv("PACL_CPU"); wanted != "" {
		line := "PACL_CPU=" + wanted
		if wanted != active.name {
			line += " is not available here and was ignored"
		}
		lines = append(lines, line)
	}
	return lines
}

// Spin runs multiply-adds that touch only registers on so many workers at once, about 15 ms of them, and returns the
// floating-point operations done.
func Spin(p Precision, workers int) float64 {
	loop := active.peakF32
	if p == BFloat16 && active.bf16 {
		loop = active.peakBF16
	}
	const steps = 2_000_000
	done := make([]int, workers)
	Parallel(workers, func(_, i int) { done[i] = loop(steps) })
	total := 0
	for _, n := range done {
		total += n
	}
	return float64(total)
}

// Peak measures the floating-point operations per second of multiply-adds that
// touch only registers, on all workers at once: the limit of a product.
func Peak(p Precision) float64 { return PeakOf(p, Workers()) }

// PeakOf is Peak on so many workers.
func PeakOf(p Precision, workers int) float64 {
	best := 0.0
	for range 5 {
		start := time.Now()
		done := Spin(p, workers)
		best = max(best, done/time.Since(start).Seconds())
	}
	return best
}
