package bench

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/internal/kernel"
)

func check(t *testing.T, r Result, err error, ms float64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if !(ms > 0 && r.FastestMS <= ms && ms <= r.SlowestMS) || r.Runs != 2 {
		t.Errorf("%s: %v ms, from %v to %v in %d runs", r.Work, ms, r.FastestMS, r.SlowestMS, r.Runs)
	}
	if want := r.GFLOP / ms * 1e3; math.Abs(r.GFLOPS-want) > 1e-6*want {
		t.Errorf("%s: %v GFLOP in %v ms are told to be %v GFLOP/s", r.Work, r.GFLOP, ms, r.GFLOPS)
	}
	// On a machine that does other things at the same time a peak may be too low, but not many times.
	if !(r.Share > 0 && r.Share < 10 && r.PeakGFLOPS > 0.01 && r.RSSMB > 1) {
		t.Errorf("%+v", r)
	}
	if text := strings.Join(r.Lines(), "\n"); strings.Contains(text, "%!") || strings.Contains(text, "NaN") {
		t.Error(text)
	}
}

func TestEveryBenchmark(t *testing.T) {
	ctx := context.Background()
	o, half := Options{Precision: kernel.Float32, Runs: 2}, Options{Precision: kernel.BFloat16, Runs: 2}
	r, err := Encoder(ctx, VisionOptions{Options: o, Arch: "vit-tiny-16", Size: 32, Batch: 2})
	check(t, r, err, r.MSPerImage)
	r, err = Dense(ctx, VisionOptions{Options: half, Arch: "dinov2-vit-s14-reg", Size: 28})
	check(t, r, err, r.MSPerImage)
	if r.Shape != "28x28 pixels, stride 7 (9 patches), batch 1" {
		t.Errorf("dense: %s", r.Shape)
	}
	r, err = Segment(ctx, SegmentOptions{VisionOptions: VisionOptions{Options: o, Arch: "eupe-vit-t16", Size: 32}, Output: 50, Labels: 7})
	check(t, r, err, r.MSPerImage)
	if len(r.Parts) != 3 {
		t.Errorf("segment: parts %v", r.Parts)
	}
	r, err = Text(ctx, TextOptions{Options: half, Arch: "minilm-l6", Batch: 5})
	check(t, r, err, r.MSPerText)
	r, err = Train(ctx, TrainOptions{Options: half, Batch: 5, Patches: 9, Input: 16, Hidden: 24, Width: 12, TextEmbedder: "linear"})
	check(t, r, err, r.MSPerStep)
	r, err = Gemm(ctx, 33, 47, 65, o)
	check(t, r, err, r.MSPerProduct)
	if about := Processor(); about.F32 <= 0 || about.Set != kernel.Name() || len(about.Lines()) < 4 {
		t.Errorf("%+v", about)
	}
}

func TestImpossibleSizesAreRefused(t *testing.T) {
	ctx, o := context.Background(), Options{Runs: 1}
	for name, f := range map[string]func() (Result, error){
		"arch":   func() (Result, error) { return Encoder(ctx, VisionOptions{Options: o, Arch: "resnet"}) },
		"text":   func() (Result, error) { return Text(ctx, TextOptions{Options: o, Arch: "vit-tiny-16"}) },
		"vision": func() (Result, error) { return Dense(ctx, VisionOptions{Options: o, Arch: "minilm-l6"}) },
		"size":   func() (Result, error) { return Encoder(ctx, VisionOptions{Options: o, Arch: "vit-tiny-16", Size: 100}) },
		"batch":  func() (Result, error) { return Encoder(ctx, VisionOptions{Options: o, Arch: "vit-tiny-16", Batch: -1}) },
		"tokens": func() (Result, error) { return Text(ctx, TextOptions{Options: o, Arch: "minilm-l6", Tokens: 1000}) },
		"train":  func() (Result, error) { return Train(ctx, TrainOptions{Options: o, Batch: 1 << 20}) },
		"gemm":   func() (Result, error) { return Gemm(ctx, 1, 0, 1, o) },
		"runs":   func() (Result, error) { return Gemm(ctx, 1, 1, 1, Options{Runs: -1}) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The counted operations of a published architecture are those that its authors tell: 17.6 GMAC and 86.6 million
// parameters for ViT-B/16 at 224.
func TestOperationsAreCounted(t *testing.T) {
	a, err := encoder.FindArchitecture("vit-base-16")
	if err != nil {
		t.Fatal(err)
	}
	v, err := encoder.RandomVision(a, kernel.BFloat16)
	if err != nil {
		t.Fatal(err)
	}
	if flops := v.Info().FLOPs(224, 224, 0); math.Abs(flops/2/17.58e9-1) > 0.01 {
		t.Errorf("%.4g operations", flops)
	}
}

func TestMedian(t *testing.T) {
	spans := []span{{wall: 5}, {wall: 1}, {wall: 3}, {wall: 9}}
	wall := func(s span) time.Duration { return s.wall }
	if m := median(spans, wall); m != 4 {
		t.Errorf("median %d of four", m)
	}
	if m := median(spans[:3], wall); m != 3 {
		t.Errorf("median %d of three", m)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Gemm(ctx, 8, 8, 8, Options{}); err != context.Canceled {
		t.Errorf("error %v", err)
	}
}
