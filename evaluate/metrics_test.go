package evaluate

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"pgregory.net/rapid"

	"github.com/pacl/pacl/internal/testdata"
)

func ids(t testdata.Tensor) []uint16 {
	result := make([]uint16, len(t.Data))
	for i, v := range t.Data {
		result[i] = uint16(v)
	}
	return result
}

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance }

func TestGoldenSegmentationMetrics(t *testing.T) {
	var cases []struct {
		Case, Classes, Ignore int
		PerClassIoU           []*float64 `json:"per_class_iou"`
		MIoU                  float64    `json:"miou"`
		PixelAccuracy         float64    `json:"pixel_accuracy"`
		MeanAccuracy          float64    `json:"mean_accuracy"`
	}
	data, err := os.ReadFile(testdata.Golden(t, "metrics", "segmentation.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	tensors := testdata.Tensors(t, testdata.Golden(t, "metrics", "segmentation.safetensors"))
	for _, c := range cases {
		truth := ids(tensors[fmt.Sprintf("%d.truth", c.Case)])
		prediction := ids(tensors[fmt.Sprintf("%d.prediction", c.Case)])
		for i, id := range truth {
			if int(id) == c.Ignore {
				truth[i] = Ignored
			}
		}
		confusion := NewConfusion(c.Classes)
		images := tensors[fmt.Sprintf("%d.truth", c.Case)].Shape[0]
		for i := range images {
			from, to := i*len(truth)/images, (i+1)*len(truth)/images
			if err := confusion.Add(truth[from:to], prediction[from:to]); err != nil {
				t.Fatal(err)
			}
		}
		m := confusion.Metrics()
		const tolerance = 1e-12
		if !near(m.MIoU, c.MIoU, tolerance) || !near(m.PixelAccuracy, c.PixelAccuracy, tolerance) || !near(m.MeanAccuracy, c.MeanAccuracy, tolerance) {
			t.Errorf("case %d: %v %v %v, expected %v %v %v", c.Case, m.MIoU, m.PixelAccuracy, m.MeanAccuracy, c.MIoU, c.PixelAccuracy, c.MeanAccuracy)
		}
		for class, want := range c.PerClassIoU {
			if got := m.IoU[class]; want == nil != math.IsNaN(got) || want != nil && !near(got, *want, tolerance) {
				t.Errorf("case %d, class %d: IoU %v, expected %v", c.Case, class, got, want)
			}
		}
	}
}

// Counts do not depend on how images are put together, and listing them loses nothing.
func TestConfusionLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes := rapid.IntRange(1, 6).Draw(t, "classes")
		n := rapid.IntRange(0, 200).Draw(t, "pixels")
		id := rapid.Uint16Range(0, uint16(classes+1))
		truth := rapid.SliceOfN(id, n, n).Draw(t, "truth")
		prediction := rapid.SliceOfN(id, n, n).Draw(t, "prediction")
		whole, parts, listed := NewConfusion(classes), NewConfusion(classes), NewConfusion(classes)
		cut := rapid.IntRange(0, n).Draw(t, "cut")
		for _, step := range []struct {
			c        *Confusion
			from, to int
		}{{whole, 0, n}, {parts, 0, cut}, {parts, cut, n}} {
			if err := step.c.Add(truth[step.from:step.to], prediction[step.from:step.to]); err != nil {
				t.Fatal(err)
			}
		}
		if err := listed.AddEntries(whole.Entries()); err != nil {
			t.Fatal(err)
		}
		var scored int64
		for i, count := range whole.Counts {
			scored += count
			if parts.Counts[i] != count || listed.Counts[i] != count {
				t.Fatalf("count %d: %d whole, %d in parts, %d listed", i, count, parts.Counts[i], listed.Counts[i])
			}
		}
		perfect := NewConfusion(classes)
		if err := perfect.Add(truth, truth); err != nil {
			t.Fatal(err)
		}
		if m := perfect.Metrics(); scored > 0 && (m.MIoU != 1 || m.PixelAccuracy != 1 || m.MeanAccuracy != 1) {
			t.Fatalf("the truth itself scores %v", m)
		}
	})
	if NewConfusion(2).Add(make([]uint16, 2), make([]uint16, 3)) == nil {
		t.Error("images of two sizes were compared")
	}
	if NewConfusion(2).AddEntries([]Entry{{2, 0, 1}}) == nil || NewConfusion(2).AddEntries([]Entry{{0, 0, -1}}) == nil {
		t.Error("an impossible count was added")
	}
}

