package readout

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The prior is what its definition says, and mean scores are given without it.
func TestPriorIsItsDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 7))
	const labels = 70 // more than are worked on at once
	g := UnitGeometry(5, 7, 40, 56)
	s := Scores{Geometry: g, Labels: labels, Data: make([]float32, g.Cells()*labels)}
	for i := range s.Data {
		s.Data[i] = float32(rng.NormFloat64() * 0.1)
	}
	nan := float32(math.NaN())
	for cell := range g.Cells() {
		s.Data[cell*labels+3] = nan // no number at all
	}
	s.Data[2*labels+4] = nan // but at this cell
	before := slices.Clone(s.Data)
	prior := Prior{Weight: 0.5, Tau: 0.07}

	want := make([]float64, labels)
	for l := range labels {
		var sum, weights float64
		for cell := range g.Cells() {
			if v := float64(s.Data[cell*labels+l]); !math.IsNaN(v) {
				w := math.Exp(v / prior.Tau)
				sum, weights = sum+w*v, weights+w
			}
		}
		if weights > 0 {
			want[l] = prior.Weight * sum / weights
		}
	}
	raised, added := s.raise(prior)
	for l := range labels {
		if math.Abs(added[l]-want[l]) > 1e-6 {
			t.Errorf("label %d is raised by %g, expected %g", l, added[l], want[l])
		}
		for cell := range g.Cells() {
			got, from := raised.Data[cell*labels+l], before[cell*labels+l]
			if from == from && math.Abs(float64(got)-float64(from)-want[l]) > 1e-6 || from != from && got == got {
				t.Fatalf("label %d at cell %d: %g became %g, raised by %g", l, cell, from, got, want[l])
			}
		}
	}
	for i, v := range s.Data {
		if v != before[i] && v == v {
			t.Fatal("the scores that were given have changed")
		}
	}

	// By hand: the same scores raised, segmented without a prior.
	o := Options{LogitScale: 10, Confidence: true, Prior: prior}
	got, err := Segment(context.Background(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Prior = Prior{}
	plain, err := Segment(context.Background(), raised, o)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.ID, plain.ID) {
		t.Error("labels differ from those of the raised scores")
	}
	for l := range labels {
		if plain.Stats[l].Pixels == 0 {
			continue
		}
		if want := plain.Stats[l].MeanScore - added[l]; math.Abs(got.Stats[l].MeanScore-want) > 1e-9 {
			t.Errorf("label %d has mean score %g, expected %g", l, got.Stats[l].MeanScore, want)
		}
		if got.Stats[l].Confidence != plain.Stats[l].Confidence {
			t.Errorf("label %d has confidence %g, expected %g", l, got.Stats[l].Confidence, plain.Stats[l].Confidence)
		}
	}
	for _, bad := range []Prior{{Weight: -1, Tau: 1}, {Weight: math.NaN(), Tau: 1}, {Weight: 1}, {Weight: 1, Tau: math.Inf(1)}, {Weight: 1000, Tau: 1}} {
		if _, err := Segment(context.Background(), s, Options{Prior: bad}); err == nil {
			t.Errorf("prior %+v is taken", bad)
		}
	}
}
