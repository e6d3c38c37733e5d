package pretrain

import (
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// real is the number type of the layers: float32 in training, float64 where gradients are checked.
type real interface{ float32 | float64 }

// mat is a row-major view: element (i, j) is data[i*stride+j].
type mat[T real] struct {
	rows, cols, stride int
	data               []T
}

func matrix[T real](data []T, rows, cols int) mat[T] {
	return mat[T]{rows: rows, cols: cols, stride: cols, data: data[:rows*cols]}
}

func (m mat[T]) row(i int) []T { return m.data[i*m.stride : i*m.stride+m.cols] }

// slice is the view of rows r0 to r1 and columns c0 to c1, ends excluded.
func (m mat[T]) slice(r0, r1, c0, c1 int) mat[T] {
	return mat[T]{rows: r1 - r0, cols: c1 - c0, stride: m.stride, data: m.data[r0*m.stride+c0 : (r1-1)*m.stride+c1]}
}

// engine multiplies and applies the functions that are worth vector instructions, on the calling goroutine. An engine
// serves one goroutine at a time.
type engine[T real] interface {
	// gemm sets c to alpha A B (added to c with accumulate); ta and tb transpose what is given.
	gemm(c mat[T], alpha T, a mat[T], ta bool, b mat[T], tb bool, accumulate bool)
	// linear sets y [R, out] to x [R, in] W^T + b; w is [out, in], b [out].
	linear(y, x, w mat[T], b []T)
	// softmax replaces a row by its softmax.
	softmax(row []T)
	// softmaxGrad turns d, the gradient by the softmax p of a row, into the one by the row.
	softmaxGrad(d, p []T)
	// add adds src to dst.
	add(dst, src []T)
	// activate sets dst to the activation of src.
	activate(dst, src []T, act kernel.Activation)
	// activateGrad sets d to d times the derivative of the activation at src.
	activateGrad(d, src []T, act kernel.Activation)
}

// fast is the engine of training: float32 numbers, products in the chosen precision.
type fast struct {
	ws        kernel.Workspace
	precision kernel.Precision
	scratch   [512]float32
}

func kernelMat(m mat[float32]) kernel.Mat {
	return kernel.Mat{Rows: m.rows, Cols: m.cols, Stride: m.stride, F: m.data}
}

func (f *fast) gemm(c mat[float32], alpha float32, a mat[float32], ta bool, b mat[float32], tb bool, accumulate bool) {
	f.ws.Gemm(kernelMat(c), alpha, kernelMat(a), ta, kernelMat(b), tb, accumulate, f.precision)
}

func (f *fast) linear(y, x, w mat[float32], b []float32) {
	f.ws.GemmBias(kernelMat(y), kernelMat(x), kernelMat(w), b, f.precision)
}

func (f *fast) softmaxGrad(d, p []float32) { softmaxGrad(d, p) }

func (f *fast) add(dst, src []float32) { kernel.Axpy(dst, 1, src) }

func (f *fast) softmax(row []float32) { kernel.Softmax(row) }

func (f *fast) activate(dst, src []float32, act kernel.Activation) { kernel.Activate(dst, src, act) }

func (f *fast) activateGrad(d, src []float32, act kernel.Activation) {
	if act != kernel.QuickGELU {
		for i, x := range src {
			d[i] *= float32(activationSlope(float64(x), act))
		}
		return
	}
	for len(src) > 0 {
		n := min(len(src), len(f.scratch))
		e := f.scratch[:n]
		kernel.Scale(e, -1.702, src[:n])
		kernel.Exp(e, e)
		for i, x := range src[:n] {
			// exp overflows to infinity for very negative x, where the slope is 0.
			s := 1 / (1 + e[i])
			d[i] *= s * (1 + 1.702*x*(1-s))
		}
		d, src = d[n:], src[n:]
	}
}

// exact is the engine of gradient checks: plain loops in float64.
type exact struct{}

func (exact) gemm(c mat[float64], alpha float64, a mat[float64], ta bool, b mat[float64], tb bool, accumulate bool) {
	inner := a.cols
	if ta {
		inner = a.rows
	}
	for i := 0; i < c.rows; i++ {
		row := c.row(i)
		for j := range row {
			sum := 0.0
			for k := 0; k < inner; k++ {
				x, y := 0.0, 0.0
				if ta {
					x = a.data[k*a.stride+i]
				} else {
					x = a.data[i*a.stride+k]
				}
				if tb {
					y = b.data[j*b.stride+k]
				} else {
					y = b.data[k*b.stride+j]
				}
				sum += x * y
			}
			if accumulate {
				row[j] += alpha * sum
			} else {
				row[j] = alpha * sum
			}
		}
	}
}

func (e exact) linear(y, x, w mat[float64], b []float64) {
	e.gemm(y, 1, x, false, w, true, false)
	for i := 0; i < y.rows; i++ {
		e.add(y.row(i), b)
	}
}

func (exact) softmaxGrad(d, p []float64) { softmaxGrad(d, p) }

func softmaxGrad[T real](d, p []T) {
	sum := T(0)
	for j, x := range d {
		sum += x * p[j]
	}
	for j, x := range d {
		d[j] = p[j] * (x - sum)
	}
}

func (exact) add(dst, src []float64) {
	for i, v := range src {
		dst[i] += v
	}
}

func (exact) softmax(row []float64) {
	top := math.Inf(-1)
	for _, x := range row {
		top = math.Max(top, x)
	}
	sum := 0.0
	for i, x := range row {
		row[i] = math.Exp(x - top)
		sum += row[i]
	}
	for i := range row {
		row[i] /= sum
	}
}

func (exact) activate(dst, src []float64, act kernel.Activation) {
	for i, x := range src {
		switch act {
		case kernel.QuickGELU:
			dst[i] = x / (1 + math.Exp(-1.702*x))
		case kernel.GELU:
			dst[i] = 0.5 * x * (1 + math.Erf(x/math.Sqrt2))
		default:
			panic("pretrain: activation " + act.String())
		}
	}
}

func (exact) activateGrad(d, src []float64, act kernel.Activation) {
	for i, x := range src {
		d[i] *= activationSlope(x, act)
	}
}

func activationSlope(x float64, act kernel.Activation) float64 {
	switch act {
	case kernel.QuickGELU:
		s := 1 / (1 + math.Exp(-1.702*x))
		return s * (1 + 1.702*x*(1-s))
	case kernel.GELU:
		return 0.5*(1+math.Erf(x/math.Sqrt2)) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	}
	panic("pretrain: activation " + act.String())
}

// grow returns *buffer with n numbers; what it held is lost when it had to grow.
func grow[T any](buffer *[]T, n int) []T {
	if cap(*buffer) < n {
		*buffer = make([]T, n)
	}
	*buffer = (*buffer)[:n]
	return *buffer
}
