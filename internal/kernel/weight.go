package kernel

import (
	"fmt"
	"unsafe"
)

// Weight is a matrix W [N, K] packed as the right operand of products x W^T: in
// panels of 32 rows of W, each [K, 32] (float32) or [K/2, 32, 2] (bfloat16), with
// zeros beyond N and K. It holds no other copy of the numbers and may be used by
// many goroutines once it is filled.
type Weight struct {
	N, K      int
	Precision Precision
	steps     int       // per panel: K, or K/2 rounded up
	data      []float32 // [panels, steps, 32] units of 4 bytes
	backing   any       // what keeps data alive where it is no memory of Go's

	source     Mat // while packing
	transposed bool
	packOne    func(ws *Workspace, i int) // packJob, bound once
}

// NewWeight returns a zero weight to be filled with SetRows.
func NewWeight(n, k int, p Precision) *Weight {
	w := new(Weight)
	w.reshape(n, k, p) // memory that is new is zero
	return w
}

// reshape makes w an [n, k] weight of undefined content, in its old memory where
// that suffices.
func (w *Weight) reshape(n, k int, p Precision) {
	if n < 0 || k < 0 {
		panic(fmt.Sprintf("kernel: weight of shape [%d, %d]", n, k))
	}
	w.N, w.K, w.Precision = n, k, p
	w.steps = (k + p.lanes() - 1) / p.lanes()
	need := w.panels() * w.steps * panelWidth
	if cap(w.data) < need || w.backing != nil {
		w.backing = nil
		w.data = alignedFloats(need)
	}
	w.data = w.data[:need]
}

func (w *Weight) panels() int { return (w.N + panelWidth - 1) / panelWidth }

// Bytes is the memory that the packed numbers take.
func (w *Weight) Bytes() int { return 4 * len(w.data) }

// PackWeight packs w [N, K] in precision p.
func PackWeight(w Mat, p Precision) *Weight {
	packed := new(Weight)
	packed.reshape(w.Rows, w.Cols, p)
	packed.pack(w, false)
	return packed
}

// PackTransposed packs the transpose of w [K, N], for products x w.
func PackTransposed(w Mat, p Precision) *Weight {
	packed := new(Weight)
	packed.reshape(w.Cols, w.Rows, p)
	packed.pack(w, true)
	return packed
}

// Repack packs w [N, K], or with transposed the transpose of w [K, N], into the
// memory of an older weight: a training step packs its weights anew.
func (w *Weight) Repack(m Mat, transposed bool, p Precision) {
	n, k := m.Rows, m.Cols
	if transposed {
		n, k = k, n
	}
	w.reshape(n, k, p)
	w.pack(m, transposed)
}

// PackedBytes is the memory that a packed weight [n, k] takes, a multiple of 128.
func PackedBytes(n, k int, p Precision) int {
	return (n + panelWidth - 1) / panelWidth * ((k + p.lanes() - 1) / p.lanes()) * panelWidth * 4
}

// Packed is the packed form, in the byte order of the machine. It must not be written to.
func (w *Weight) Packed() []byte { return AsBytes(w.data) }

// AsBytes views numbers as their bytes, in the byte order of the machine.
func AsBytes(numbers []float32) []byte {
	if len(numbers) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&numbers[0])), 4*len(numbers))
}

// FromBytes views bytes, as AsBytes gives them and at a multiple of 4, as numbers.
func FromBytes(data []byte) []float32 {
	if len(data) == 0 {
		return nil
	}
	if len(data)%4 != 0 || uintptr(unsafe.Pointer(&data[0]))%4 != 0 {
		panic(fmt.Sprintf("kernel: %d bytes at %p are not float32 numbers", len(data), &data[0]))
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&data[0])), len(data)/4)
}

// UsePacked makes w a weight [n, k] whose packed form, as Packed gave it, lies elsewhere: it is read there and not copied.
// The memory must begin at a multiple of 64 and stay as it is; w keeps backing alive.
func (w *Weight) UsePacked(n, k int, p Precision, packed []byte, backing any) error {
	if len(packed) != PackedBytes(n, k, p) || len(packed) == 0 || uintptr(unsafe.Pointer(&packed[0]))%64 != 0 {
		return fmt.Errorf("packed weight [%d, %d] of %d bytes, expected %d at a multiple of 64", n, k, len(packed), PackedBytes(n, k, p))
	}
	*w = Weight{N: n, K: k, Precision: p, steps: (k + p.lanes() - 1) / p.lanes(), backing: backing}
	w.data = unsafe.Slice((*float32)(unsafe.Pointer(&packed[0])), len(packed)/4)
	return nil
}

