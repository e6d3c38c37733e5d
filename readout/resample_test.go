package readout

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A linear function of the place in the photo stays what it is on any grid, as far as the patch centres of the first
// reach; farther out its edge is replicated.
func TestResampleKeepsLinearFunctions(t *testing.T) {
	geometry := func(h, w, stride int) Geometry {
		g, err := NewGeometry(h, w, 300, 400, 16, stride)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	place := func(g Geometry, r, c int) (y, x float64) {
		return (float64(g.Patch)/2 + float64(r*g.Stride)) / float64(g.InputH), (float64(g.Patch)/2 + float64(c*g.Stride)) / float64(g.InputW)
	}
	grids := []Geometry{geometry(160, 208, 16), geometry(224, 304, 16), geometry(320, 432, 16), geometry(224, 304, 8), geometry(16, 16, 16), geometry(16, 64, 16)}
	for _, from := range grids {
		vectors := make([]float32, from.Cells()*2)
		for r := range from.GridH {
			for c := range from.GridW {
				y, x := place(from, r, c)
				vectors[2*(r*from.GridW+c)] = float32(3*y - 2*x)
				vectors[2*(r*from.GridW+c)+1] = 1
			}
		}
		y0, x0 := place(from, 0, 0)
		y1, x1 := place(from, from.GridH-1, from.GridW-1)
		for _, to := range grids {
			got, err := Resample(vectors, 2, from, to)
			if err != nil {
				t.Fatal(err)
			}
			for r := range to.GridH {
				for c := range to.GridW {
					y, x := place(to, r, c)
					want := 3*min(max(y, y0), y1) - 2*min(max(x, x0), x1)
					at := 2 * (r*to.GridW + c)
					if math.Abs(float64(got[at])-want) > 1e-5 || math.Abs(float64(got[at+1])-1) > 1e-6 {
						t.Fatalf("from %dx%d to %dx%d at (%d, %d): %v, expected %g and 1", from.GridW, from.GridH, to.GridW, to.GridH, c, r, got[at:at+2], want)
					}
				}
			}
			if from == to && !slices.Equal(got, vectors) {
				t.Errorf("%dx%d to itself changes it", from.GridW, from.GridH)
			}
		}
	}
	if _, err := Resample(make([]float32, 3), 2, grids[0], grids[1]); err == nil {
		t.Error("too few numbers are taken")
	}
}

func TestMirror(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	g := UnitGeometry(3, 5, 3, 5)
	vectors := make([]float32, g.Cells()*4)
	for i := range vectors {
		vectors[i] = rng.Float32()
	}
	mirrored := slices.Clone(vectors)
	g.Mirror(mirrored, 4)
	for r := range 3 {
		for c := range 5 {
			if !slices.Equal(mirrored[(r*5+c)*4:][:4], vectors[(r*5+4-c)*4:][:4]) {
				t.Fatalf("(%d, %d) does not hold what was at (%d, %d)", c, r, 4-c, r)
			}
		}
	}
}
