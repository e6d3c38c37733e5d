package readout

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pacl/pacl/internal/testdata"
)

func TestGoldenUpsampling(t *testing.T) {
	tensors := testdata.Tensors(t, testdata.Golden(t, "readout", "upsample.safetensors"))
	cases := 0
	for ; ; cases++ {
		scores, ok := tensors[fmt.Sprintf("%d.scores", cases)]
		if !ok {
			break
		}
		want := tensors[fmt.Sprintf("%d.upsampled", cases)]
		argmax := tensors[fmt.Sprintf("%d.argmax", cases)]
		margin := tensors[fmt.Sprintf("%d.margin", cases)]
		labels, gridH, gridW := scores.Shape[0], scores.Shape[1], scores.Shape[2]
		height, width := want.Shape[1], want.Shape[2]
		s := Scores{Geometry: UnitGeometry(gridH, gridW, height, width), Labels: labels, Data: make([]float32, len(scores.Data))}
		for l := range labels {
			plane := scores.Float32()[l*gridH*gridW : (l+1)*gridH*gridW]
			for c, v := range plane {
				s.Data[c*labels+l] = v
			}
			got, err := Upsample(plane, s.Geometry)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				if d := math.Abs(float64(v) - want.Data[l*height*width+i]); !(d <= 1e-5) {
					t.Fatalf("case %d, label %d, pixel %d: %v is off by %g", cases, l, i, v, d)
				}
			}
		}
		got, err := Segment(context.Background(), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range got.ID {
			if float64(id) != argmax.Data[i] && (labels == 1 || margin.Data[i] > 1e-5) {
				t.Fatalf("case %d, pixel %d: label %d, expected %v by a margin of %v", cases, i, id, argmax.Data[i], margin.Data[i])
			}
		}
	}
	if cases == 0 {
		t.Fatal("no case in the golden file")
	}
}

// plainSegment is the definition: each pixel's scores of all labels, then argmax and softmax in float64.
func plainSegment(s Scores, o Options) (ids []uint16, shares []float64) {
	ids = make([]uint16, s.ImageH*s.ImageW)
	shares = make([]float64, len(ids))
	place := func(p, pixels, cells, input int) (int, int, float64) {
		g := ((float64(p)+0.5)*float64(input)/float64(pixels) - float64(s.Patch)/2) / float64(s.Stride)
		g = min(max(g, 0), float64(cells-1))
		c := int(g)
		return c, min(c+1, cells-1), g - float64(c)
	}
	for y := range s.ImageH {
		y0, y1, fy := place(y, s.ImageH, s.GridH, s.InputH)
		for x := range s.ImageW {
			x0, x1, fx := place(x, s.ImageW, s.GridW, s.InputW)
			values := make([]float64, s.Labels)
			best := 0
			for l := range values {
				at := func(r, c int) float64 { return float64(s.Data[(r*s.GridW+c)*s.Labels+l]) }
				values[l] = (at(y0, x0)*(1-fx)+at(y0, x1)*fx)*(1-fy) + (at(y1, x0)*(1-fx)+at(y1, x1)*fx)*fy
				if values[l] > values[best] {
					best = l
				}
			}
			sum := 0.0
			for _, v := range values {
				sum += math.Exp(o.LogitScale * (v - values[best]))
			}
			i := y*s.ImageW + x
			ids[i], shares[i] = uint16(best), 1/sum
			if shares[i] < o.Background {
				ids[i] = uint16(s.Labels)
			}
		}
	}
	return ids, shares
}

func randomScores(r *rand.Rand, g Geometry, labels int) Scores {
	s := Scores{Geometry: g, Labels: labels, Data: make([]float32, g.Cells()*labels)}
	for i := range s.Data {
		s.Data[i] = r.Float32()*2 - 1
	}
	return s
}

