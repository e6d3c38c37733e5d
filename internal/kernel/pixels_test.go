package kernel

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// fencedBytes calls f with n bytes at several places of memory that f must not touch beside them.
func fencedBytes(t *testing.T, n int, f func(dst []byte)) {
	t.Helper()
	const fence = 80
	for shift := range 3 {
		memory := bytes.Repeat([]byte{77}, n+2*fence)
		from := fence/2 + shift
		f(memory[from : from+n : from+n])
		for i, v := range memory {
			if (i < from || i >= from+n) && v != 77 {
				t.Fatalf("size %d, shift %d: wrote at %d", n, shift, i-from)
			}
		}
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func TestWeighRowsAgainstTwin(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(41, 42))
		for n := 1; n <= 140; n++ {
			taps := 1 + r.IntN(9)
			stride := n + r.IntN(20)
			src := randomBytes(r, (taps-1)*stride+n) // not a byte more than is wanted
			weights := make([]int32, taps)
			for k := range weights {
				switch r.IntN(8) {
				case 0:
					weights[k] = int32(r.Uint32()) // sums wrap round
				case 1:
					weights[k] = []int32{math.MinInt32, math.MaxInt32, 0, -1}[r.IntN(4)]
				default:
					weights[k] = r.Int32N(1<<23) - 1<<21
				}
			}
			want := make([]byte, n)
			weighRowsGo(want, src, stride, weights)
			fencedBytes(t, n, func(dst []byte) {
				WeighRows(dst, src, stride, weights)
				if !bytes.Equal(dst, want) {
					t.Fatalf("%d bytes under %v: %v, expected %v", n, weights, dst, want)
				}
			})
		}
	})
}

func TestPaethAgainstTwin(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(43, 44))
		for pixels := range 80 {
			n := pixelBytes * pixels
			for _, spread := range []int{2, 5, 256} { // few values meet in ties
				row, above, want := randomBytes(r, n), randomBytes(r, n), make([]byte, n)
				for i := range row {
					row[i], above[i] = byte(int(row[i])%spread), byte(255-int(above[i])%spread)
				}
				if spread == 5 {
					copy(above, row)
				}
				paethRowGo(want, row, above)
				fencedBytes(t, n, func(dst []byte) {
					Paeth(dst, row, above)
					if !bytes.Equal(dst, want) {
						t.Fatalf("%d pixels of %v under %v: %v, expected %v", pixels, row, above, dst, want)
					}
				})
			}
		}
	})
}

// TestPaethOfAllNeighbours takes every corner between neighbours at and beside the values where signs and orders change, in every lane.
func TestPaethOfAllNeighbours(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		const pixels = 33
		var row, above, dst, want [pixelBytes * pixels]byte
		values := []byte{0, 1, 2, 63, 64, 126, 127, 128, 129, 191, 200, 253, 254, 255}
		for _, left := range values {
			for _, up := range values {
				for corner := range 256 {
					for i := range row {
						if i/pixelBytes%2 == 0 {
							row[i], above[i] = left, byte(corner)
						} else {
							row[i], above[i] = 7, up
						}
					}
					paethRowGo(want[:], row[:], above[:])
					if Paeth(dst[:], row[:], above[:]); dst != want {
						t.Fatalf("left %d, up %d, corner %d: %v, expected %v", left, up, corner, dst, want)
					}
				}
			}
		}
	})
}

func TestYCbCrToRGBAgainstTwin(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(47, 48))
		for n := range 70 {
			luma, cb, cr, want := randomBytes(r, n), randomBytes(r, n), randomBytes(r, n), make([]byte, pixelBytes*n)
			for i := range luma {
				if r.IntN(3) == 0 { // extremes leave the range
					luma[i], cb[i], cr[i] = luma[i]&1*255, cb[i]&1*255, cr[i]&1*255
				}
			}
			toRGBGo(want, luma, cb, cr)
			fencedBytes(t, len(want), func(dst []byte) {
				YCbCrToRGB(dst, luma, cb, cr)
				if !bytes.Equal(dst, want) {
					t.Fatalf("%d pixels of %v, %v, %v: %v, expected %v", n, luma, cb, cr, dst, want)
				}
			})
		}
	})
}

func TestUpsampleChromaAgainstTwin(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(49, 50))
		for n := 1; n <= 70; n++ {
			near, far, want := randomBytes(r, n), randomBytes(r, n), make([]byte, 2*n-2)
			if n%2 == 0 {
				near, far = bytes.Repeat([]byte{255}, n), bytes.Repeat([]byte{255}, n)
			}
			upsampleGo(want, near, far)
			fencedBytes(t, len(want), func(dst []byte) {
				UpsampleChroma(dst, near, far)
				if !bytes.Equal(dst, want) {
					t.Fatalf("%d samples of %v and %v: %v, expected %v", n, near, far, dst, want)
				}
			})
		}
	})
}

func TestTranspose(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(45, 46))
		for rows := 1; rows <= panelWidth; rows++ {
			width := 1 + r.IntN(70)
			stride := width + r.IntN(3)
			src, dst := make([]uint32, (rows-1)*stride+width), make([]uint32, panelWidth*width)
			for i := range src {
				src[i] = r.Uint32()
			}
			Transpose(dst, src, rows, width, stride)
			for x := range width {
				for y := range panelWidth {
					want := uint32(0)
					if y < rows {
						want = src[y*stride+x]
					}
					if dst[panelWidth*x+y] != want {
						t.Fatalf("%d rows of %d: column %d, row %d is %x, expected %x", rows, width, x, y, dst[panelWidth*x+y], want)
					}
				}
			}
		}
	})
}

func BenchmarkPaeth(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	row, above, dst := randomBytes(r, 1500), randomBytes(r, 1500), make([]byte, 1500)
	b.SetBytes(1500)
	for b.Loop() {
		Paeth(dst, row, above)
	}
}

func BenchmarkWeighRows(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	src, dst := randomBytes(r, 8*1500), make([]byte, 1500)
	weights := []int32{1, 2, 3, 4, 5, 6, 7, 8}
	b.SetBytes(1500)
	for b.Loop() {
		WeighRows(dst, src, 1500, weights)
	}
}
