package readout

import (
	"fmt"
	"math"
)

// Geometry says where the cells of a grid of scores lie in a photo. Cell (r, c) is the patch whose centre is at
// (Patch/2 + r*Stride, Patch/2 + c*Stride) of the encoder's input, which shows the whole photo.
type Geometry struct {
	GridH, GridW   int // cells
	InputH, InputW int // the encoder's input, pixels
	ImageH, ImageW int // the photo, pixels
	Patch, Stride  int // size and distance of patches, pixels of the input
}

// NewGeometry returns the geometry of an input of InputH x InputW pixels that shows a photo of ImageH x ImageW.
func NewGeometry(inputH, inputW, imageH, imageW, patch, stride int) (Geometry, error) {
	if patch < 1 || stride < 1 || stride > patch || patch%stride != 0 {
		return Geometry{}, fmt.Errorf("read-out: stride %d, expected a divisor of the patch size %d", stride, patch)
	}
	if inputH < patch || inputW < patch || inputH%stride != 0 || inputW%stride != 0 {
		return Geometry{}, fmt.Errorf("read-out: input of %dx%d pixels, expected multiples of the stride %d and at least the patch size %d",
			inputW, inputH, stride, patch)
	}
	g := Geometry{
		GridH: (inputH-patch)/stride + 1, GridW: (inputW-patch)/stride + 1,
		InputH: inputH, InputW: inputW, ImageH: imageH, ImageW: imageW, Patch: patch, Stride: stride,
	}
	return g, g.Check()
}

// UnitGeometry returns the geometry of a grid whose cells tile the photo: up-sampling by it is what other programs
// call bilinear with align_corners=false.
func UnitGeometry(gridH, gridW, imageH, imageW int) Geometry {
	return Geometry{GridH: gridH, GridW: gridW, InputH: gridH, InputW: gridW, ImageH: imageH, ImageW: imageW, Patch: 1, Stride: 1}
}

// Cells is the number of cells of the grid.
func (g Geometry) Cells() int { return g.GridH * g.GridW }

// Check reports a geometry that cannot be.
func (g Geometry) Check() error {
	const largest = 1 << 20
	for _, v := range []struct {
		name  string
		value int
	}{
		{"grid height", g.GridH}, {"grid width", g.GridW}, {"input height", g.InputH}, {"input width", g.InputW},
		{"image height", g.ImageH}, {"image width", g.ImageW}, {"patch size", g.Patch}, {"stride", g.Stride},
	} {
		if v.value < 1 || v.value > largest {
			return fmt.Errorf("read-out: %s is %d, expected 1 to %d", v.name, v.value, largest)
		}
	}
	if (g.GridH-1)*g.Stride+g.Patch > g.InputH || (g.GridW-1)*g.Stride+g.Patch > g.InputW {
		return fmt.Errorf("read-out: a grid of %dx%d patches of %d pixels every %d does not fit an input of %dx%d",
			g.GridW, g.GridH, g.Patch, g.Stride, g.InputW, g.InputH)
	}
	return nil
}

// axis tells for each pixel along one side of the photo between which cells its centre lies and how far.
type axis struct {
	cell     []int32   // [pixels] the cell before
	fraction []float32 // [pixels] 0 at that cell, 1 at the next
	outside  []bool    // [pixels] before the first or behind the last centre
	next     int       // 1, or 0 where the grid has a single cell
}

// newAxis places the pixel centres among the patch centres; outside the outermost centres the edge is replicated.
func newAxis(pixels, cells, input, patch, stride int) axis {
	a := axis{cell: make([]int32, pixels), fraction: make([]float32, pixels), outside: make([]bool, pixels), next: 1}
	if cells == 1 {
		a.next = 0
		return a
	}
	for p := range a.cell {
		position := (float64(p) + 0.5) * float64(input) / float64(pixels) // in the input
		position = (position - float64(patch)/2) / float64(stride)        // in cells
		a.outside[p] = position < 0 || position > float64(cells-1)
		position = min(max(position, 0), float64(cells-1))
		cell := min(math.Floor(position), float64(cells-2))
		a.cell[p], a.fraction[p] = int32(cell), float32(position-cell)
	}
	return a
}

func (g Geometry) rows() axis { return newAxis(g.ImageH, g.GridH, g.InputH, g.Patch, g.Stride) }
func (g Geometry) columns() axis {
	return newAxis(g.ImageW, g.GridW, g.InputW, g.Patch, g.Stride)
}

// runs cuts an axis where the cell changes, where the grid begins and ends and around pixels that lie on a centre: pixels
// runs[k]..runs[k+1] lie between the same two cells at even distances, or on one. No run is longer than limit.
func (a axis) runs(limit int) []int {
	runs := []int{0}
	for p := 1; p < len(a.cell); p++ {
		on := a.fraction[p] == 0 || a.fraction[p] == 1
		wasOn := a.fraction[p-1] == 0 || a.fraction[p-1] == 1
		if a.cell[p] != a.cell[p-1] || a.outside[p] != a.outside[p-1] || on != wasOn || on && a.fraction[p] != a.fraction[p-1] || p-runs[len(runs)-1] >= limit {
			runs = append(runs, p)
		}
	}
	return append(runs, len(a.cell))
}

// cells returns the cells on both sides of a run of pixels, which are one where the run does not leave it.
func (a axis) cells(p0, p1 int) (before, after int) {
	before = int(a.cell[p0])
	after = before + a.next
	switch first, last := a.fraction[p0], a.fraction[p1-1]; {
	case first == 0 && last == 0:
		after = before
	case first == 1 && last == 1:
		before = after
	}
	return before, after
}

// spread is the fraction of the first pixel of a run, and what is added from each pixel to the next.
type spread struct{ first, step float64 }

func (a axis) spread(p0, p1 int) spread {
	s := spread{first: float64(a.fraction[p0])}
	if p1-p0 > 1 {
		s.step = (float64(a.fraction[p1-1]) - s.first) / float64(p1-1-p0)
	}
	return s
}

// InputSize is a rule for the size of the encoder's input.
type InputSize struct {
	Short         int // the short side, pixels; or
	Width, Height int // both sides
}

func (s InputSize) String() string {
	if s.Short > 0 {
		return fmt.Sprintf("%d short", s.Short)
	}
	return fmt.Sprintf("%dx%d", s.Width, s.Height)
}

// Fit returns the size to which a photo of width x height is resized: each side the nearest multiple of the patch size,
// one patch at least. With Short the photo keeps its shape as far as that allows.
func (s InputSize) Fit(width, height, patch int) (w, h int, err error) {
	const largest = 1 << 15
	if width < 1 || height < 1 || patch < 1 {
		return 0, 0, fmt.Errorf("input size: photo of %dx%d and patch size %d, expected positive numbers", width, height, patch)
	}
	toPatches := func(pixels float64) int { return max(1, int(math.Round(pixels/float64(patch)))) * patch }
	if s.Short > 0 {
		scale := float64(s.Short) / float64(min(width, height))
		w, h = toPatches(float64(width)*scale), toPatches(float64(height)*scale)
	} else {
		w, h = toPatches(float64(s.Width)), toPatches(float64(s.Height))
	}
	switch {
	case s.Short < 0 || s.Short == 0 && (s.Width < 1 || s.Height < 1):
		return 0, 0, fmt.Errorf("input size %v: expected a short side or both sides above 0", s)
	case w > largest || h > largest:
		return 0, 0, fmt.Errorf("input size %v: a photo of %dx%d would become %dx%d, at most %d a side are allowed", s, width, height, w, h, largest)
	}
	return w, h, nil
}
