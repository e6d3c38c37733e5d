package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestSameBitsForAnyWorkers: results do not depend on GOMAXPROCS.
func TestSameBitsForAnyWorkers(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		if raceEnabled && active == &portable {
			t.Skip("the same cut as the others, a minute under the race detector")
		}
		r := rand.New(rand.NewPCG(21, 22))
		x, b := randomMat(r, Float32, 330, 200, 200), randomMat(r, Float32, 200, 300, 300)
		qkv := randomMat(r, BFloat16, 330, 3*96, 3*96)
		compute := func(p Precision) []float32 {
			c, att, norm := NewMat(Float32, 330, 300), NewMat(Float32, 330, 96), NewMat(Float32, 330, 200)
			Gemm(c, 1, x, false, b, false, false, p)
			Attention(att, qkv.Slice(0, 330, 0, 96), qkv.Slice(0, 330, 96, 192), qkv.Slice(0, 330, 192, 288), 1, AttentionOptions{Heads: 3, Precision: p})
			LayerNorm(norm, x, nil, nil, 1e-5)
			return append(append(c.F, att.F...), norm.F...)
		}
		before := runtime.GOMAXPROCS(1)
		defer runtime.GOMAXPROCS(before)
		for _, p := range []Precision{Float32, BFloat16} {
			runtime.GOMAXPROCS(1)
			want := compute(p)
			for _, workers := range []int{2, 3, 16} {
				runtime.GOMAXPROCS(workers)
				for i, v := range compute(p) {
					if math.Float32bits(v) != math.Float32bits(want[i]) {
						t.Fatalf("%v with %d workers: [%d] = %v, alone %v", p, workers, i, v, want[i])
					}
				}
			}
		}
	})
}

func TestNoAllocationWhenWarm(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := rand.New(rand.NewPCG(23, 24))
	x, w := randomMat(r, Float32, 200, 128, 128), randomMat(r, Float32, 256, 128, 128)
	weight, dst := PackWeight(w, BFloat16), NewMat(Float32, 200, 256)
	qkv, out := randomMat(r, Float32, 200, 384, 384), NewMat(BFloat16, 200, 128)
	part := func(i int) Mat { return qkv.Slice(0, 200, i*128, (i+1)*128) }
	norm := NewMat(BFloat16, 200, 128)
	step := func() {
		Linear(dst, x, weight, Epilogue{Act: GELU})
		Gemm(dst, 1, x, false, w, true, false, Float32)
		LayerNorm(norm, x, nil, nil, 1e-5)
		Attention(out, part(0), part(1), part(2), 2, AttentionOptions{Heads: 2, Precision: BFloat16})
		weight.Repack(w, false, BFloat16)
	}
	for range 20 {
		step()
	}
	if n := testing.AllocsPerRun(50, step); n >= 1 {
		t.Fatalf("%v allocations per step", n)
	}
}

// TestPairsToTheBit: the processor's bfloat16 products are the twin's, but for
// subnormal numbers.
func TestPairsToTheBit(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		if !active.bf16 {
			t.Skip("rounds and multiplies in float32")
		}
		r := rand.New(rand.NewPCG(25, 26))
		for rows := 1; rows <= 2*active.microRows+3; rows++ {
			for _, k := range []int{0, 1, 2, 3, 17, 64} {
				panels := 1 + (rows+k)%3
				width, gap := panels*panelWidth, 16*(rows%2)
				a, b := make([]uint16, rows*2*k+2), make([]float32, panels*(k+1)*panelWidth)
				for i := range a {
					a[i] = Float32ToBF16(float32(r.NormFloat64()))
				}
				for i := range b {
					b[i] = math.Float32frombits(uint32(Float32ToBF16(float32(r.NormFloat64())))<<16 | uint32(Float32ToBF16(float32(r.NormFloat64()))))
				}
				got, want := make([]float32, rows*(width+gap)+40), make([]float32, rows*(width+gap)+40)
				for i := range got {
					got[i] = float32(r.NormFloat64())
				}
				copy(want, got)
				m := multiplier{
					a: address(&a[0]), rs: uintptr(4 * k), cs: 4, k: k, b: address(&b[0]), panels: panels, panelBytes: uintptr(4 * panelWidth * (k + 1)),
					c: address(&got[0]), ldc: uintptr(4 * (width + gap)), add: flag(k%2 == 1),
				}
				m.ahead = uintptr(m.b)
				m.end = m.ahead + uintptr(4*len(b))
				m.cut(rows)
				active.microBF16(&m)
				m.c = address(&want[0])
				microBF16Go(&m)
				for i := range got {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%d rows, k %d, %d panels: [%d] = %v, expected %v", rows, k, panels, i, got[i], want[i])
					}
				}
			}
		}
	})
}

// TestSpecialsPassThroughProducts: NaN and infinities in one row or column stay
// there and reach every sum they belong to.
func TestSpecialsPassThroughProducts(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		for _, p := range []Precision{Float32, BFloat16} {
			a, b := NewMat(Float32, 20, 33), NewMat(Float32, 33, 40)
			for i := range a.F {
				a.F[i] = 1
			}
			for i := range b.F {
				b.F[i] = 1
			}
			a.F[3*33+32], b.F[32*40+7] = float32(math.NaN()), float32(math.Inf(1))
			c := NewMat(Float32, 20, 40)
			Gemm(c, 1, a, false, b, false, false, p)
			for i := range 20 {
				for j := range 40 {
					v := float64(c.At(i, j))
					switch {
					case i == 3 && !math.IsNaN(v), i != 3 && j == 7 && !math.IsInf(v, 1), i != 3 && j != 7 && v != 33:
						t.Fatalf("%v: [%d,%d] = %v", p, i, j, v)
					}
				}
			}
		}
	})
}

