package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// measure runs f and reports GFLOP/s by the wall clock and the share of the peak
// by processor time, the peak being measured on one core before and after.
func measure(b *testing.B, flops float64, p Precision, f func()) {
	f()
	before := corePeak(p)
	b.ReportAllocs()
	start := processorTime()
	for b.Loop() {
		f()
	}
	used := (processorTime() - start).Seconds()
	speed := flops * float64(b.N)
	b.ReportMetric(speed/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	b.ReportMetric(100*speed/used/max(before, corePeak(p)), "%peak")
}

func corePeak(p Precision) float64 {
	loop := active.peakF32
	if p == BFloat16 && active.bf16 {
		loop = active.peakBF16
	}
	best := 0.0
	for range 20 {
		start := processorTime()
		done := loop(1_000_000)
		best = max(best, float64(done)/(processorTime()-start).Seconds())
	}
	return best
}

func BenchmarkLinear(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, size := range [][3]int{{1576, 3072, 768}, {1576, 768, 3072}, {197, 768, 768}} {
		for _, p := range []Precision{Float32, BFloat16} {
			b.Run(fmt.Sprintf("%v/%dx%dx%d", p, size[0], size[1], size[2]), func(b *testing.B) {
				m, n, k := size[0], size[1], size[2]
				x, w := randomMat(r, p, m, k, k), PackWeight(randomMat(r, Float32, n, k, k), p)
				dst := NewMat(p, m, n)
				measure(b, 2*float64(m)*float64(n)*float64(k), p, func() { Linear(dst, x, w, Epilogue{}) })
			})
		}
	}
}

// BenchmarkPieces takes products with the pieces of k that the set wants, with AVX-512 the whole, and with shorter ones in turns: a few
// percent are seen so and not from one run to the next.
func BenchmarkPieces(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 7))
	own := active.innerSteps
	defer func() { active.innerSteps = own }()
	for _, size := range [][3]int{{1576, 3072, 768}, {1576, 768, 3072}, {197, 768, 3072}} {
		for _, p := range []Precision{Float32, BFloat16} {
			for _, steps := range []int{128, 384} {
				b.Run(fmt.Sprintf("%v/%dx%dx%d/%d-steps", p, size[0], size[1], size[2], steps), func(b *testing.B) {
					m, n, k := size[0], size[1], size[2]
					x, w := randomMat(r, p, m, k, RowStride(p, k)), PackWeight(randomMat(r, Float32, n, k, k), p)
					dst := randomMat(r, p, m, n, RowStride(p, n))
					var times [2][]float64 // seconds, with own pieces and with others
					for b.Loop() {
						for i, inner := range []int{own, steps} {
							active.innerSteps = inner
							start := time.Now()
							Linear(dst, x, w, Epilogue{})
							times[i] = append(times[i], time.Since(start).Seconds())
						}
					}
					for i := range times {
						slices.Sort(times[i])
					}
					b.ReportMetric(times[0][b.N/2]/times[1][b.N/2], "own/others")
				})
			}
		}
	}
}

func BenchmarkAttention(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []struct{ batch, tokens, heads, head int }{{8, 196, 12, 64}, {1, 2809, 12, 64}, {1, 12000, 1, 64}, {8, 196, 3, 64}} {
		for _, p := range []Precision{Float32, BFloat16} {
			b.Run(fmt.Sprintf("%v/%dx%dx%dx%d", p, size.batch, size.tokens, size.heads, size.head), func(b *testing.B) {
				rows, width := size.batch*size.tokens, size.heads*size.head
				qkv := randomMat(r, p, rows, 3*width, 3*width)
				part := func(i int) Mat { return qkv.Slice(0, rows, i*width, (i+1)*width) }
				dst := NewMat(p, rows, width)
				measure(b, 4*float64(rows)*float64(size.tokens)*float64(width), p, func() {
					Attention(dst, part(0), part(1), part(2), size.batch, AttentionOptions{Heads: size.heads, Precision: p})
				})
			})
		}
	}
}

func BenchmarkEpilogue(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 3))
	m, n, k := 1576, 3072, 768
	bias := randomMat(r, Float32, 1, n, n).F
	for _, act := range []Activation{None, GELU, QuickGELU} {
		b.Run(act.String(), func(b *testing.B) {
			x, w := randomMat(r, BFloat16, m, k, k), PackWeight(randomMat(r, Float32, n, k, k), BFloat16)
			dst := NewMat(BFloat16, m, n)
			measure(b, 2*float64(m)*float64(n)*float64(k), BFloat16, func() { Linear(dst, x, w, Epilogue{Bias: bias, Act: act}) })
		})
	}
}

