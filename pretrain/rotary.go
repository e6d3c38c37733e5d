package pretrain

import "math"

// rotation turns queries and keys by their patches' place in the grid, as RoPE does in two dimensions (Heo et al. 2024, in the
// form of DINOv3): a head's channel k and its partner half a head further turn together by 2 pi coordinate / period, the first
// periods by the row, the others by the column. Class tokens do not turn.
type rotation[T real] struct {
	cells    []int // [R] each row's cell of the grid, -1 for class tokens
	head     int
	cos, sin []T // [cells, head/2]
}

// newRotation makes the angles of a grid of side x side cells, whose centres lie between -1 and 1.
func newRotation[T real](theta float64, head, side int) rotation[T] {
	half, quarter := head/2, head/4
	r := rotation[T]{head: head, cos: make([]T, side*side*half), sin: make([]T, side*side*half)}
	for cell := range side * side {
		centre := [2]float64{2*(float64(cell/side)+0.5)/float64(side) - 1, 2*(float64(cell%side)+0.5)/float64(side) - 1}
		for k := range half {
			period := math.Pow(theta, 2*float64(k%quarter)/float64(half))
			sin, cos := math.Sincos(2 * math.Pi * centre[k/quarter] / period)
			r.cos[cell*half+k], r.sin[cell*half+k] = T(cos), T(sin)
		}
	}
	return r
}

// turn rotates the queries and keys of qkv [R, 3w] forward, or, with direction -1, their gradient back: a rotation's transpose
// is its inverse.
func (r *rotation[T]) turn(qkv mat[T], direction T) {
	half := r.head / 2
	for i, cell := range r.cells {
		if cell < 0 {
			continue
		}
		cos, sin := r.cos[cell*half:][:half], r.sin[cell*half:][:half]
		for at := 0; at < qkv.cols/3*2; at += r.head {
			v := qkv.row(i)[at : at+r.head]
			for k, c := range cos {
				a, b, s := v[k], v[k+half], direction*sin[k]
				v[k], v[k+half] = a*c-b*s, b*c+a*s
			}
		}
	}
}