// A label that rises from far below the others counts where it meets them: its exponential must not have been lost on the way.
func TestShareOfALabelThatRisesFromFarBelow(t *testing.T) {
	g, err := NewGeometry(4, 2, 51, 1, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	s := Scores{Geometry: g, Labels: 2, Data: []float32{0, -0.9, 0, 0.557143}}
	o := Options{LogitScale: 1000, Confidence: true, ConfidenceMap: true}
	got, err := Segment(context.Background(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	_, shares := plainSegment(s, o)
	least := 1.0
	for i, share := range shares {
		least = min(least, share)
		if d := math.Abs(float64(got.Confidence[i]) - share); d > 1e-3 {
			t.Errorf("pixel %d: share %v, expected %v", i, got.Confidence[i], share)
		}
	}
	if least > 0.6 {
		t.Errorf("the labels do not meet: least share %g", least)
	}
}

func TestSegmentIsItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patch := rapid.IntRange(1, 4).Draw(t, "patch") * 2
		stride := rapid.SampledFrom([]int{patch, patch / 2, 1}).Draw(t, "stride")
		g, err := NewGeometry(rapid.IntRange(1, 5).Draw(t, "h")*patch, rapid.IntRange(1, 5).Draw(t, "w")*patch,
			rapid.IntRange(1, 50).Draw(t, "H"), rapid.IntRange(1, 50).Draw(t, "W"), patch, stride)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s := randomScores(r, g, rapid.IntRange(1, 40).Draw(t, "labels"))
		o := Options{LogitScale: rapid.SampledFrom([]float64{0.5, 10, 100, 5000}).Draw(t, "scale"), Confidence: true, ConfidenceMap: true,
			Background: rapid.SampledFrom([]float64{0, 0.1, 0.7}).Draw(t, "threshold")}
		got, err := Segment(context.Background(), s, o)
		if err != nil {
			t.Fatal(err)
		}
		ids, shares := plainSegment(s, o)
		var pixels int64
		for _, stat := range got.Stats {
			pixels += stat.Pixels
		}
		if pixels != int64(len(ids)) {
			t.Fatalf("labels hold %d pixels of %d", pixels, len(ids))
		}
		for i, id := range ids {
			if d := math.Abs(float64(got.Confidence[i]) - shares[i]); d > 2e-7*(1+o.LogitScale) {
				t.Fatalf("pixel %d: share %v, expected %v", i, got.Confidence[i], shares[i])
			}
			if got.ID[i] == id {
				continue
			}
			// Two labels may cross within rounding, and so may a share and the threshold.
			if math.Abs(shares[i]-o.Background) > 1e-3 && int(id) < s.Labels && int(got.ID[i]) < s.Labels && shares[i] > 0.501 {
				t.Fatalf("pixel %d: label %d, expected %d with share %v", i, got.ID[i], id, shares[i])
			}
		}
		// Without shares the choice is the same.
		if o.Background == 0 {
			again, err := Segment(context.Background(), s, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(again.ID, got.ID) {
				t.Fatal("labels depend on whether shares are wanted")
			}
		}
	})
}

func TestSegmentDoesNotDependOnWorkers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	g, _ := NewGeometry(224, 320, 333, 517, 16, 8)
	s := randomScores(r, g, 60)
	o := Options{LogitScale: 20, Background: 0.05, Confidence: true}
	var first *Segmentation
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, workers := range []int{1, 2, 3, 16} {
		runtime.GOMAXPROCS(workers)
		got, err := Segment(context.Background(), s, o)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !slices.Equal(got.ID, first.ID) || !slices.Equal(got.Stats, first.Stats) {
			t.Fatalf("%d workers give another result than one", workers)
		}
	}
}

