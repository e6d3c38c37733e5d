package readout

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
)

// collectRefined returns the refined scores [labels, height, width].
func collectRefined(t testing.TB, s Scores, pixels []uint8, r Refinement, memory int) []float32 {
	t.Helper()
	result := make([]float32, s.Labels*s.ImageH*s.ImageW)
	rf := newRefiner(s, pixels, r, memory)
	var mutex sync.Mutex
	for y0 := 0; y0 < s.ImageH; y0 += rf.rowsPerBand {
		err := rf.band(context.Background(), y0, min(y0+rf.rowsPerBand, s.ImageH), func(label, y int, row []float32) {
			mutex.Lock()
			defer mutex.Unlock()
			copy(result[(label*s.ImageH+y)*s.ImageW:], row)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return result
}

// scripts/crosscheck/pamr.py wrote the cases, in PyTorch from the published formula.
func TestRefinementAgreesWithPyTorch(t *testing.T) {
	data, err := os.ReadFile("testdata/pamr.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Height, Width, Labels, Iterations int
		Dilations                         []int
		Image                             []int
		Scores, Refined                   []float64
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) == 0 {
		t.Fatal(err)
	}
	for _, c := range cases {
		pixels := make([]uint8, len(c.Image))
		for i, v := range c.Image {
			pixels[i] = uint8(v)
		}
		s := Scores{Geometry: UnitGeometry(c.Height, c.Width, c.Height, c.Width), Labels: c.Labels, Data: make([]float32, len(c.Scores))}
		cells := c.Height * c.Width
		for i, v := range c.Scores {
			s.Data[i%cells*c.Labels+i/cells] = float32(v)
		}
		r := Refinement{Dilations: c.Dilations, Iterations: c.Iterations}
		got := collectRefined(t, s, pixels, r, refineMemory)
		for i, v := range got {
			if d := math.Abs(float64(v) - c.Refined[i]); !(d <= 1e-6) {
				t.Fatalf("%v: value %d is %v, PyTorch has %v", r, i, v, c.Refined[i])
			}
		}
		segmented, err := SegmentRefined(t.Context(), s, pixels, r, Options{LogitScale: 30, ConfidenceMap: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range segmented.ID {
			best, sum := 0, 0.0
			for l := range c.Labels {
				if c.Refined[l*cells+i] > c.Refined[best*cells+i] {
					best = l
				}
			}
			for l := range c.Labels {
				sum += math.Exp(30 * (c.Refined[l*cells+i] - c.Refined[best*cells+i]))
			}
			if math.Abs(float64(segmented.Confidence[i])-1/sum) > 1e-4 {
				t.Fatalf("%v: pixel %d has share %v, expected %v", r, i, segmented.Confidence[i], 1/sum)
			}
			if int(id) != best && c.Refined[best*cells+i]-c.Refined[int(id)*cells+i] > 1e-6 {
				t.Fatalf("%v: pixel %d has label %d, expected %d", r, i, id, best)
			}
		}
	}
}

func randomPixels(r *rand.Rand, g Geometry) []uint8 {
	pixels := make([]uint8, 3*g.ImageH*g.ImageW)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256))
	}
	return pixels
}

// Bands give what the whole picture at once gives, to the last bit.
func TestRefinementInBands(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	g, _ := NewGeometry(64, 48, 300, 40, 16, 16)
	s := randomScores(r, g, 3)
	pixels := randomPixels(r, g)
	refinement := Refinement{Dilations: []int{2, 5}, Iterations: 4}
	whole := collectRefined(t, s, pixels, refinement, refineMemory)
	if rows := newRefiner(s, pixels, refinement, 1).rowsPerBand; rows >= s.ImageH {
		t.Fatalf("%d rows a band, expected several bands", rows)
	}
	if parts := collectRefined(t, s, pixels, refinement, 1); !slices.Equal(parts, whole) {
		t.Error("bands differ from the whole")
	}
}

func TestParseRefinement(t *testing.T) {
	for text, want := range map[string]string{"pamr": "pamr(8,16)x10", "pamr(1)x2": "pamr(1)x2", "pamr(1,2,4)x3": "pamr(1,2,4)x3"} {
		r, err := ParseRefinement(text)
		if err != nil || r.String() != want {
			t.Errorf("%q: %v (%v), expected %s", text, r, err, want)
		}
	}
	for _, text := range []string{"", "crf", "pamr()x3", "pamr(0)x3", "pamr(1)x0", "pamr(1)x2x", "pamr(a)x2", "pamr(1"} {
		if _, err := ParseRefinement(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	s := Scores{Geometry: UnitGeometry(2, 2, 4, 4), Labels: 1, Data: make([]float32, 4)}
	if _, err := SegmentRefined(t.Context(), s, make([]uint8, 47), DefaultRefinement(), Options{}); err == nil {
		t.Error("pixels of another photo were accepted")
	}
}

// A photo of 500x375 with 21 labels.
func BenchmarkSegmentRefined(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	g, _ := NewGeometry(224, 304, 375, 500, 16, 16)
	s := randomScores(r, g, 21)
	pixels := randomPixels(r, g)
	for b.Loop() {
		if _, err := SegmentRefined(b.Context(), s, pixels, DefaultRefinement(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