// SetRows packs rows, [any, K], as the rows of W from first on, so that a large
// weight is read in pieces and never held twice. first must be a multiple of 32,
// and so must the count of rows unless they are the last ones.
func (w *Weight) SetRows(first int, rows Mat) {
	rows.check("weight rows")
	last := first + rows.Rows
	if rows.Cols != w.K || first < 0 || first%panelWidth != 0 || last > w.N || last != w.N && last%panelWidth != 0 {
		panic(fmt.Sprintf("kernel: rows %d to %d of width %d do not fit a weight [%d, %d]", first, last, rows.Cols, w.N, w.K))
	}
	ws := GetWorkspace()
	defer ws.Release()
	for n := 0; n < rows.Rows; n += panelWidth {
		ws.packPanel(w.panel((first+n)/panelWidth), rows, false, n, 0, w.K, w.Precision)
	}
}

// First is the weight [n, K] of the first n rows of W, a multiple of 32, in the same memory.
func (w *Weight) First(n int) *Weight {
	if n < 0 || n > w.N || n%panelWidth != 0 && n != w.N {
		panic(fmt.Sprintf("kernel: the first %d rows of a weight [%d, %d]", n, w.N, w.K))
	}
	part := &Weight{N: n, K: w.K, Precision: w.Precision, steps: w.steps, backing: w.backing}
	size := part.panels() * part.steps * panelWidth
	part.data = w.data[:size:size]
	return part
}

// Row writes row i of W, as it was rounded, to dst [K].
func (w *Weight) Row(dst []float32, i int) {
	checkLen("weight row", len(dst), w.K)
	panel := w.panel(i / panelWidth)
	if w.Precision == Float32 {
		for k := range dst {
			dst[k] = panel[k*panelWidth+i%panelWidth]
		}
		return
	}
	pairs := asBF16(panel)
	for k := range dst {
		dst[k] = BF16ToFloat32(pairs[k/2*2*panelWidth+i%panelWidth*2+k%2])
	}
}

// panel is [steps, 32] units.
func (w *Weight) panel(j int) []float32 {
	size := w.steps * panelWidth
	return w.data[j*size : (j+1)*size : (j+1)*size]
}

// parallelPack is from how many numbers on packing is shared among the workers.
const parallelPack = 1 << 16

func (w *Weight) pack(m Mat, transposed bool) {
	m.check("weight")
	if w.N*w.K < parallelPack {
		ws := GetWorkspace()
		w.packSerial(ws, m, transposed)
		ws.Release()
		return
	}
	if w.packOne == nil {
		w.packOne = w.packJob
	}
	w.source, w.transposed = m, transposed
	jobs := w.panels()
	if transposed {
		jobs = (w.K + packRows - 1) / packRows
	}
	inWorkspaces(jobs, w.packOne)
	w.source = Mat{}
}

// packRows is how many rows of a transposed source are packed at once: its rows then come from memory once and in order,
// where a panel alone would fetch a line of each and return for the next.
const packRows = 128

func (w *Weight) packJob(ws *Workspace, i int) {
	if w.transposed {
		w.packStripe(ws, w.source, i*packRows)
	} else {
		ws.packPanel(w.panel(i), w.source, false, i*panelWidth, 0, w.K, w.Precision)
	}
}

func (w *Weight) packSerial(ws *Workspace, m Mat, transposed bool) {
	if transposed {
		for k0 := 0; k0 < w.K; k0 += packRows {
			w.packStripe(ws, m, k0)
		}
		return
	}
	for j := range w.panels() {
		ws.packPanel(w.panel(j), m, false, j*panelWidth, 0, w.K, w.Precision)
	}
}

// packStripe packs packRows rows of m [K, N], from k0 on, into all panels.
func (w *Weight) packStripe(ws *Workspace, m Mat, k0 int) {
	count := min(packRows, w.K-k0)
	lanes := w.Precision.lanes()
	for j := range w.panels() {
		part := w.panel(j)[k0/lanes*panelWidth : (k0+count+lanes-1)/lanes*panelWidth]
		ws.packPanel(part, m, true, j*panelWidth, k0, count, w.Precision)
	}
}

