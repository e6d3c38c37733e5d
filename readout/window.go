package readout

import "fmt"

// Window is a part of the encoder's input, in pixels.
type Window struct{ X, Y, Width, Height int }

// Plan says how an input is looked at: whole, or by windows that overlap.
type Plan struct {
	Geometry
	Windows []Window
}

// NewPlan lays windows of size x size pixels over the input of a geometry, one every step pixels, the last ones moved
// back so that they end with the input; a side that is shorter than a window is covered by one window of its length.
// Size 0 asks for one window over the whole input, step 0 for windows that overlap by half.
//
// Windows begin at multiples of the patch stride, so the patches of all of them lie on one lattice, and overlap by at
// least patch - stride pixels, so that none of its patches is left out.
func NewPlan(g Geometry, size, step int) (Plan, error) {
	if err := g.Check(); err != nil {
		return Plan{}, err
	}
	if size == 0 {
		return Plan{Geometry: g, Windows: []Window{{0, 0, g.InputW, g.InputH}}}, nil
	}
	if size < g.Patch || size%g.Stride != 0 || size%g.Patch != 0 {
		return Plan{}, fmt.Errorf("windows: size %d, expected a multiple of the patch size %d", size, g.Patch)
	}
	largest := size - g.Patch + g.Stride
	if step == 0 {
		step = max(size/2/g.Stride, 1) * g.Stride
	}
	if step < 0 || step%g.Stride != 0 {
		return Plan{}, fmt.Errorf("windows: a window every %d pixels, expected a multiple of the patch stride %d", step, g.Stride)
	}
	if step > largest {
		return Plan{}, fmt.Errorf("windows: a window every %d pixels leaves patches out, expected at most %d for windows of %d, patches of %d every %d",
			step, largest, size, g.Patch, g.Stride)
	}
	if g.InputH%g.Stride != 0 || g.InputW%g.Stride != 0 {
		return Plan{}, fmt.Errorf("windows: input of %dx%d, expected multiples of the patch stride %d", g.InputW, g.InputH, g.Stride)
	}
	const most = 1 << 16
	xs, ys := starts(g.InputW, size, step), starts(g.InputH, size, step)
	if len(xs)*len(ys) > most {
		return Plan{}, fmt.Errorf("windows: %d of them over an input of %dx%d, at most %d are allowed", len(xs)*len(ys), g.InputW, g.InputH, most)
	}
	plan := Plan{Geometry: g}
	for _, y := range ys {
		for _, x := range xs {
			plan.Windows = append(plan.Windows, Window{x, y, min(size, g.InputW), min(size, g.InputH)})
		}
	}
	return plan, nil
}

// starts returns where windows of size begin along a side of length.
func starts(length, size, step int) []int {
	if length <= size {
		return []int{0}
	}
	var at []int
	for p := 0; p < length-size; p += step {
		at = append(at, p)
	}
	return append(at, length-size)
}

// Grid is the number of patches in a window, by rows and columns.
func (p Plan) Grid(w Window) (rows, columns int) {
	return (w.Height-p.Patch)/p.Stride + 1, (w.Width-p.Patch)/p.Stride + 1
}

// Lattice averages what windows say about the patches that they share. Patch vectors may be averaged instead of scores:
// a score is linear in the vector of its patch, so the score of the mean vector is the mean of the scores.
type Lattice struct {
	Plan
	Width int
	sums  []float32 // [GridH, GridW, Width]
	count []int32   // [GridH, GridW]
}

// NewLattice returns an empty lattice for vectors of width numbers.
func NewLattice(p Plan, width int) *Lattice {
	return &Lattice{Plan: p, Width: width, sums: make([]float32, p.Cells()*width), count: make([]int32, p.Cells())}
}

// Add adds the vectors of a window, [rows, columns, Width]. Windows must be added in the order of the plan for the mean
// to be the same to the last bit.
func (l *Lattice) Add(w Window, vectors []float32) error {
	rows, columns := l.Grid(w)
	if len(vectors) != rows*columns*l.Width {
		return fmt.Errorf("windows: %d numbers of a window, expected %dx%d patches of width %d", len(vectors), rows, columns, l.Width)
	}
	row0, column0 := w.Y/l.Stride, w.X/l.Stride
	if w.X < 0 || w.Y < 0 || w.X%l.Stride != 0 || w.Y%l.Stride != 0 || row0+rows > l.GridH || column0+columns > l.GridW {
		return fmt.Errorf("windows: a window of %dx%d at (%d, %d) is not of this plan", w.Width, w.Height, w.X, w.Y)
	}
	for r := range rows {
		cell := (row0+r)*l.GridW + column0
		from := vectors[r*columns*l.Width : (r+1)*columns*l.Width]
		to := l.sums[cell*l.Width:][:len(from)]
		for i, v := range from {
			to[i] += v
		}
		for c := range columns {
			l.count[cell+c]++
		}
	}
	return nil
}

// Mean returns the mean vectors [GridH, GridW, Width] and empties the lattice. It fails where a patch was in no window.
func (l *Lattice) Mean() ([]float32, error) {
	for cell, n := range l.count {
		if n == 0 {
			return nil, fmt.Errorf("windows: patch (%d, %d) is in no window", cell/l.GridW, cell%l.GridW)
		}
		if n == 1 {
			continue
		}
		vector := l.sums[cell*l.Width : (cell+1)*l.Width]
		for i := range vector {
			vector[i] /= float32(n)
		}
	}
	mean := l.sums
	l.sums, l.count = nil, nil
	return mean, nil
}
