package evaluate

import (
	"encoding/json"
	"errors"
	"image"
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

func TestNumpyAgreesOnPatches(t *testing.T) {
	d, err := Open("voc21", testdata.Shared(t, "data", "voc2012-mini"), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const patch = 16
	var input struct {
		Patch       int         `json:"patch"`
		Masks       [][][]int   `json:"masks"`
		Tokens      [][]float64 `json:"tokens"`
		TokenLabels []uint16    `json:"token_labels"`
	}
	input.Patch = patch
	var labels [][]uint16
	for _, item := range d.Items[:20] {
		mask, err := d.LoadMask(item)
		if err != nil {
			t.Fatal(err)
		}
		mask = cropMask(mask, mask.Width/patch*patch, mask.Height/patch*patch)
		g, err := readout.NewGeometry(mask.Height, mask.Width, mask.Height, mask.Width, patch, patch)
		if err != nil {
			t.Fatal(err)
		}
		list, err := PatchLabels(mask, g)
		if err != nil {
			t.Fatal(err)
		}
		labels = append(labels, list)
		rows := make([][]int, mask.Height)
		for y := range rows {
			for _, id := range mask.ID[y*mask.Width : (y+1)*mask.Width] {
				rows[y] = append(rows[y], min(int(id), 255))
			}
		}
		input.Masks = append(input.Masks, rows)
	}
	c := randomPatches(11, 10, 50, 6, 4)
	c.label[0], c.label[1] = 1, 1
	copy(c.unit[6:12], c.unit[:6]) // equal vectors: ties
	input.TokenLabels = c.label
	for i := range c.label {
		var token []float64 // every digit, not the fewest that tell float32 numbers apart
		for _, v := range c.unit[i*6 : (i+1)*6] {
			token = append(token, float64(v))
		}
		input.Tokens = append(input.Tokens, token)
	}
	path := filepath.Join(t.TempDir(), "patches.json")
	data, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	var want struct {
		Labels          [][][]int
		AUC             float64
		Same, Different int64
	}
	numpy(t, &want, "patches", path)
	got, err := c.coherence(t.Context(), CoherenceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !near(got.AUC, want.AUC, 1e-12) || got.Same != want.Same || got.Pairs != want.Same+want.Different {
		t.Errorf("AUC %v of %d pairs, %d same; numpy has %v, %d, %d", got.AUC, got.Pairs, got.Same, want.AUC, want.Same+want.Different, want.Same)
	}
	for image, list := range labels {
		var flat []int
		for _, row := range want.Labels[image] {
			flat = append(flat, row...)
		}
		for cell, label := range list {
			if min(int(label), 255) != flat[cell] {
				t.Errorf("photo %d, patch %d: label %d, numpy has %d", image, cell, label, flat[cell])
			}
		}
	}
}

func cropMask(m *imaging.Mask, w, h int) *imaging.Mask {
	result := &imaging.Mask{Width: w, Height: h}
	for y := range h {
		result.ID = append(result.ID, m.ID[y*m.Width:y*m.Width+w]...)
	}
	return result
}