// packPanel packs 32 rows (from n on; columns when transposed) and k steps from
// k0 on of m into dst [units, 32].
func (ws *Workspace) packPanel(dst []float32, m Mat, transposed bool, n, k0, k int, p Precision) {
	if k == 0 {
		return
	}
	if transposed {
		ws.packColumns(dst, panelWidth, m, n, min(panelWidth, m.Cols-n), k0, k, p)
		return
	}
	rows := min(panelWidth, m.Rows-n)
	part := m.Slice(n, n+rows, k0, k0+k)
	if p == Float32 && part.F != nil {
		active.packRows32(address(&dst[0]), address(&part.F[0]), rows, k, uintptr(part.Stride)*4)
		return
	}
	if p == BFloat16 && part.H != nil && k%2 == 0 {
		active.packRows32(address(&dst[0]), address(&part.H[0]), rows, k/2, uintptr(part.Stride)*2)
		return
	}
	// The other format: a few hundred steps at a time through a buffer in L1.
	const chunk = 128
	for done := 0; done < k; done += chunk {
		count := min(chunk, k-done)
		units := (count + p.lanes() - 1) / p.lanes()
		buffer := grow(&ws.convert, panelWidth*chunk)
		ld := uintptr(units) * 4
		for j := 0; j < rows; j++ {
			ws.convertRow(buffer[j*units:(j+1)*units], part, j, done, count, p)
		}
		active.packRows32(address(&dst[done/p.lanes()*panelWidth]), address(&buffer[0]), rows, units, ld)
	}
}

// convertRow writes count numbers of a row in the format p, a zero after an odd
// count of bfloat16.
func (ws *Workspace) convertRow(dst []float32, m Mat, row, from, count int, p Precision) {
	switch {
	case p == Float32 && m.F != nil:
		copy(dst[:count], m.F[row*m.Stride+from:])
	case p == Float32:
		active.fromBF16(dst[:count], m.H[row*m.Stride+from:][:count])
	default:
		pairs := asBF16(dst)
		if m.H != nil {
			copy(pairs[:count], m.H[row*m.Stride+from:])
		} else {
			active.toBF16(pairs[:count], m.F[row*m.Stride+from:][:count])
		}
		clear(pairs[count:])
	}
}

// nearRows is how many rows are packed before the next columns of the same rows: they stay in the L1 cache.
const nearRows = 64

// pairPanelOf is the kernel that packs pairs of rows of a matrix, where there is one, where the matrix begins and the bytes of a number.
func pairPanelOf(m Mat) (pack func(dst, src address, pairs int, ld, ldDst uintptr), src address, size int) {
	if m.H != nil {
		return active.pairPanel, address(unsafe.SliceData(m.H)), 2
	}
	return active.pairPanelF32, address(unsafe.SliceData(m.F)), 4
}

// packColumns packs m, stored [K, any], without turning it: unit (p, j) of dst is
// at p*width+j and takes column first+j; columns from cols to width become zero.
func (ws *Workspace) packColumns(dst []float32, width int, m Mat, first, cols, k0, k int, p Precision) {
	if p == Float32 {
		for s := 0; s < k; s++ {
			out := dst[s*width : (s+1)*width]
			at := (k0+s)*m.Stride + first
			if m.F != nil {
				copy(out[:cols], m.F[at:at+cols])
			} else {
				active.fromBF16(out[:cols], m.H[at:at+cols])
			}
			clear(out[cols:])
		}
		return
	}
	done := 0
	if pack, src, size := pairPanelOf(m); pack != nil && cols >= panelWidth {
		done = k &^ 1
		for s := 0; s < done; s += nearRows {
			pairs := min(nearRows, done-s) / 2
			for c := 0; c < cols; c += panelWidth {
				from := min(c, cols-panelWidth) // the last columns may be packed twice
				at := (k0+s)*m.Stride + first + from
				pack(address(&dst[s/2*width+from]), unsafe.Add(src, at*size), pairs, uintptr(m.Stride*size), 4*uintptr(width))
			}
		}
		for s := 0; s < done/2 && cols < width; s++ {
			clear(dst[s*width+cols : (s+1)*width])
		}
	}
	for s := done; s < k; s += 2 {
		out := asBF16(dst[s/2*width : (s/2+1)*width])
		at := (k0+s)*m.Stride + first
		next, pair := at+m.Stride, s+1 < k
		switch {
		case m.H != nil && pair:
			active.interleave(out[:2*cols], m.H[at:at+cols], m.H[next:next+cols])
		case m.H != nil:
			active.interleave(out[:2*cols], m.H[at:at+cols], asBF16(ws.zeros(cols))[:cols])
		case pair:
			active.pairBF16(out[:2*cols], m.F[at:at+cols], m.F[next:next+cols])
		default:
			active.pairBF16(out[:2*cols], m.F[at:at+cols], ws.zeros(cols))
		}
		clear(out[2*cols:])
	}
}

// zeros stand for the row after an odd last one.
func (ws *Workspace) zeros(n int) []float32 {
	row := grow(&ws.convert, n)
	clear(row)
	return row
}
