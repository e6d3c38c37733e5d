package kernel

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// report adds GFLOP/s and the share of the peak measured right before.
func report(b *testing.B, flops float64, p Precision, workers int) {
	b.StopTimer()
	speed := flops * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(speed/1e9, "GFLOP/s")
	b.ReportMetric(100*speed/Peak(p, workers), "%peak")
}

func BenchmarkLinear(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, size := range [][3]int{{1576, 3072, 768}, {1576, 768, 3072}, {197, 768, 768}} {
		for _, p := range []Precision{Float32, BFloat16} {
			b.Run(fmt.Sprintf("%v/%dx%dx%d", p, size[0], size[1], size[2]), func(b *testing.B) {
				m, n, k := size[0], size[1], size[2]
				x, w := randomMat(r, p, m, k, k), PackWeight(randomMat(r, Float32, n, k, k), p)
				dst := NewMat(p, m, n)
				b.ReportAllocs()
				for b.Loop() {
					Linear(dst, x, w, Epilogue{})
				}
				report(b, 2*float64(m)*float64(n)*float64(k), p, runtime.GOMAXPROCS(0))
			})
		}
	}
}
