package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
)

// underEachSet runs a test with every instruction set of this machine.
func underEachSet(t *testing.T, f func(t *testing.T)) {
	for _, set := range available() {
		t.Run(set.name, func(t *testing.T) {
			before := active
			active = set
			defer func() { active = before }()
			f(t)
		})
	}
}

func randomMat(r *rand.Rand, p Precision, rows, cols, stride int) Mat {
	m := Mat{Rows: rows, Cols: cols, Stride: stride}
	n := max(1, rows*stride)
	f := make([]float32, n)
	for i := range f {
		f[i] = float32(r.NormFloat64())
	}
	if p == Float32 {
		m.F = f
		return m
	}
	m.H = make([]uint16, n)
	toBF16Go(m.H, f)
	return m
}

func rounded(x float32, p Precision) float64 {
	if p == BFloat16 {
		return float64(BF16ToFloat32(Float32ToBF16(x)))
	}
	return float64(x)
}

// productTwin is alpha A B in float64 of operands rounded to p, with the sum of
// the terms' magnitudes to measure errors by.
func productTwin(a Mat, transA bool, b Mat, transB bool, p Precision) (c, size [][]float64) {
	get := func(m Mat, trans bool, i, j int) float64 {
		if trans {
			i, j = j, i
		}
		return rounded(m.At(i, j), p)
	}
	m, k, n := a.Rows, a.Cols, b.Cols
	if transA {
		m, k = k, m
	}
	if transB {
		n = b.Rows
	}
	right := make([]float64, k*n)
	for s := range k {
		for j := range n {
			right[s*n+j] = get(b, transB, s, j)
		}
	}
	for i := range m {
		row, mag := make([]float64, n), make([]float64, n)
		for s := range k {
			x := get(a, transA, i, s)
			for j, y := range right[s*n : (s+1)*n] {
				row[j] += x * y
				mag[j] += math.Abs(x * y)
			}
		}
		c, size = append(c, row), append(size, mag)
	}
	return c, size
}

const guard = 7

// guarded returns a matrix whose surroundings and gaps between rows hold guards.
func guarded(p Precision, rows, cols int) Mat {
	m := Mat{Rows: rows, Cols: cols, Stride: cols + guard}
	n := rows*m.Stride + 64
	if p == Float32 {
		m.F = make([]float32, n)
		for i := range m.F {
			m.F[i] = 12345
		}
	} else {
		m.H = make([]uint16, n)
		for i := range m.H {
			m.H[i] = 0x4641
		}
	}
	return m
}

func checkGuards(t *testing.T, m Mat) {
	t.Helper()
	for i := range len(m.F) + len(m.H) {
		if i/m.Stride < m.Rows && i%m.Stride < m.Cols {
			continue
		}
		if m.F != nil && m.F[i] != 12345 || m.H != nil && m.H[i] != 0x4641 {
			t.Fatalf("wrote beside the matrix [%d, %d] at %d", m.Rows, m.Cols, i)
		}
	}
}

func TestGemmAgainstTwin(t *testing.T) {
	sizes := [][3]int{{1, 1, 1}, {2, 3, 5}, {13, 31, 7}, {14, 32, 16}, {15, 33, 17}, {6, 16, 8}, {7, 17, 9}, {29, 65, 193}, {1, 40, 385}, {197, 96, 64}, {28, 20, 2050}, {31, 34, 3300}, {3, 0, 4}, {3, 4, 0}, {171, 200, 33}}
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, size := range sizes {
			m, n, k := size[0], size[1], size[2]
			for variant := range 64 {
				if testing.Short() && variant%5 != 0 || m*n*k > 2e4 && (variant%9 != 0 || raceEnabled && active == &portable) {
					continue
				}
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
				a, b := randomMat(r, format(3), ar, ac, ac+variant%3), randomMat(r, format(4), br, bc, bc+variant%2)
				c := guarded(format(5), m, n)
				accumulate := variant%3 == 0
				if accumulate {
					for i := range m {
						for j := range n {
							if c.F != nil {
								c.F[i*c.Stride+j] = 2
							} else {
								c.H[i*c.Stride+j] = 0x4000
							}
						}
					}
				}
				want, mag := productTwin(a, transA, b, transB, p)
				if variant%2 == 0 {
					Gemm(c, 0.5, a, transA, b, transB, accumulate, p)
				} else {
					var ws Workspace
					ws.Gemm(c, 0.5, a, transA, b, transB, accumulate, p)
				}
				checkGuards(t, c)
				for i := range m {
					for j := range n {
						expect := 0.5 * want[i][j]
						if accumulate {
							expect += 2
						}
						limit := 1e-6*mag[i][j] + 1e-6
						if c.H != nil {
							limit += math.Abs(expect) / 256
						}
						if got := float64(c.At(i, j)); !(math.Abs(got-expect) <= limit) {
							t.Fatalf("%v variant %d: c[%d,%d] = %v, expected %v", size, variant, i, j, got, expect)
						}
					}
				}
			}
		}
	})
}