func TestProtocolReadsBack(t *testing.T) {
	const line = "VOC20 n=100 size=448 short stride=16 window=whole templates=7 synonyms=off background=ignored"
	p, err := ParseProtocol(line)
	if err != nil || p.String() != line {
		t.Errorf("%q (%v), expected %q", p.String(), err, line)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := Protocol{
			Dataset:    rapid.SampledFrom([]string{"VOC20", "Context59", "COCO-Stuff171"}).Draw(t, "dataset"),
			N:          rapid.IntRange(1, 5000).Draw(t, "n"),
			Stride:     rapid.IntRange(1, 32).Draw(t, "stride"),
			Templates:  rapid.SampledFrom([]string{"none", "7", "table", "a photo of a {}.", "\"{}\" \\ x=y"}).Draw(t, "templates"),
			Synonyms:   rapid.Bool().Draw(t, "synonyms"),
			Background: rapid.SampledFrom([]string{"ignored", "class"}).Draw(t, "background"),
			Threshold:  rapid.SampledFrom([]float64{0, 0.25, 1.0 / 3}).Draw(t, "threshold"),
			Refine:     rapid.SampledFrom([]string{"", "pamr(8,16)x10"}).Draw(t, "refine"),
		}
		if rapid.Bool().Draw(t, "short") {
			p.Size.Short = rapid.IntRange(1, 2000).Draw(t, "size")
		} else {
			p.Size.Width, p.Size.Height = rapid.IntRange(1, 2000).Draw(t, "width"), rapid.IntRange(1, 2000).Draw(t, "height")
		}
		if rapid.Bool().Draw(t, "windows") {
			p.Window, p.WindowStride = 224, rapid.SampledFrom([]int{0, 112}).Draw(t, "window stride")
		}
		if rapid.Bool().Draw(t, "names") {
			p.Known, p.Names = rapid.IntRange(0, 20).Draw(t, "known"), 20
		}
		if rapid.Bool().Draw(t, "more") {
			p.More = map[string]string{"split": "my list", "seed": "7"}
		}
		back, err := ParseProtocol(p.String())
		if err != nil || back.String() != p.String() || fmt.Sprint(back) != fmt.Sprint(p) {
			t.Fatalf("%q became %q (%v)", p.String(), back.String(), err)
		}
	})
	for _, bad := range []string{"", "n=3", "VOC20 n", "VOC20 n=0", "VOC20 n=1 n=2", "VOC20 size=ax3", "VOC20 synonyms=maybe", "VOC20 threshold=2", "VOC20 names=3", "VOC20 window=a/2", `VOC20 templates="a`, `VOC20 templates="a"b`, "VOC20 names=4/3", "VOC20 a b=c"} {
		if _, err := ParseProtocol(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzParseProtocol(f *testing.F) {
	f.Add("VOC20 n=100 size=448 short stride=16 window=whole templates=7 synonyms=off background=ignored")
	f.Add("mosaic n=2 size=4x3 window=3/2 names=1/2 threshold=0.5 tiles=2x2")
	f.Add(`VOC20 templates="a photo of a {}" x="\n"`)
	f.Add("0")
	f.Fuzz(func(t *testing.T, line string) {
		p, err := ParseProtocol(line)
		if err != nil {
			return
		}
		back, err := ParseProtocol(p.String())
		if err != nil || back.String() != p.String() {
			t.Errorf("%q became %q, then %q (%v)", line, p.String(), back.String(), err)
		}
	})
}
