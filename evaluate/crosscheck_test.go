package evaluate

import (
	"context"
	"encoding/json"
	"errors"
	"image"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/testdata"
	"github.com/pacl/pacl/readout"
)

// numpy runs scripts/crosscheck/metrics.py; the test is skipped where Debian's python3-numpy and python3-pil are not
// installed.
func numpy(t *testing.T, result any, args ...string) {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import numpy, PIL").Run(); err != nil {
		t.Skipf("no numpy to compare with: %v", err)
	}
	_, file, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(filepath.Dir(file)), "scripts", "crosscheck", "metrics.py")
	output, err := exec.Command(python, append([]string{script}, args...)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	if err := json.Unmarshal(output, result); err != nil {
		t.Fatal(err)
	}
}

// disturbed is a label map that is right in parts: the truth moved and, in stripes, another class or none.
func disturbed(mask *imaging.Mask, classes int, seed uint64) *imaging.Mask {
	r := rand.New(rand.NewPCG(seed, 2))
	result := &imaging.Mask{Width: mask.Width, Height: mask.Height, ID: make([]uint16, len(mask.ID))}
	dx, dy := r.IntN(30), r.IntN(30)
	for y := range mask.Height {
		for x := range mask.Width {
			id := mask.ID[max(y-dy, 0)*mask.Width+max(x-dx, 0)]
			if int(id) >= classes {
				id = uint16((x/40 + y/25) % (classes + 1))
			}
			if (x+2*y)/17%5 == 0 {
				id = uint16(r.IntN(classes))
			}
			result.ID[y*mask.Width+x] = id
		}
	}
	return result
}

