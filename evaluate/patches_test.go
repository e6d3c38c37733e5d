package evaluate

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/testdata"
	"github.com/pacl/pacl/readout"
)

func TestGoldenPatches(t *testing.T) {
	var want struct {
		Patch        int
		Accuracy     float64
		CoherenceAUC float64 `json:"coherence_auc"`
		Pairs, Same  int64
	}
	data, err := os.ReadFile(testdata.Golden(t, "metrics", "patches.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	tensors := testdata.Tensors(t, testdata.Golden(t, "metrics", "patches.safetensors"))
	mask := &imaging.Mask{Width: tensors["mask"].Shape[1], Height: tensors["mask"].Shape[0], ID: ids(tensors["mask"])}
	void := func(list []uint16) {
		for i, id := range list {
			if id == 255 {
				list[i] = Ignored
			}
		}
	}
	void(mask.ID)
	g, err := readout.NewGeometry(mask.Height, mask.Width, mask.Height, mask.Width, want.Patch, want.Patch)
	if err != nil {
		t.Fatal(err)
	}
	labels, err := PatchLabels(mask, g)
	if err != nil {
		t.Fatal(err)
	}
	wantLabels := ids(tensors["patch_labels"])
	void(wantLabels)
	if !slices.Equal(labels, wantLabels) {
		t.Errorf("patch labels %v, expected %v", labels, wantLabels)
	}

	classes := tensors["texts"].Shape[0]
	texts := Texts{Width: tensors["texts"].Shape[1], Vectors: tensors["texts"].Float32()}
	for c := range classes + 1 {
		texts.First = append(texts.First, c)
	}
	d := &Dataset{Title: "golden", Background: -1, Classes: make([]Class, classes), Items: []Item{{
		Key: "golden", make: func() (*imaging.Image, *imaging.Mask, error) { return nil, mask, nil },
	}}}
	// Texts are compared by cosine: unit vectors.
	for c := range classes {
		row := texts.Vectors[c*texts.Width : (c+1)*texts.Width]
		l := length(row)
		for i := range row {
			row[i] = float32(float64(row[i]) / l)
		}
	}
	vectors := &PatchVectors{Geometry: g, Width: texts.Width, Vectors: tensors["patch_tokens"].Float32()}
	encoder := PatchEncoderFunc(func(context.Context, *imaging.Image) (*PatchVectors, error) { return vectors, nil })
	predictions, err := texts.nearest(vectors)
	if err != nil {
		t.Fatal(err)
	}
	if got := predictions; !slices.Equal(got, ids(tensors["prediction"])) {
		t.Errorf("nearest texts %v, expected %v", got, ids(tensors["prediction"]))
	}
	result, err := Patches(t.Context(), d, encoder, texts, Protocol{}, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !near(result.Accuracy, want.Accuracy, 1e-6) {
		t.Errorf("accuracy %v, expected %v", result.Accuracy, want.Accuracy)
	}
	coherence, err := Coherence(t.Context(), d, encoder, Protocol{}, CoherenceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !near(coherence.AUC, want.CoherenceAUC, 1e-6) || coherence.Pairs != want.Pairs || coherence.Same != want.Same {
		t.Errorf("coherence %v of %d pairs, %d same; expected %v, %d, %d", coherence.AUC, coherence.Pairs, coherence.Same,
			want.CoherenceAUC, want.Pairs, want.Same)
	}
}

// Each pixel counts for the patches that its centre lies in.
func TestPatchLabelsAreTheirDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patch := rapid.SampledFrom([]int{2, 4}).Draw(t, "patch")
		stride := rapid.SampledFrom([]int{patch, patch / 2}).Draw(t, "stride")
		g, err := readout.NewGeometry(rapid.IntRange(1, 5).Draw(t, "h")*patch, rapid.IntRange(1, 5).Draw(t, "w")*patch,
			rapid.IntRange(1, 30).Draw(t, "H"), rapid.IntRange(1, 30).Draw(t, "W"), patch, stride)
		if err != nil {
			t.Fatal(err)
		}
		n := g.ImageH * g.ImageW
		mask := &imaging.Mask{Width: g.ImageW, Height: g.ImageH,
			ID: rapid.SliceOfN(rapid.SampledFrom([]uint16{0, 1, 2, Ignored}), n, n).Draw(t, "ids")}
		labels, err := PatchLabels(mask, g)
		if err != nil {
			t.Fatal(err)
		}
		for cell, got := range labels {
			y0, x0 := float64(cell/g.GridW*stride), float64(cell%g.GridW*stride)
			counts, pixels := map[uint16]int{}, 0
			for i, id := range mask.ID {
				y := (float64(i/g.ImageW) + 0.5) * float64(g.InputH) / float64(g.ImageH)
				x := (float64(i%g.ImageW) + 0.5) * float64(g.InputW) / float64(g.ImageW)
				if y >= y0 && y < y0+float64(patch) && x >= x0 && x < x0+float64(patch) {
					pixels++
					if id != Ignored {
						counts[id]++
					}
				}
			}
			want := uint16(Ignored)
			for id := range uint16(3) {
				if counts[id] > 0 && (want == Ignored || counts[id] > counts[want]) {
					want = id
				}
			}
			if pixels > 0 && got != want {
				t.Fatalf("patch %d has label %d, expected %d of counts %v", cell, got, want, counts)
			}
		}
	})
}

func randomPatches(seed uint64, images, perImage, width, classes int) *coherencePatches {
	r := rand.New(rand.NewPCG(seed, 1))
	c := &coherencePatches{width: width, starts: []int{0}}
	for range images {
		for range perImage {
			label := uint16(r.IntN(classes))
			c.label = append(c.label, label)
			for k := range width {
				v := float32(r.NormFloat64())
				if k == int(label) {
					v += 1.5
				}
				c.unit = append(c.unit, v)
			}
		}
		c.starts = append(c.starts, len(c.label))
	}
	return c
}

// Sorting float64, sorting float32 and counting bins agree as far as they promise.
func TestCoherenceWaysAgree(t *testing.T) {
	fresh := func() *coherencePatches { return randomPatches(5, 12, 60, 16, 4) }
	small, err := fresh().coherence(t.Context(), CoherenceOptions{Replicates: 200, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := fresh()
	c.normalise()
	sorted, err := c.sortedArea(t.Context(), small.Same, small.Pairs-small.Same)
	if err != nil {
		t.Fatal(err)
	}
	if !near(sorted, small.AUC, 1e-6) {
		t.Errorf("sorting float32 gives %v, float64 %v", sorted, small.AUC)
	}
	binned, err := fresh().coherence(t.Context(), CoherenceOptions{ExactPairs: 1})
	if err != nil {
		t.Fatal(err)
	}
	if binned.ErrorBound <= 0 || binned.ErrorBound > 1e-4 || !near(binned.AUC, small.AUC, binned.ErrorBound+1e-6) {
		t.Errorf("bins give %v within %v, sorting %v", binned.AUC, binned.ErrorBound, small.AUC)
	}
	if small.ErrorBound != 0 || *small.Low >= small.AUC || *small.High <= small.AUC || *small.High-*small.Low > 0.1 {
		t.Errorf("interval %v to %v around %v, bound %v", *small.Low, *small.High, small.AUC, small.ErrorBound)
	}
	var right, total float64
	for _, image := range small.PerImage {
		right += image.Right
		total += image.Total
	}
	if total != float64(small.Same) || !near(right/total, small.AUC, 1e-5) {
		t.Errorf("images have %v of %v, the area is %v over %d pairs", right/total, total, small.AUC, small.Same)
	}
	var area float64
	for i, p := range small.ROC[1:] {
		area += (p[0] - small.ROC[i][0]) * (p[1] + small.ROC[i][1]) / 2
	}
	if !near(area, small.AUC, 1e-3) {
		t.Errorf("the area under the drawn curve is %v, expected %v", area, small.AUC)
	}
}

// The interval covers what other images of the same kind give: its width is checked against repeated experiments.
func TestBootstrapWidth(t *testing.T) {
	var areas []float64
	var width float64
	const repeats = 24
	for seed := range uint64(repeats) {
		r, err := randomPatches(100+seed, 15, 10, 8, 3).coherence(t.Context(), CoherenceOptions{Replicates: 200, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		areas = append(areas, r.AUC)
		width += (*r.High - *r.Low) / repeats
	}
	var mean, variance float64
	for _, a := range areas {
		mean += a / repeats
	}
	for _, a := range areas {
		variance += (a - mean) * (a - mean) / (repeats - 1)
	}
	if want := 2 * 1.96 * math.Sqrt(variance); width < 0.5*want || width > 2*want {
		t.Errorf("the intervals are %v wide, repeated experiments say %v", width, want)
	}
}

func TestAUC(t *testing.T) {
	for _, c := range []struct {
		above, below []float64
		want         float64
	}{
		{[]float64{2, 3}, []float64{0, 1}, 1},
		{[]float64{0}, []float64{1, 2}, 0},
		{[]float64{1, 1}, []float64{1}, 0.5},
		{[]float64{0, 1, 1, 3}, []float64{1, 2}, (0 + 0.5 + 0.5 + 2) / 8},
	} {
		if got := AUC(c.above, c.below); got != c.want {
			t.Errorf("%v above %v: %v, expected %v", c.above, c.below, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Float32Range(-1, 1)
		keys := rapid.SliceOfN(value, 0, 300).Draw(t, "keys")
		bits := make([]uint32, len(keys))
		for i, k := range keys {
			bits[i] = orderedBits(k)
		}
		radixSort(bits, make([]uint32, len(bits)))
		slices.Sort(keys)
		for i, k := range keys {
			if bits[i] != orderedBits(k) {
				t.Fatalf("place %d is not %v", i, k)
			}
		}
	})
}

func TestSampleKeepsOrder(t *testing.T) {
	c := randomPatches(7, 5, 20, 2, 3)
	s := c.sample(31, 9)
	if len(s.label) != 31 || len(s.unit) != 62 || s.starts[5] != 31 || !slices.IsSorted(s.starts) {
		t.Fatalf("%d patches in %v", len(s.label), s.starts)
	}
	at := 0
	for i, label := range s.label {
		for c.unit[2*at] != s.unit[2*i] || c.label[at] != label {
			at++
		}
	}
}
