//go:build !noasm

package kernel

//go:noescape
func microF32AVX512(rows, k int, a address, rs, cs uintptr, b, c address, ldc uintptr, accumulate bool)

//go:noescape
func microBF16BF16(rows, k int, a address, rs, cs uintptr, b, c address, ldc uintptr, accumulate bool)

//go:noescape
func peakF32AVX512(steps int)

//go:noescape
func peakBF16BF16(steps int)

//go:noescape
func peakF32AVX2(steps int)
