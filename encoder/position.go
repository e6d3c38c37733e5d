package encoder

import (
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// resizePositions interpolates learned positions from a grid of side x side to gh x gw, align_corners=false, as PyTorch's
// interpolate does: bicubic with A = -0.75 and no anti-aliasing, or bilinear with it. Both are [rows, columns, width].
func resizePositions(grid []float32, side, gh, gw, width int, antialias bool) []float32 {
	if gh == side && gw == side {
		return grid
	}
	taps := cubicTaps
	if antialias {
		taps = triangleTaps
	}
	rows, columns := taps(side, gh), taps(side, gw)
	result := make([]float32, gh*gw*width)
	for r, row := range rows {
		for c, column := range columns {
			dst := result[(r*gw+c)*width:][:width]
			for i, from := range row.at {
				for j, across := range column.at {
					kernel.Axpy(dst, float32(row.weight[i]*column.weight[j]), grid[(from*side+across)*width:][:width])
				}
			}
		}
	}
	return result
}

// tap says which places of a line are summed, by what weights.
type tap struct {
	at     []int
	weight []float64
}

// triangleTaps weigh by the distance, over as many places as fall on one of the destination.
func triangleTaps(source, destination int) []tap {
	taps := make([]tap, destination)
	scale := float64(source) / float64(destination)
	support := max(scale, 1)
	for i := range taps {
		centre := (float64(i) + 0.5) * scale
		first, last := max(int(centre-support+0.5), 0), min(int(centre+support+0.5), source)
		sum := 0.0
		for at := first; at < last; at++ {
			if w := 1 - math.Abs(float64(at)+0.5-centre)/support; w > 0 {
				taps[i].at, taps[i].weight = append(taps[i].at, at), append(taps[i].weight, w)
				sum += w
			}
		}
		for k := range taps[i].weight {
			taps[i].weight[k] /= sum
		}
	}
	return taps
}

func cubicTaps(source, destination int) []tap {
	const a = -0.75
	near := func(x float64) float64 { return ((a+2)*x-(a+3))*x*x + 1 }
	far := func(x float64) float64 { return ((a*x-5*a)*x+8*a)*x - 4*a }
	taps := make([]tap, destination)
	for i := range taps {
		position := (float64(i)+0.5)*float64(source)/float64(destination) - 0.5
		base := math.Floor(position)
		t := position - base
		taps[i].weight = []float64{far(t + 1), near(t), near(1 - t), far(2 - t)}
		for k := range 4 {
			taps[i].at = append(taps[i].at, min(max(int(base)-1+k, 0), source-1))
		}
	}
	return taps
}

// rope rotates queries and keys of patches by their place in the grid (Heo et al. 2024, as in DINOv3).
type rope struct {
	prefix, patches, head int
	cos, sin              []float32 // [patches, head/2]; the second half of a head has the same angles
}

// newRope makes the angles 2 pi coordinate / period of a grid; periods are [head/4], coordinates are those of the patch
// centres mapped to [-1, 1], first the rows', then the columns'.
func newRope(periods []float64, head, prefix, gh, gw int) *rope {
	half := head / 2
	r := &rope{prefix: prefix, patches: gh * gw, head: head, cos: make([]float32, gh*gw*half), sin: make([]float32, gh*gw*half)}
	for p := range gh * gw {
		coordinates := [2]float64{2*(float64(p/gw)+0.5)/float64(gh) - 1, 2*(float64(p%gw)+0.5)/float64(gw) - 1}
		for i := range half {
			angle := 2 * math.Pi * coordinates[i/len(periods)] / periods[i%len(periods)]
			r.cos[p*half+i], r.sin[p*half+i] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
	return r
}

func ropePeriods(base float64, head int) []float64 {
	periods := make([]float64, head/4)
	for i := range periods {
		periods[i] = math.Pow(base, 2*float64(i)/(float64(head)/2))
	}
	return periods
}

// rotate turns the patch rows of x [batch * tokens, heads * head] in place.
func (r *rope) rotate(x kernel.Mat, s sequence, heads int) {
	half := r.head / 2
	kernel.Parallel(s.batch*r.patches, func(_, i int) {
		row := i/r.patches*s.tokens + r.prefix + i%r.patches
		cos, sin := r.cos[i%r.patches*half:][:half], r.sin[i%r.patches*half:][:half]
		for h := range heads {
			if x.F != nil {
				v := x.Row(row)[h*r.head:][:r.head]
				for k, c := range cos {
					a, b := v[k], v[k+half]
					v[k], v[k+half] = a*c-b*sin[k], b*c+a*sin[k]
				}
				continue
			}
			v := x.RowBF16(row)[h*r.head:][:r.head]
			for k, c := range cos {
				a, b := kernel.BF16ToFloat32(v[k]), kernel.BF16ToFloat32(v[k+half])
				v[k], v[k+half] = kernel.Float32ToBF16(a*c-b*sin[k]), kernel.Float32ToBF16(b*c+a*sin[k])
			}
		}
	})
}
