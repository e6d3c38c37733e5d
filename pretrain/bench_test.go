package pretrain

import (
	"math/rand/v2"
	"testing"

	"github.com/pacl/pacl/internal/usage"
)

// BenchmarkStep is one step of pre-training (forward, loss, backward, AdamW) of ViT-Ti/16 at 224 pixels with a text tower of
// 4 layers, width 256, on 64 pictures with texts of 77 tokens. scripts/peers/pretrain.sh compares it with PyTorch.
func BenchmarkStep(b *testing.B) {
	for _, precision := range []string{"bf16", "f32"} {
		b.Run(precision, func(b *testing.B) {
			c := DefaultConfig()
			c.Vision = VisionConfig{ImageSize: 224, PatchSize: 16, Width: 192, Layers: 12, Heads: 3}
			c.Text = TextConfig{Context: 77, Vocabulary: 4096, Width: 256, Layers: 4, Heads: 4}
			c.Projection, c.Batch, c.Micro, c.Precision = 256, 64, 8, precision
			m := newDual(c)
			t := &Trainer{config: c, m: m, p: m.initial(1, nil)}
			t.m1, t.m2 = make([]float32, len(t.p)), make([]float32, len(t.p))
			t.batch = newBatch(m, func() engine[float32] { return &fast{precision: c.precision()} })
			random := rand.New(rand.NewPCG(1, 2))
			t.pixels = make([]float32, c.Batch*3*c.Vision.ImageSize*c.Vision.ImageSize)
			for i := range t.pixels {
				t.pixels[i] = float32(random.NormFloat64())
			}
			ids := make([][]int32, c.Batch)
			for i := range ids {
				ids[i] = make([]int32, c.Text.Context)
				for k := range ids[i] {
					ids[i][k] = int32(random.IntN(c.Text.Vocabulary))
				}
			}
			t.load = func(int) ([][]int32, placement, error) {
				return ids, placement{c.Vision.ImageSize, 1, make([]corner, c.Batch)}, nil
			}
			step := func() {
				if _, err := t.one(); err != nil {
					b.Fatal(err)
				}
			}
			step() // memory is asked for once
			b.ResetTimer()
			before := usage.Processor()
			for i := 0; i < b.N; i++ {
				step()
			}
			b.ReportMetric(float64((usage.Processor()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}