func TestLinearEpilogue(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, n := range []int{1, 15, 16, 31, 32, 33, 48, 70} {
			for _, act := range []Activation{None, GELU, QuickGELU, ReLU, SiLU, GELUTanh} {
				for variant := range 16 {
					bit := func(i int) bool { return variant>>i&1 == 1 }
					x, w := randomMat(r, Float32, 17, 40, 40), randomMat(r, Float32, n, 40, 40)
					ep := Epilogue{Act: act, Accumulate: bit(0)}
					if bit(1) {
						ep.Bias = randomMat(r, Float32, 1, n, n).F
					}
					if bit(2) {
						ep.Scale = randomMat(r, Float32, 1, n, n).F
					}
					p := Float32
					if bit(3) {
						p = BFloat16
					}
					dst := guarded(p, 17, n)
					for i := range 17 {
						for j := range n {
							if p == Float32 {
								dst.F[i*dst.Stride+j] = 1
							} else {
								dst.H[i*dst.Stride+j] = 0x3f80
							}
						}
					}
					want, mag := productTwin(x, false, w, true, p)
					Linear(dst, x, PackWeight(w, p), ep)
					checkGuards(t, dst)
					for i := range 17 {
						for j := range n {
							y, scale := float32(want[i][j]), 1.0
							if ep.Bias != nil {
								y += ep.Bias[j]
							}
							if ep.Scale != nil {
								scale = float64(ep.Scale[j])
							}
							expect := float64(act.of(y)) * scale
							if ep.Accumulate {
								expect++
							}
							limit := 2e-6 * (mag[i][j] + 1) * (1 + math.Abs(scale))
							if p == BFloat16 {
								limit += math.Abs(expect) / 256
							}
							if got := float64(dst.At(i, j)); !(math.Abs(got-expect) <= limit) {
								t.Fatalf("n %d %v variant %d: [%d,%d] = %v, expected %v", n, act, variant, i, j, got, expect)
							}
						}
					}
				}
			}
		}
	})
}

// attentionTwin is one head of one sequence in float64.
func attentionTwin(q, k, v Mat, opt AttentionOptions) [][]float64 {
	scale := float64(opt.Scale)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(q.Cols))
	}
	wide := func(m Mat) [][]float64 {
		rows := make([][]float64, m.Rows)
		for i := range rows {
			rows[i] = make([]float64, m.Cols)
			for j := range rows[i] {
				rows[i][j] = float64(m.At(i, j))
			}
		}
		return rows
	}
	qs, ks, vs := wide(q), wide(k), wide(v)
	out := make([][]float64, q.Rows)
	for i := range out {
		out[i] = make([]float64, v.Cols)
		scores := make([]float32, k.Rows)
		for j, key := range ks {
			sum := 0.0
			for c, x := range qs[i] {
				sum += x * key[c]
			}
			scores[j] = float32(sum * scale)
		}
		if opt.Bias != nil {
			opt.Bias(i, 0, scores)
		}
		if opt.Causal {
			scores = scores[:i+1]
		}
		top, sum := math.Inf(-1), 0.0
		for _, s := range scores {
			top = max(top, float64(s))
		}
		for j, s := range scores {
			e := math.Exp(float64(s) - top)
			sum += e
			for c, x := range vs[j] {
				out[i][c] += e * x
			}
		}
		for c := range out[i] {
			out[i][c] /= sum
		}
	}
	return out
}

