package align

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/filelock"
)

// A small world to train in: pictures of one colour, of which there are kinds; a patch token points to its kind in a part
// of the patches and is noise in the others; a caption names the kind.
const (
	worldKinds   = 8
	worldPatches = 9
	worldWidth   = 12
	worldText    = 6
)

type worldList struct{ next, n int }

func (l *worldList) Next() (caption.Sample, error) {
	if l.next == l.n {
		return caption.Sample{}, io.EOF
	}
	i := l.next
	l.next++
	return caption.Sample{
		Key: fmt.Sprint(i), Texts: []string{fmt.Sprintf("kind %d", i%worldKinds), fmt.Sprintf("kind %d again", i%worldKinds)},
		Read: func() ([]byte, error) {
			im := image.NewNRGBA(image.Rect(0, 0, 3, 3))
			for k := range 9 {
				im.Set(k%3, k/3, color.NRGBA{uint8(i % worldKinds), uint8(i / 256), uint8(i % 256), 255})
			}
			var b bytes.Buffer
			err := png.Encode(&b, im)
			return b.Bytes(), err
		},
	}, nil
}
func (l *worldList) Hash() string           { return "world" }
func (l *worldList) Len() int               { return l.n }
func (*worldList) Skipped() caption.Skipped { return caption.Skipped{} }
func (*worldList) Close() error             { return nil }

type worldVision struct{}

func (worldVision) Info() encoder.Info {
	return encoder.Info{Family: "vit", Dir: "world", Hash: "v", Width: worldWidth, PatchSize: 1, ImageSize: 3, Resample: imaging.Bilinear}
}
func (worldVision) Pixels(im *imaging.Image) []float32 {
	x := make([]float32, 27)
	x[0], x[1] = float32(im.Pix[0]), float32(im.Pix[1])*256+float32(im.Pix[2])
	return x
}
func (worldVision) Encode(_ context.Context, pixels []float32, batch, _, _ int, _ encoder.EncodeOptions) (encoder.Output, error) {
	var out encoder.Output
	for b := range batch {
		kind, number := pixels[27*b], pixels[27*b+1]
		direction := rand.New(rand.NewPCG(uint64(kind), 1))
		noise := rand.New(rand.NewPCG(uint64(number), 2))
		mean := make([]float32, worldWidth)
		for k := range mean {
			mean[k] = float32(direction.NormFloat64())
		}
		for patch := range worldPatches {
			for k := range worldWidth {
				v := float32(noise.NormFloat64())
				if patch%3 == 0 {
					v = 0.3*v + 2*mean[k]
				}
				out.Patches = append(out.Patches, v)
			}
		}
	}
	return out, nil
}

type worldWords struct{}

func (worldWords) Width() int         { return worldText }
func (worldWords) Info() encoder.Info { return encoder.Info{Family: "words", Dir: "words", Hash: "w"} }
func (worldWords) Embed(_ context.Context, texts []string) ([]float32, error) {
	var out []float32
	for _, t := range texts {
		rng := rand.New(rand.NewPCG(uint64(strings.TrimPrefix(t, "kind ")[0]), 3))
		for range worldText {
			out = append(out, float32(rng.NormFloat64()))
		}
	}
	return out, nil
}

func world(t *testing.T, n int) *feature.Cache {
	t.Helper()
	dir := t.TempDir()
	_, err := feature.Extract(context.Background(), feature.ExtractOptions{
		Dir: dir, Vision: worldVision{}, Text: worldWords{}, Source: &worldList{n: n},
	})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := feature.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}

func worldRecipe() Recipe {
	r := DefaultRecipe(worldWidth, worldText)
	r.Epochs, r.Batch, r.Warmup, r.Rate, r.Head.TauPatch = 12, 16, 4, 1e-2, 0.2
	return r
}

func TestTrainingLearns(t *testing.T) {
	cache := world(t, 640)
	dir := t.TempDir()
	var steps []Progress
	result, err := Train(context.Background(), cache, TrainOptions{Recipe: worldRecipe(), Dir: dir, Progress: func(p Progress) { steps = append(steps, p) }})
	if err != nil {
		t.Fatal(err)
	}
	// About a tenth is kept out: by their keys, these 72.
	if len(steps) != result.Steps || result.Steps != 12*35 || result.Training != 568 {
		t.Fatalf("%d reports of %d steps on %d images, expected 420 on 568", len(steps), result.Steps, result.Training)
	}
	v := result.Validation
	if v == nil || v.Images != 72 {
		t.Fatalf("validation %+v, expected 72 images", v)
	}
	// There are eight kinds: one caption in eight is right by chance, and at most log(8) = 2.1 nats can be known.
	if v.ImageToText < 0.7 || v.TextToImage < 0.7 || v.Bound < 1.2 {
		t.Errorf("validation %+v: the head has learned too little", v)
	}
	if first, last := steps[0], steps[len(steps)-1]; last.Loss > 0.7*first.Loss || math.Abs(last.Bound-(math.Log(16)-last.Loss)) > 1e-12 {
		t.Errorf("loss went from %g to %g, bound %g", first.Loss, last.Loss, last.Bound)
	}
	log, err := os.ReadFile(filepath.Join(dir, LogName))
	if err != nil || bytes.Count(log, []byte("\n")) != result.Steps || bytes.Count(log, []byte(`"validation"`)) != 12 {
		t.Errorf("log has %d lines, %d validations: %v", bytes.Count(log, []byte("\n")), bytes.Count(log, []byte(`"validation"`)), err)
	}
}

