package align

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/internal/testdata"
)

// From photos to a head, with the real encoders: PACL_LONG=1 takes all photos and ten epochs, PACL_KEEP keeps the files.
func TestFromPhotosToHead(t *testing.T) {
	if !testdata.Long() {
		t.Skip("set PACL_LONG=1")
	}
	vision, err := encoder.OpenVision(testdata.Shared(t, "models", "vit-tiny-16"), encoder.Options{Precision: kernel.Default()})
	if err != nil {
		t.Fatal(err)
	}
	text, err := encoder.OpenText(testdata.Shared(t, "models", "clip-b32-names"), encoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	source, err := caption.Open(testdata.Shared(t, "data", "captions", "captions.tsv"), caption.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	dir := os.Getenv("PACL_KEEP")
	if dir == "" {
		dir = t.TempDir()
	}
	started := time.Now()
	report, err := feature.Extract(context.Background(), feature.ExtractOptions{
		Dir: filepath.Join(dir, "features"), Vision: vision, Text: text, Source: source, Size: 224, Phrases: feature.Phrases{Names: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("features of %d images in %v: %d usable, %d failed, %d captions and %d images without a name",
		report.Samples, time.Since(started).Round(time.Millisecond), report.Images, len(report.Failures), report.TextlessCaptions, report.TextlessImages)
	cache, err := feature.Open(filepath.Join(dir, "features"))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	r := DefaultRecipe(cache.TokenWidth(), cache.TextWidth())
	if epochs, err := strconv.Atoi(os.Getenv("PACL_EPOCHS")); err == nil {
		r.Epochs = epochs
	}
	started = time.Now()
	result, err := Train(context.Background(), cache, TrainOptions{Recipe: r, Dir: filepath.Join(dir, "training"), Progress: func(p Progress) {
		if p.Validation != nil {
			t.Logf("epoch %d: loss %.3f, bound %.3f, %.0f images/s, validation %+v", p.Epoch, p.Loss, p.Bound, p.ImagesPerSecond, *p.Validation)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d steps in %v", result.Steps, time.Since(started).Round(time.Millisecond))
	if result.Validation.ImageToText < 10/float64(result.Validation.Images) {
		t.Errorf("validation %+v is near chance", *result.Validation)
	}
}