func TestSegmentNaN(t *testing.T) {
	nan := float32(math.NaN())
	s := Scores{Geometry: UnitGeometry(1, 3, 1, 3), Labels: 2, Data: []float32{nan, -0.5, nan, nan, 0.3, float32(math.Inf(1))}}
	for _, o := range []Options{{}, {LogitScale: 10, Background: 0.1}} {
		got, err := Segment(context.Background(), s, o)
		if err != nil {
			t.Fatal(err)
		}
		if want := []uint16{1, 2, 0}; !slices.Equal(got.ID, want) || got.Stats[2].Pixels != 1 {
			t.Errorf("labels %v, expected %v: NaN and infinity never win", got.ID, want)
		}
	}
	// A label that is NaN everywhere changes nothing for the others.
	r := rand.New(rand.NewPCG(6, 6))
	g, _ := NewGeometry(64, 64, 90, 70, 16, 8)
	known := randomScores(r, g, 5)
	both := Scores{Geometry: g, Labels: 6}
	for cell := range g.Cells() {
		both.Data = append(append(both.Data, known.Data[cell*5:cell*5+5]...), nan)
	}
	o := Options{LogitScale: 20, Background: 0.4, Confidence: true}
	want, err := Segment(context.Background(), known, o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Segment(context.Background(), both, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range want.ID {
		if id == 5 {
			id = 6
		}
		if got.ID[i] != id {
			t.Fatalf("pixel %d: label %d, expected %d", i, got.ID[i], id)
		}
	}
	if !slices.Equal(got.Stats[:5], want.Stats[:5]) {
		t.Errorf("stats %v, expected %v", got.Stats, want.Stats)
	}
}

func TestMaxOverWords(t *testing.T) {
	nan := float32(math.NaN())
	got, err := MaxOverWords([]float32{1, 2, 3, nan, 5, 4, nan, -1}, 2, []int{0, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != 3 || got[1] == got[1] || got[2] != 5 || got[3] != -1 {
		t.Errorf("got %v", got)
	}
	for _, first := range [][]int{nil, {0}, {0, 0, 4}, {0, 3}, {1, 4}} {
		if _, err := MaxOverWords(make([]float32, 8), 2, first); err == nil {
			t.Errorf("words %v: no error", first)
		}
	}
}

func TestSegmentRefuses(t *testing.T) {
	good := Scores{Geometry: UnitGeometry(2, 2, 4, 4), Labels: 1, Data: make([]float32, 4)}
	for name, change := range map[string]func(*Scores, *Options){
		"too few scores": func(s *Scores, _ *Options) { s.Data = s.Data[:3] },
		"no label":       func(s *Scores, _ *Options) { s.Labels = 0 },
		"no image":       func(s *Scores, _ *Options) { s.ImageH = 0 },
		"grid too large": func(s *Scores, _ *Options) { s.InputH = 1 },
		"threshold":      func(_ *Scores, o *Options) { o.Background = 1.5 },
		"scale":          func(_ *Scores, o *Options) { o.Confidence, o.LogitScale = true, 0 },
	} {
		s, o := good, Options{LogitScale: 1}
		change(&s, &o)
		if _, err := Segment(context.Background(), s, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Segment(ctx, good, Options{}); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

func TestInputSize(t *testing.T) {
	for _, c := range []struct {
		rule               InputSize
		width, height      int
		patch, wantW, want int
	}{
		{InputSize{Short: 224}, 500, 375, 16, 304, 224},
		{InputSize{Short: 448}, 375, 500, 14, 448, 602},
		{InputSize{Short: 100}, 100, 100, 16, 96, 96},
		{InputSize{Short: 3}, 1000, 1, 16, 3008, 16},
		{InputSize{Width: 320, Height: 200}, 10, 999, 16, 320, 208},
	} {
		w, h, err := c.rule.Fit(c.width, c.height, c.patch)
		if err != nil || w != c.wantW || h != c.want {
			t.Errorf("%v of %dx%d: %dx%d (%v), expected %dx%d", c.rule, c.width, c.height, w, h, err, c.wantW, c.want)
		}
	}
	for _, rule := range []InputSize{{}, {Short: -1}, {Width: 5}, {Short: 1 << 20}} {
		if _, _, err := rule.Fit(100, 100, 16); err == nil {
			t.Errorf("%v: no error", rule)
		}
	}
}

func TestHeat(t *testing.T) {
	heat, err := Heat([]float32{0, 1, float32(math.NaN()), 1}, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{1 / (1 + 2*math.Exp(2)), 1 / (2 + math.Exp(-2)), 0, 1 / (2 + math.Exp(-2))}
	for i, v := range heat {
		if math.Abs(float64(v)-want[i]) > 1e-7 {
			t.Errorf("cell %d: %v, expected %v", i, v, want[i])
		}
	}
	if _, err := Heat(nil, 0); err == nil {
		t.Error("temperature 0: no error")
	}
}

// 1000 labels, 4096 patches, 1024x1024 pixels.
func BenchmarkSegment(b *testing.B) {
	g, _ := NewGeometry(1024, 1024, 1024, 1024, 16, 16)
	for _, kind := range []string{"argmax", "threshold", "threshold-scale10"} {
		b.Run(kind, func(b *testing.B) {
			s := randomScores(rand.New(rand.NewPCG(1, 2)), g, 1000)
			for i := range s.Data {
				s.Data[i] *= 0.3
			}
			o := Options{LogitScale: 100}
			if kind != "argmax" {
				o.Background = 0.1
			}
			if kind == "threshold-scale10" {
				o.LogitScale = 10
			}
			for b.Loop() {
				if _, err := Segment(context.Background(), s, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSegmentPhoto labels 433 x 433 pixels of 14 x 14 patches by 20 labels: with scores that lie close together everywhere, and with a
// label that is far ahead of the others.
func BenchmarkSegmentPhoto(b *testing.B) {
	g, err := NewGeometry(224, 224, 433, 433, 16, 16)
	if err != nil {
		b.Fatal(err)
	}
	for name, lead := range map[string]float32{"close": 0, "apart": 1} {
		b.Run(name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			s := Scores{Geometry: g, Labels: 20, Data: make([]float32, g.Cells()*20)}
			for i := range s.Data {
				s.Data[i] = float32(0.01 * r.NormFloat64())
				if i%20 == i/20/14%20 {
					s.Data[i] += lead
				}
			}
			for b.Loop() {
				if _, err := Segment(context.Background(), s, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
