// Package kernel is the engine room: matrix products, attention, softmax and
// norms, in portable Go and in generated assembly behind the same functions.
//
// The assembly is chosen once, at start, by what the processor offers: AVX-512
// with BF16, AVX-512, AVX2 with FMA, or none. PACL_CPU=portable, avx2, avx512 or
// avx512bf16 asks for a lower set; the build tag noasm leaves assembly out.
//
// Matrices are row-major views (Mat) over float32 or bfloat16 numbers. Products
// accumulate in float32 whatever the operands are. Work is cut by the shapes
// alone and each output is summed in one fixed order, so that a result is the
// same to the last bit for any number of workers. NaN and infinities propagate.
// The bfloat16 conversions and products take subnormal numbers for zero, as the
// processor's instructions do.
package kernel
