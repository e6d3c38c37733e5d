package serve

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/testdata"
)

// TestModelBehindTheService compares what the service answers with what the library says of the same photo.
func TestModelBehindTheService(t *testing.T) {
	model, err := pacl.Open(context.Background(), pacl.Options{Model: testdata.Golden(t, "models", "tiny-clip-hf"), Precision: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(testdata.Golden(t, "images", "photo0.progressive.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	photo, err := imaging.Decode(data, imaging.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	labels, err := pacl.ParseLabels("cat, dog|puppy, grass")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	v, err := model.Vocabulary(ctx, labels, pacl.VocabularyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := model.Encode(ctx, photo, pacl.ImageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := model.Segment(ctx, encoded, v, pacl.SegmentOptions{Background: 0.34})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, func(c *Config, _ *colourEngine) { c.Models = []Engine{NewEngine(model, "tiny")} })
	// A word that was asked for before, alone and in another place, must mean the same in the list below.
	if r := f.do("POST", "/v1/segment?labels=grass,dog|puppy", "image/jpeg", bytes.NewReader(data)); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, query := range []string{"", "&refine=true"} {
		r := f.do("POST", "/v1/segment?labels=cat,dog|puppy,grass&background=0.34"+query, "image/jpeg", bytes.NewReader(data))
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		got := decode[segmentAnswer](t, r)
		if got.Model != "tiny" || got.Width != photo.Width || got.Height != photo.Height {
			t.Errorf("%+v", got)
		}
		if query != "" {
			continue
		}
		for i, label := range got.Labels {
			if label.Pixels != want.Labels[i].Pixels || label.MeanScore != want.Labels[i].MeanScore {
				t.Errorf("%s: %d pixels at %v, want %d at %v", label.Name, label.Pixels, label.MeanScore, want.Labels[i].Pixels, want.Labels[i].MeanScore)
			}
		}
	}
}