func TestNumpyAgreesOnSegmentation(t *testing.T) {
	root := testdata.Shared(t, "data", "voc2012-mini")
	d, err := Open("voc20", root, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	total := NewConfusion(20)
	for i, item := range d.Items {
		truth, err := d.LoadMask(item)
		if err != nil {
			t.Fatal(err)
		}
		prediction := disturbed(truth, 20, uint64(i))
		confusion, err := d.Score(truth, prediction)
		if err != nil {
			t.Fatal(err)
		}
		if err := total.Merge(confusion); err != nil {
			t.Fatal(err)
		}
		gray := image.NewGray(image.Rect(0, 0, prediction.Width, prediction.Height))
		for i, id := range prediction.ID {
			gray.Pix[i] = uint8(id)
		}
		if err := os.WriteFile(filepath.Join(dir, item.Key+".png"), encodePNG(t, gray), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var want struct {
		PerClassIoU   []*float64 `json:"per_class_iou"`
		MIoU          float64    `json:"miou"`
		PixelAccuracy float64    `json:"pixel_accuracy"`
		MeanAccuracy  float64    `json:"mean_accuracy"`
	}
	numpy(t, &want, "segmentation", filepath.Join(root, "SegmentationClass"), dir, "20")
	got := total.Metrics()
	const tolerance = 1e-12
	if !near(got.MIoU, want.MIoU, tolerance) || !near(got.PixelAccuracy, want.PixelAccuracy, tolerance) || !near(got.MeanAccuracy, want.MeanAccuracy, tolerance) {
		t.Errorf("mIoU, pixel and mean accuracy %v %v %v, numpy has %v %v %v", got.MIoU, got.PixelAccuracy, got.MeanAccuracy,
			want.MIoU, want.PixelAccuracy, want.MeanAccuracy)
	}
	for class, iou := range want.PerClassIoU {
		if iou == nil || !near(got.IoU[class], *iou, tolerance) {
			t.Errorf("class %d: IoU %v, numpy has %v", class, got.IoU[class], iou)
		}
	}
}

// onGrid encodes patches by the mean and the spread of their colours and some noise: no model is needed to compare ways of
// counting. Without the noise, white patches would have cosines that differ by rounding only, and no order. Every input is of
// side x side pixels, with patches of 16.
func onGrid(side int) PatchEncoder {
	return PatchEncoderFunc(func(_ context.Context, photo *imaging.Image) (*PatchVectors, error) {
		g, err := readout.NewGeometry(side, side, photo.Height, photo.Width, 16, 16)
		if err != nil {
			return nil, err
		}
		small := imaging.Resize(photo, side, side, imaging.Bilinear)
		p := &PatchVectors{Geometry: g, Width: 6}
		for cell := range g.Cells() {
			var mean, spread [3]float64
			for i := range 256 {
				x, y := cell%g.GridW*16+i%16, cell/g.GridW*16+i/16
				for c, v := range small.Pix[3*(y*side+x):][:3] {
					mean[c] += (float64(v) - 127.5) / 256
					spread[c] += math.Abs(float64(v)-127.5) / 256
				}
			}
			noise := rand.New(rand.NewPCG(uint64(cell), math.Float64bits(mean[0]+3*mean[1]+spread[2])+uint64(photo.Width)))
			for c := range 3 {
				p.Vectors = append(p.Vectors, float32(mean[c]+3*noise.NormFloat64()), float32(spread[c]+3*noise.NormFloat64()))
			}
		}
		return p, nil
	})
}

// Labels of patches, patch accuracy and the coherence AUC over the whole of voc2012-mini.
func TestNumpyAgreesOnPatches(t *testing.T) {
	root := testdata.Shared(t, "data", "voc2012-mini")
	d, err := Open("voc20", root, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	type photo struct {
		Name    string      `json:"name"`
		Height  int         `json:"height"`
		Width   int         `json:"width"`
		Vectors [][]float64 `json:"vectors"`
	}
	type input struct {
		Patch  int         `json:"patch"`
		Stride int         `json:"stride"`
		Texts  [][]float64 `json:"texts"`
		Photos []photo     `json:"photos"`
	}
	type output struct {
		Labels                   [][]int
		AUC, Accuracy            float64
		Same, Different, Patches int64
	}
	ask := func(in input) (out output) {
		path := filepath.Join(t.TempDir(), "patches.json")
		data, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		numpy(t, &out, "patches", filepath.Join(root, "SegmentationClass"), path)
		return out
	}
	widen := func(vector []float32) (wide []float64) { // every digit, not the fewest that tell float32 numbers apart
		for _, v := range vector {
			wide = append(wide, float64(v))
		}
		return wide
	}

	// The labels at the size and the strides that experiments use, on all photos and on some.
	for stride, items := range map[int][]Item{16: d.Items, 8: d.Items[:20]} {
		in := input{Patch: 16, Stride: stride, Texts: [][]float64{{1}}}
		var got [][]uint16
		for _, item := range items {
			mask, err := d.LoadMask(item)
			if err != nil {
				t.Fatal(err)
			}
			w, h, err := readout.InputSize{Short: 224}.Fit(mask.Width, mask.Height, 16)
			if err != nil {
				t.Fatal(err)
			}
			g, err := readout.NewGeometry(h, w, mask.Height, mask.Width, 16, stride)
			if err != nil {
				t.Fatal(err)
			}
			labels, err := PatchLabels(mask, g)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, labels)
			in.Photos = append(in.Photos, photo{Name: item.Key, Height: h, Width: w, Vectors: [][]float64{}})
		}
		want := ask(in)
		for i, labels := range got {
			for cell, label := range labels {
				if min(int(label), 255) != want.Labels[i][cell] {
					t.Fatalf("%s, stride %d, patch %d: label %d, numpy has %d", items[i].Key, stride, cell, label, want.Labels[i][cell])
				}
			}
		}
	}

	// Nine patches a photo: all their pairs fit numpy.
	encoder := onGrid(48)
	in := input{Patch: 16, Stride: 16}
	texts := Texts{Width: 6, First: []int{0}}
	r := rand.New(rand.NewPCG(4, 4))
	for range d.Classes {
		var text []float32
		for range 6 {
			text = append(text, float32(r.NormFloat64()))
		}
		texts.Vectors = append(texts.Vectors, text...)
		texts.First = append(texts.First, len(texts.First))
		in.Texts = append(in.Texts, widen(text))
	}
	for from := 0; from < len(texts.Vectors); from += 6 {
		row := texts.Vectors[from : from+6]
		length := length(row)
		for k := range row {
			row[k] = float32(float64(row[k]) / length)
		}
	}
	for _, item := range d.Items {
		picture, _, err := d.Load(item)
		if err != nil {
			t.Fatal(err)
		}
		p, err := encoder.Patches(t.Context(), picture)
		if err != nil {
			t.Fatal(err)
		}
		own := photo{Name: item.Key, Height: 48, Width: 48}
		for cell := range p.Cells() {
			own.Vectors = append(own.Vectors, widen(p.Vectors[cell*6:(cell+1)*6]))
		}
		in.Photos = append(in.Photos, own)
	}
	want := ask(in)
	coherence, err := Coherence(t.Context(), d, encoder, Protocol{}, CoherenceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !near(coherence.AUC, want.AUC, 1e-12) || coherence.Same != want.Same || coherence.Pairs != want.Same+want.Different {
		t.Errorf("AUC %v of %d pairs, %d same; numpy has %v, %d, %d", coherence.AUC, coherence.Pairs, coherence.Same,
			want.AUC, want.Same+want.Different, want.Same)
	}
	patches, err := Patches(t.Context(), d, encoder, texts, Protocol{}, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !near(patches.Accuracy, want.Accuracy, 1e-12) || patches.Patches != want.Patches {
		t.Errorf("patch accuracy %v of %d, numpy has %v of %d", patches.Accuracy, patches.Patches, want.Accuracy, want.Patches)
	}
	t.Logf("AUC %v of %d pairs, accuracy %v of %d patches", coherence.AUC, coherence.Pairs, patches.Accuracy, patches.Patches)

	// The other ways, for more pairs: by sorting float32 cosines, and by histogram within its bound.
	all, err := collectPatches(t.Context(), d, encoder, CoherenceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all.normalise()
	sorted, err := all.sortedArea(t.Context(), want.Same, want.Different)
	if err != nil || !near(sorted, want.AUC, 1e-6) {
		t.Errorf("sorted area %v (%v), numpy has %v", sorted, err, want.AUC)
	}
	coarse, err := Coherence(t.Context(), d, encoder, Protocol{}, CoherenceOptions{ExactPairs: 1})
	if err != nil || !near(coarse.AUC, want.AUC, coarse.ErrorBound+1e-6) || coarse.ErrorBound == 0 || coarse.ErrorBound > 1e-3 {
		t.Errorf("by histogram %v within %v (%v), numpy has %v", coarse.AUC, coarse.ErrorBound, err, want.AUC)
	}
}