func TestWeightRows(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(27, 28))
		for _, size := range [][2]int{{1, 1}, {31, 15}, {32, 16}, {33, 17}, {70, 129}, {100, 64}} {
			for _, p := range []Precision{Float32, BFloat16} {
				for _, from := range []Precision{Float32, BFloat16} {
					m := randomMat(r, from, size[0], size[1], size[1]+3)
					piecewise := NewWeight(m.Rows, m.Cols, p)
					for first := 0; first < m.Rows; first += panelWidth {
						piecewise.SetRows(first, m.Slice(first, min(m.Rows, first+panelWidth), 0, m.Cols))
					}
					turned := NewMat(Float32, m.Cols, m.Rows)
					for i := range m.Rows {
						for j := range m.Cols {
							turned.F[j*m.Rows+i] = m.At(i, j)
						}
					}
					row := make([]float32, m.Cols)
					for name, w := range map[string]*Weight{"whole": PackWeight(m, p), "pieces": piecewise, "turned": PackTransposed(turned, p)} {
						for i := range m.Rows {
							w.Row(row, i)
							for j, v := range row {
								if float64(v) != rounded(m.At(i, j), p) {
									t.Fatalf("%v %s as %v: [%d,%d] = %v, expected %v", size, name, p, i, j, v, m.At(i, j))
								}
							}
						}
					}
				}
			}
		}
	})
}

// Every half-precision number, at any alignment and in any length.
func TestHalfPrecision(t *testing.T) {
	all := make([]byte, 1+2<<16)
	for h := range 1 << 16 {
		binary.LittleEndian.PutUint16(all[1+2*h:], uint16(h))
	}
	underEachSet(t, func(t *testing.T) {
		dst := make([]float32, 1<<16)
		FromF16(dst, all[1:])
		for h, got := range dst {
			sign, exponent, fraction := 1-2*float64(h>>15), h>>10&31, float64(h&0x3ff)
			want := sign * math.Ldexp(1+fraction/1024, exponent-15)
			switch {
			case exponent == 0:
				want = sign * math.Ldexp(fraction, -24)
			case exponent == 31 && fraction == 0:
				want = math.Inf(int(sign))
			case exponent == 31:
				if math.Float32bits(got)&0x7fc00000 != 0x7fc00000 {
					t.Fatalf("half NaN %#04x is %#x, expected a quiet NaN", h, math.Float32bits(got))
				}
				continue
			}
			if float64(got) != want || math.Signbit(float64(got)) != (sign < 0) {
				t.Fatalf("half %#04x is %v, expected %v", h, got, want)
			}
		}
		for n := range 70 {
			fenced(t, n, func(part []float32) {
				FromF16(part, all[1+2*n:1+4*n])
				for i, v := range part {
					if v != dst[n+i] {
						t.Fatalf("number %d of %d is %v, expected %v", i, n, v, dst[n+i])
					}
				}
			})
		}
	})
}

func TestWrongShapesPanic(t *testing.T) {
	m := func(rows, cols int) Mat { return NewMat(Float32, rows, cols) }
	for name, f := range map[string]func(){
		"product": func() { Gemm(m(2, 3), 1, m(2, 4), false, m(5, 3), false, false, Float32) },
		"target":  func() { Gemm(m(2, 2), 1, m(2, 4), false, m(4, 3), false, false, Float32) },
		"bias":    func() { Linear(m(2, 3), m(2, 4), PackWeight(m(3, 4), Float32), Epilogue{Bias: make([]float32, 2)}) },
		"short":   func() { FromFloat32(make([]float32, 5), 2, 3) },
		"slice":   func() { m(2, 3).Slice(0, 3, 0, 1) },
		"heads":   func() { Attention(m(4, 6), m(4, 6), m(4, 6), m(4, 6), 1, AttentionOptions{Heads: 4}) },
		"offsets": func() {
			Attention(m(4, 6), m(4, 6), m(4, 6), m(4, 6), 1, AttentionOptions{Heads: 2, Offsets: []int{0, 5}})
		},
		"dot":      func() { Dot(make([]float32, 3), make([]float32, 4)) },
		"norm":     func() { LayerNorm(m(2, 3), m(2, 3), make([]float32, 2), nil, 1) },
		"set rows": func() { NewWeight(40, 2, Float32).SetRows(5, m(3, 2)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			f()
		})
	}
}

func TestChosenSetIsExplained(t *testing.T) {
	lines := fmt.Sprint(Features())
	if !bytes.Contains([]byte(lines), []byte(Name()+" (chosen)")) {
		t.Fatalf("features %s do not name %s as chosen", lines, Name())
	}
	if peak := PeakOf(Default(), 1); !(peak > 1e7) {
		t.Fatalf("peak of %v operations per second", peak)
	}
}

// TestGeneratedFilesAreCurrent runs the generator and compares.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the Go tool")
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no Go tool")
	}
	dir := t.TempDir()
	cmd := exec.Command(tool, "run", ".", dir)
	cmd.Dir = "_generate"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("generator: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the generator wrote nothing (%v)", err)
	}
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(filepath.Base(file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want) {
			t.Errorf("%s is not what the generator writes", filepath.Base(file))
		}
	}
}

// Rows at the stride that RowStride gives are read in place; it stays near the number of columns.
func TestRowStride(t *testing.T) {
	for _, p := range []Precision{Float32, BFloat16} {
		for cols := 1; cols <= 5000; cols++ {
			stride := RowStride(p, cols)
			if stride < cols || stride > cols+512 || !goodStride(stride*4/p.lanes()) {
				t.Fatalf("%v: stride %d for %d columns", p, stride, cols)
			}
		}
	}
}
