package readout

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Every patch of the input is seen, and the mean over windows is the mean.
func TestWindowsCoverTheLattice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patch := rapid.SampledFrom([]int{4, 6}).Draw(t, "patch")
		stride := rapid.SampledFrom([]int{patch, patch / 2, 1}).Draw(t, "stride")
		g, err := NewGeometry(rapid.IntRange(1, 9).Draw(t, "h")*patch, rapid.IntRange(1, 9).Draw(t, "w")*patch, 50, 50, patch, stride)
		if err != nil {
			t.Fatal(err)
		}
		size := rapid.IntRange(1, 5).Draw(t, "size") * patch
		step := rapid.IntRange(1, (size-patch)/stride+1).Draw(t, "step") * stride
		plan, err := NewPlan(g, size, step)
		if err != nil {
			t.Fatal(err)
		}
		lattice := NewLattice(plan, 2)
		sums, counts := make([]float64, g.Cells()), make([]float64, g.Cells())
		for k, w := range plan.Windows {
			rows, columns := plan.Grid(w)
			vectors := make([]float32, rows*columns*2)
			for i := range rows * columns {
				v := float32(k*1000 + i)
				vectors[2*i], vectors[2*i+1] = v, 1
				cell := (w.Y/stride+i/columns)*g.GridW + w.X/stride + i%columns
				sums[cell] += float64(v)
				counts[cell]++
			}
			if err := lattice.Add(w, vectors); err != nil {
				t.Fatal(err)
			}
		}
		mean, err := lattice.Mean()
		if err != nil {
			t.Fatal(err)
		}
		for cell, sum := range sums {
			want := sum / counts[cell]
			if math.Abs(float64(mean[2*cell])-want) > 1e-5*want || math.Abs(float64(mean[2*cell+1])-1) > 1e-6 {
				t.Fatalf("cell %d: mean %v, expected %v and 1", cell, mean[2*cell:2*cell+2], want)
			}
		}
	})
}

func TestPlanRefuses(t *testing.T) {
	g, _ := NewGeometry(64, 64, 64, 64, 16, 4)
	for _, c := range []struct{ size, step int }{{20, 4}, {8, 4}, {32, 3}, {32, 24}, {32, -4}} {
		if _, err := NewPlan(g, c.size, c.step); err == nil {
			t.Errorf("windows of %d every %d: no error", c.size, c.step)
		}
	}
	plan, err := NewPlan(g, 0, 0)
	if err != nil || len(plan.Windows) != 1 || plan.Windows[0] != (Window{0, 0, 64, 64}) {
		t.Errorf("whole input: %v, %v", plan, err)
	}
	lattice := NewLattice(plan, 1)
	if lattice.Add(plan.Windows[0], make([]float32, 5)) == nil || lattice.Add(Window{4, 0, 64, 64}, make([]float32, 169)) == nil {
		t.Error("a window that does not fit was added")
	}
	if _, err := lattice.Mean(); err == nil {
		t.Error("an empty lattice has a mean")
	}
}