func TestTrainingGoesOnToTheSameHead(t *testing.T) {
	cache := world(t, 100)
	r := worldRecipe()
	r.Epochs = 4
	whole, err := Train(context.Background(), cache, TrainOptions{Recipe: r, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	stops := []int{2, 1, 7, 8, 3, 5}
	for _, stop := range stops {
		ctx, cancel := context.WithCancel(context.Background())
		steps := 0
		_, err := Train(ctx, cache, TrainOptions{Recipe: r, Dir: dir, CheckpointEvery: 3, Progress: func(Progress) {
			if steps++; steps == stop {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) && err != nil {
			t.Fatal(err)
		}
	}
	again, err := Train(context.Background(), cache, TrainOptions{Recipe: r, Dir: dir, CheckpointEvery: 3})
	if err != nil {
		t.Fatal(err)
	}
	if again.Resumed == 0 {
		t.Error("the last run began at the beginning, expected a checkpoint")
	}
	sameBits(t, "after interruptions", again.Head.Parameters, whole.Head.Parameters)
	if *again.Validation != *whole.Validation {
		t.Errorf("validation %+v, expected %+v", again.Validation, whole.Validation)
	}
	log, err := os.ReadFile(filepath.Join(dir, LogName))
	if err != nil || bytes.Count(log, []byte("\n")) != whole.Steps {
		t.Errorf("log has %d lines, expected one for each of %d steps: %v", bytes.Count(log, []byte("\n")), whole.Steps, err)
	}
	finished, err := Train(context.Background(), cache, TrainOptions{Recipe: r, Dir: dir, Progress: func(Progress) { t.Error("a finished training took a step") }})
	if err != nil || finished.Last.Loss != whole.Last.Loss || *finished.Validation != *whole.Validation {
		t.Errorf("a finished training says %+v, expected %+v: %v", finished, whole, err)
	}
}

func TestTrainingRefuses(t *testing.T) {
	cache := world(t, 40)
	r := worldRecipe()
	r.Epochs, r.Batch = 1, 4
	dir := t.TempDir()
	if _, err := Train(context.Background(), cache, TrainOptions{Recipe: r, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*TrainOptions)
		cache  *feature.Cache
		words  string
	}{
		"another recipe":   {func(o *TrainOptions) { o.Recipe.Seed++ }, cache, "another recipe"},
		"other features":   {func(o *TrainOptions) {}, world(t, 41), "other features"},
		"another width":    {func(o *TrainOptions) { o.Recipe.Head.TokenWidth++ }, cache, "token width 12"},
		"no batch":         {func(o *TrainOptions) { o.Recipe.Batch = 0 }, cache, "batch is 0"},
		"a negative rate":  {func(o *TrainOptions) { o.Recipe.Rate = -1 }, cache, "learning rate is -1"},
		"a rate of NaN":    {func(o *TrainOptions) { o.Recipe.Rate = math.NaN() }, cache, "learning rate is NaN"},
		"double precision": {func(o *TrainOptions) { o.Recipe.Precision = "f64" }, cache, `precision is "f64"`},
	} {
		t.Run(name, func(t *testing.T) {
			o := TrainOptions{Recipe: r, Dir: dir}
			c.change(&o)
			if _, err := Train(context.Background(), c.cache, o); err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, expected one line with %q", err, c.words)
			}
		})
	}
	release, err := filelock.Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Train(context.Background(), cache, TrainOptions{Recipe: r, Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a folder that another training holds: error %v", err)
	}
	release()
	path := filepath.Join(dir, CheckpointName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Train(context.Background(), cache, TrainOptions{Recipe: r, Dir: dir}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a truncated checkpoint: error %v does not name it", err)
	}
}

func TestEveryImageOfAnEpochIsDrawnOnce(t *testing.T) {
	cache := world(t, 50)
	r := worldRecipe()
	r.Batch, r.Validation = 11, 0.2
	s := newSampler(cache, r)
	if len(s.training) != 44 || len(s.validation) != 6 || s.stepsPerEpoch() != 4 {
		t.Fatalf("%d images for training in %d steps, %d kept out", len(s.training), s.stepsPerEpoch(), len(s.validation))
	}
	orders := map[string]bool{}
	for epoch := range 3 {
		seen := map[*uint16]bool{}
		for step := range 4 {
			b := s.draw(epoch*4 + step)
			for i := range b.Images {
				seen[&b.Tokens(i).H[0]] = true
			}
		}
		if len(seen) != 44 {
			t.Errorf("epoch %d shows %d images, expected 44", epoch, len(seen))
		}
		orders[fmt.Sprint(s.order)] = true
		for _, image := range s.validation {
			if seen[&cache.Tokens(image, 0)[0]] {
				t.Errorf("epoch %d shows image %d, which is kept out", epoch, image)
			}
		}
	}
	if len(orders) != 3 {
		t.Errorf("%d orders in 3 epochs", len(orders))
	}
}

func TestHeldOutIsAShareThatGrows(t *testing.T) {
	var held [3]int
	for i := range 10000 {
		key := fmt.Sprintf("images/%d.jpg", i)
		for k, share := range []float64{0.1, 0.2, 0.5} {
			if HeldOut(key, share) {
				held[k]++
			} else if k > 0 && HeldOut(key, 0.1) {
				t.Fatalf("%s is kept out of a share of 0.1 and not of %g", key, share)
			}
		}
		if HeldOut(key, 0) || !HeldOut(key, 1) {
			t.Fatalf("%s is kept out of nothing, or in all", key)
		}
	}
	for k, share := range []float64{0.1, 0.2, 0.5} {
		if math.Abs(float64(held[k])-10000*share) > 5*math.Sqrt(10000*share*(1-share)) {
			t.Errorf("%d of 10000 images are kept out, expected about %g", held[k], 10000*share)
		}
	}
}
