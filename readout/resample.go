package readout

import (
	"fmt"

	"github.com/pacl/pacl/internal/kernel"
)

// Resample returns vectors [from.GridH, from.GridW, width] of one grid at the patch centres of another grid over the same
// photo, [to.GridH, to.GridW, width]: bilinear, edges replicated. Scores are linear in the vectors of patches, so what is
// looked at several times is brought to one grid and averaged there.
func Resample(vectors []float32, width int, from, to Geometry) ([]float32, error) {
	for _, g := range []Geometry{from, to} {
		if err := g.Check(); err != nil {
			return nil, err
		}
	}
	if width < 1 || len(vectors) != from.Cells()*width {
		return nil, fmt.Errorf("read-out: %d numbers, expected %dx%d vectors of width %d", len(vectors), from.GridH, from.GridW, width)
	}
	rows := centres(to.GridH, to.InputH, to.Patch, to.Stride, from.GridH, from.InputH, from.Patch, from.Stride)
	columns := centres(to.GridW, to.InputW, to.Patch, to.Stride, from.GridW, from.InputW, from.Patch, from.Stride)
	result := make([]float32, to.Cells()*width)
	kernel.Parallel(to.GridH, func(_, r int) {
		top := vectors[rows[r].cell*from.GridW*width:]
		bottom := vectors[(rows[r].cell+rows[r].next)*from.GridW*width:]
		f := rows[r].fraction
		for c, column := range columns {
			left, right := column.cell*width, (column.cell+column.next)*width
			g := column.fraction
			dst := result[(r*to.GridW+c)*width:][:width]
			for i := range dst {
				t := top[left+i]*(1-g) + top[right+i]*g
				b := bottom[left+i]*(1-g) + bottom[right+i]*g
				dst[i] = t*(1-f) + b*f
			}
		}
	})
	return result, nil
}

// between is a place between two cells.
type between struct {
	cell, next int // the cell before, and 1, or 0 where there is none behind it
	fraction   float32
}

// centres places the patch centres along one side of a grid among those of another.
func centres(cells, input, patch, stride, otherCells, otherInput, otherPatch, otherStride int) []between {
	places := make([]between, cells)
	for c := range places {
		position := (float64(patch)/2 + float64(c*stride)) / float64(input) * float64(otherInput)
		position = min(max((position-float64(otherPatch)/2)/float64(otherStride), 0), float64(otherCells-1))
		cell := min(int(position), max(otherCells-2, 0))
		places[c] = between{cell: cell, next: min(1, otherCells-1), fraction: float32(position - float64(cell))}
	}
	return places
}

// Mirror swaps left and right of vectors [GridH, GridW, width] in place.
func (g Geometry) Mirror(vectors []float32, width int) {
	for r := range g.GridH {
		row := vectors[r*g.GridW*width:][:g.GridW*width]
		for a, b := 0, g.GridW-1; a < b; a, b = a+1, b-1 {
			left, right := row[a*width:][:width], row[b*width:][:width]
			for i, v := range left {
				left[i], right[i] = right[i], v
			}
		}
	}
}