func TestAttentionAgainstTwin(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, c := range []struct{ batch, tokens, heads, head int }{{1, 1, 1, 1}, {2, 5, 3, 8}, {1, 197, 2, 64}, {3, 33, 2, 33}, {1, 600, 1, 48}, {2, 257, 1, 80}, {1, 64, 2, 128}} {
			if raceEnabled && (c.tokens > 300 || c.tokens > 100 && active == &portable) {
				continue
			}
			for variant := range 16 {
				if (testing.Short() || c.tokens > 100) && variant%3 != c.tokens%3 {
					continue
				}
				bit := func(i int) bool { return variant>>i&1 == 1 }
				p := Float32
				if bit(0) {
					p = BFloat16
				}
				format := Float32
				if bit(1) {
					format = BFloat16
				}
				opt := AttentionOptions{Heads: c.heads, Causal: bit(2), Precision: p, Mode: AttentionMode(variant * 7 % 4)}
				if bit(3) {
					bias := randomMat(r, Float32, c.tokens, c.tokens, c.tokens)
					opt.Bias = MatrixBias(bias)
				}
				rows, width := c.batch*c.tokens, c.heads*c.head
				qkv := randomMat(r, format, rows, 3*width, 3*width)
				q, k, v := qkv.Slice(0, rows, 0, width), qkv.Slice(0, rows, width, 2*width), qkv.Slice(0, rows, 2*width, 3*width)
				dst := guarded(Float32, rows, width)
				if variant >= 8 && c.batch > 1 {
					opt.Offsets = make([]int, c.batch+1)
					for s := range c.batch {
						opt.Offsets[s+1] = (s + 1) * c.tokens
					}
					opt.Offsets[1] -= c.tokens / 2
					opt.Bias = nil
				}
				Attention(dst, q, k, v, c.batch, opt)
				checkGuards(t, dst)
				limit := 2e-5
				if p == BFloat16 {
					limit = 0.05
				}
				for s := range c.batch {
					from, to := s*c.tokens, (s+1)*c.tokens
					if opt.Offsets != nil {
						from, to = opt.Offsets[s], opt.Offsets[s+1]
					}
					for h := range c.heads {
						part := func(m Mat) Mat { return m.Slice(from, to, h*c.head, (h+1)*c.head) }
						var want [][]float64
						switch opt.Mode {
						case QueryKey:
							want = attentionTwin(part(q), part(k), part(v), opt)
						case QueryQuery:
							want = attentionTwin(part(q), part(q), part(v), opt)
						case KeyKey:
							want = attentionTwin(part(k), part(k), part(v), opt)
						case QueryQueryKeyKey:
							want = attentionTwin(part(q), part(q), part(v), opt)
							for i, row := range attentionTwin(part(k), part(k), part(v), opt) {
								for j, y := range row {
									want[i][j] += y
								}
							}
						}
						for i, row := range want {
							for j, y := range row {
								if got := float64(dst.At(from+i, h*c.head+j)); !(math.Abs(got-y) <= limit) {
									t.Fatalf("%+v variant %d: head %d [%d,%d] = %v, expected %v", c, variant, h, i, j, got, y)
								}
							}
						}
					}
				}
			}
		}
	})
}

func TestRowsAgainstTwin(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		step := 1
		if raceEnabled {
			step = 13
		}
		for cols := 1; cols <= 130; cols += step {
			x := randomMat(r, Float32, 3, cols, cols)
			gamma, beta := randomMat(r, Float32, 1, cols, cols).F, randomMat(r, Float32, 1, cols, cols).F
			dst := guarded(Float32, 3, cols)
			LayerNorm(dst, x, gamma, beta, 1e-5)
			checkGuards(t, dst)
			for i := range 3 {
				mean, variance := momentsGo(x.Row(i))
				for j, v := range x.Row(i) {
					want := (float64(v)-float64(mean))/math.Sqrt(float64(variance)+1e-5)*float64(gamma[j]) + float64(beta[j])
					if got := float64(dst.At(i, j)); !(math.Abs(got-want) < 2e-5) {
						t.Fatalf("layer norm of %d: [%d,%d] = %v, expected %v", cols, i, j, got, want)
					}
				}
			}
			NormalizeRows(dst, x, 1e-12)
			checkGuards(t, dst)
			for i := range 3 {
				if length := Norm2(dst.Row(i)); math.Abs(float64(length)-1) > 1e-5 {
					t.Fatalf("length %v after normalising %d numbers", length, cols)
				}
			}
			SoftmaxRows(dst, x, 1.5)
			checkGuards(t, dst)
			for i := range 3 {
				sum := 0.0
				for _, v := range x.Row(i) {
					sum += math.Exp(1.5 * float64(v))
				}
				for j, v := range x.Row(i) {
					if want := math.Exp(1.5*float64(v)) / sum; math.Abs(float64(dst.At(i, j))-want) > 1e-6*want+1e-9 {
						t.Fatalf("softmax of %d: [%d,%d] = %v, expected %v", cols, i, j, dst.At(i, j), want)
					}
				}
			}
		}
	})
}

func TestParallelCountsEveryIndexOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, processors := range []int{16, 1, 3, 2} { // fewer than there were before, too
		runtime.GOMAXPROCS(processors)
		for _, n := range []int{0, 1, 2, 3, 17, 100, 5000} {
			seen := make([]int, n)
			Parallel(n, func(worker, i int) {
				if worker < 0 || worker >= Workers() {
					panic(fmt.Sprintf("worker %d of %d", worker, Workers()))
				}
				seen[i]++
				if i%50 == 0 {
					Parallel(3, func(_, _ int) {})
				}
			})
			for i, count := range seen {
				if count != 1 {
					t.Fatalf("%d processors, n %d: index %d ran %d times", processors, n, i, count)
				}
			}
		}
	}
}

func TestParallelPassesPanicOn(t *testing.T) {
	defer func() {
		if cause := recover(); cause != "broken" {
			t.Fatalf("recovered %v", cause)
		}
	}()
	Parallel(20, func(_, i int) {
		if i == 13 {
			panic("broken")
		}
	})
}
