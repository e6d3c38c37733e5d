package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// FuzzGemm multiplies matrices of any shape and format, with any bits at one place of the left operand, by every
// instruction set, beside guard bands.
func FuzzGemm(f *testing.F) {
	f.Add(uint64(1), uint8(14), uint8(32), uint8(16), uint8(0), uint32(0x3f800000))
	f.Add(uint64(2), uint8(15), uint8(33), uint8(17), uint8(7), uint32(0x7fc00000))
	f.Add(uint64(3), uint8(29), uint8(65), uint8(200), uint8(57), uint32(0x7f800000))
	f.Add(uint64(4), uint8(1), uint8(31), uint8(3), uint8(34), uint32(0x00000001))
	f.Fuzz(func(t *testing.T, seed uint64, rows, columns, depth, variant uint8, special uint32) {
		m, n, k := int(rows)%48, int(columns)%80, int(depth)
		bit := func(i int) bool { return variant>>i&1 == 1 }
		format := func(i int) Precision {
			if bit(i) {
				return BFloat16
			}
			return Float32
		}
		p, transA, transB := format(0), bit(1), bit(2)
		ar, ac, br, bc := m, k, k, n
		if transA {
			ar, ac = k, m
		}
		if transB {
			br, bc = n, k
		}
		r := rand.New(rand.NewPCG(seed, 6))
		a, b := randomMat(r, format(3), ar, ac, ac+int(seed%3)), randomMat(r, format(4), br, bc, bc+int(seed%2))
		if ar*ac > 0 {
			at := r.IntN(ar)*a.Stride + r.IntN(ac)
			if x := math.Float32frombits(special); a.F != nil {
				a.F[at] = x
			} else {
				a.H[at] = Float32ToBF16(x)
			}
		}
		want, size := productTwin(a, transA, b, transB, p)
		for _, set := range available() {
			before := active
			active = set
			c := guarded(format(5), m, n)
			if bit(6) {
				Gemm(c, 1, a, transA, b, transB, false, p)
			} else {
				var ws Workspace
				ws.Gemm(c, 1, a, transA, b, transB, false, p)
			}
			active = before
			checkGuards(t, c)
			for i := range m {
				for j := range n {
					limit := 1e-6*size[i][j] + 1e-6
					if c.H != nil {
						limit += math.Abs(want[i][j]) / 256
					}
					// Beyond the largest float32, sums of one sign or the other are infinite, and both make NaN.
					if got := c.At(i, j); size[i][j] < 3e38 && !near(got, float32(want[i][j]), limit) || math.IsNaN(want[i][j]) && got == got ||
						math.IsInf(want[i][j], 0) && float64(got) != want[i][j] {
						t.Fatalf("%s: [%d, %d, %d] variant %d: c[%d, %d] = %v, expected %v", set.name, m, n, k, variant, i, j, got, want[i][j])
					}
				}
			}
		}
	})
}