// BenchmarkSerialGemm has the six products of one image in the aligning step.
func BenchmarkSerialGemm(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 4))
	const tokens, width = 196, 512
	for _, texts := range []int{64, 1024, 4096} {
		for _, p := range []Precision{Float32, BFloat16} {
			u, t, s := randomMat(r, Float32, tokens, width, width), randomMat(r, Float32, texts, width, width), randomMat(r, Float32, tokens, texts, texts)
			weight := PackWeight(t, p)
			uu := NewMat(Float32, tokens, width)
			tt := NewMat(Float32, texts, width)
			for name, f := range map[string]func(ws *Workspace){
				"S=UTt":        func(ws *Workspace) { ws.Gemm(s, 1, u, false, t, true, false, p) },
				"S=UTt-packed": func(ws *Workspace) { ws.Linear(s, u, weight, Epilogue{}) },
				"V=AtU":        func(ws *Workspace) { ws.Gemm(tt, 1, s, true, u, false, false, p) },
				"dU=AW":        func(ws *Workspace) { ws.Gemm(uu, 1, s, false, t, false, false, p) },
			} {
				b.Run(fmt.Sprintf("%v/%d/%s", p, texts, name), func(b *testing.B) {
					var ws Workspace
					measure(b, 2*tokens*width*float64(texts), p, func() { f(&ws) })
				})
			}
		}
	}
}

func BenchmarkRows(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 5))
	x := randomMat(r, Float32, 1576, 768, 768)
	dst := NewMat(BFloat16, 1576, 768)
	gamma := randomMat(r, Float32, 1, 768, 768).F
	b.Run("LayerNorm", func(b *testing.B) {
		b.SetBytes(1576 * 768 * 6)
		for b.Loop() {
			LayerNorm(dst, x, gamma, gamma, 1e-5)
		}
	})
	b.Run("Convert", func(b *testing.B) {
		b.SetBytes(1576 * 768 * 6)
		for b.Loop() {
			Convert(dst, x)
		}
	})
	b.Run("Softmax", func(b *testing.B) {
		b.SetBytes(1576 * 768 * 8)
		for b.Loop() {
			SoftmaxRows(x, x, 1)
		}
	})
	row, out := x.F[:768], make([]float32, 768)
	for name, f := range map[string]func(){
		"Exp": func() { Exp(out, row) }, "GELU": func() { Activate(out, row, GELU) },
		"Dot": func() { Dot(out, row) }, "Axpy": func() { Axpy(out, 0.5, row) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(768 * 4)
			for b.Loop() {
				f()
			}
		})
	}
}

func BenchmarkPack(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 6))
	for _, p := range []Precision{Float32, BFloat16} {
		for _, from := range []Precision{Float32, BFloat16} {
			for _, transposed := range []bool{false, true} {
				b.Run(fmt.Sprintf("%v-from-%v/transposed=%v", p, from, transposed), func(b *testing.B) {
					m := randomMat(r, from, 768, 768, 768)
					var w Weight
					b.SetBytes(768 * 768 * 4)
					for b.Loop() {
						w.Repack(m, transposed, p)
					}
				})
			}
		}
	}
}

// BenchmarkMicro is one tile with everything in the L1 cache.
func BenchmarkMicro(b *testing.B) {
	const k = 128
	a, panel, c := alignedFloats(16*(k+16)), alignedFloats(k*panelWidth), alignedFloats(16*panelWidth)
	run := func(name string, lanes int, p Precision, micro func(m *multiplier)) {
		b.Run(name, func(b *testing.B) {
			m := multiplier{a: address(&a[0]), rs: 4 * (k + 16), cs: 4, b: address(&panel[0]), panels: 1, c: address(&c[0]), ldc: 4 * panelWidth, k: k, add: 1}
			m.cut(active.microRows)
			measure(b, float64(1000*active.microRows*k*panelWidth*2*lanes), p, func() {
				for range 1000 {
					micro(&m)
				}
			})
		})
	}
	run("f32", 1, Float32, active.microF32)
	if active.bf16 {
		run("bf16", 2, BFloat16, active.microBF16)
	}
}
