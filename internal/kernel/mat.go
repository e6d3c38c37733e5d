package kernel

import "fmt"

// Precision says in which format the operands of a product are multiplied.
type Precision uint8

const (
	// Float32 multiplies float32 numbers.
	Float32 Precision = iota
	// BFloat16 rounds the operands to bfloat16 and adds their products in float32.
	BFloat16
)

func (p Precision) String() string {
	if p == BFloat16 {
		return "bf16"
	}
	return "f32"
}

// lanes is how many numbers of a row are multiplied by one lane of a vector
// register in one step: one float32, or a pair of bfloat16.
func (p Precision) lanes() int {
	if p == BFloat16 {
		return 2
	}
	return 1
}

// Mat is a view of a row-major matrix: element (i, j) is at i*Stride+j of F
// (float32) or of H (bfloat16); exactly one of the two is set.
type Mat struct {
	Rows, Cols, Stride int
	F                  []float32
	H                  []uint16
}

// NewMat returns a zero matrix [rows, cols] in the format of p.
func NewMat(p Precision, rows, cols int) Mat {
	if rows < 0 || cols < 0 {
		panic(fmt.Sprintf("kernel: matrix of shape [%d, %d]", rows, cols))
	}
	m := Mat{Rows: rows, Cols: cols, Stride: cols}
	if p == BFloat16 {
		m.H = make([]uint16, rows*cols)
	} else {
		m.F = make([]float32, rows*cols)
	}
	return m
}

// FromFloat32 returns data, which must hold rows*cols numbers, as a matrix.
func FromFloat32(data []float32, rows, cols int) Mat {
	m := Mat{Rows: rows, Cols: cols, Stride: cols, F: data}
	m.check("data")
	return m
}

// FromBFloat16 returns data, which must hold rows*cols numbers, as a matrix.
func FromBFloat16(data []uint16, rows, cols int) Mat {
	m := Mat{Rows: rows, Cols: cols, Stride: cols, H: data}
	m.check("data")
	return m
}

// Slice returns the view of rows r0 to r1 and columns c0 to c1, ends excluded.
func (m Mat) Slice(r0, r1, c0, c1 int) Mat {
	if r0 < 0 || r1 < r0 || r1 > m.Rows || c0 < 0 || c1 < c0 || c1 > m.Cols {
		panic(fmt.Sprintf("kernel: slice [%d:%d, %d:%d] of a matrix [%d, %d]", r0, r1, c0, c1, m.Rows, m.Cols))
	}
	view := Mat{Rows: r1 - r0, Cols: c1 - c0, Stride: m.Stride}
	if view.Rows == 0 || view.Cols == 0 {
		return view
	}
	from, to := r0*m.Stride+c0, (r1-1)*m.Stride+c1
	if m.H != nil {
		view.H = m.H[from:to:to]
	} else {
		view.F = m.F[from:to:to]
	}
	return view
}

// Row returns row i of a float32 matrix.
func (m Mat) Row(i int) []float32 {
	return m.F[i*m.Stride : i*m.Stride+m.Cols : i*m.Stride+m.Cols]
}

// RowBF16 returns row i of a bfloat16 matrix.
func (m Mat) RowBF16(i int) []uint16 {
	return m.H[i*m.Stride : i*m.Stride+m.Cols : i*m.Stride+m.Cols]
}

// At returns element (i, j) as a float32.
func (m Mat) At(i, j int) float32 {
	if m.H != nil {
		return BF16ToFloat32(m.H[i*m.Stride+j])
	}
	return m.F[i*m.Stride+j]
}

// Precision is the format that the matrix is kept in.
func (m Mat) Precision() Precision {
	if m.H != nil {
		return BFloat16
	}
	return Float32
}

func (m Mat) empty() bool { return m.Rows == 0 || m.Cols == 0 }

// check panics where the view reaches outside its slice: the kernels behind it
// do not look at lengths.
func (m Mat) check(name string) {
	if m.Rows < 0 || m.Cols < 0 || m.Stride < m.Cols && m.Rows > 1 {
		panic(fmt.Sprintf("kernel: %s has shape [%d, %d] and stride %d", name, m.Rows, m.Cols, m.Stride))
	}
	if m.empty() {
		return
	}
	if (m.F == nil) == (m.H == nil) {
		panic(fmt.Sprintf("kernel: %s must hold either float32 or bfloat16 numbers", name))
	}
	if need, have := (m.Rows-1)*m.Stride+m.Cols, len(m.F)+len(m.H); have < need {
		panic(fmt.Sprintf("kernel: %s of shape [%d, %d], stride %d needs %d numbers, has %d", name, m.Rows, m.Cols, m.Stride, need, have))
	}
}

func checkLen(name string, have, want int) {
	if have != want {
		panic(fmt.Sprintf("kernel: %s has %d numbers, expected %d", name, have, want))
	}
}
