package pretrain

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/scene"
)

// smallRecipe trains in a second.
func smallRecipe() Config {
	c := DefaultConfig()
	c.Vision = VisionConfig{ImageSize: 24, PatchSize: 8, Width: 32, Layers: 2, Heads: 2}
	c.Text = TextConfig{Context: 32, Vocabulary: 560, Width: 24, Layers: 1, Heads: 2}
	c.Projection, c.Batch, c.Micro, c.Steps, c.WarmUp = 16, 12, 5, 6, 2
	c.Objective, c.Precision = "clip+pacl", "f32"
	return c
}

func newSmall(t *testing.T, c Config) *Trainer {
	t.Helper()
	trainer, err := NewTrainer(c, Scenes{})
	if err != nil {
		t.Fatal(err)
	}
	return trainer
}

func train(t *testing.T, trainer *Trainer, until int) (losses []float64) {
	t.Helper()
	stop := errors.New("enough")
	err := trainer.Run(context.Background(), func(r Record) error {
		losses = append(losses, r.Loss)
		if r.Step == until {
			return stop
		}
		return nil
	})
	if err != nil && !errors.Is(err, stop) {
		t.Fatal(err)
	}
	return losses
}

// TestResume compares a training that was stopped and resumed from its checkpoint with an undisturbed one, bit for bit,
// on different numbers of processors and with activations kept or computed twice.
func TestResume(t *testing.T) {
	for _, precision := range []string{"f32", "bf16"} {
		c := smallRecipe()
		c.Precision = precision
		whole := newSmall(t, c)
		losses := train(t, whole, c.Steps)

		path := filepath.Join(t.TempDir(), "checkpoint")
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		first := newSmall(t, c)
		head := train(t, first, 3)
		if err := first.Checkpoint(path); err != nil {
			t.Fatal(err)
		}
		runtime.GOMAXPROCS(3)
		second := newSmall(t, c)
		if err := second.Resume(path); err != nil {
			t.Fatal(err)
		}
		tail := train(t, second, c.Steps)
		if got := append(head, tail...); !slices.Equal(got, losses) {
			t.Errorf("%s: losses %v after resuming, %v undisturbed", precision, got, losses)
		}
		for i, v := range second.p {
			if math.Float32bits(v) != math.Float32bits(whole.p[i]) {
				t.Fatalf("%s: parameter %d is %g after resuming, %g undisturbed", precision, i, v, whole.p[i])
			}
		}
		c.Recompute = true
		recomputed := newSmall(t, c)
		if got := train(t, recomputed, c.Steps); !slices.Equal(got, losses) {
			t.Errorf("%s: losses %v with recomputed activations, %v with kept ones", precision, got, losses)
		}
		if err := recomputed.Resume(path); err == nil {
			t.Error("a checkpoint of another recipe is taken")
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data[:len(data)-1], 0o644); err != nil {
			t.Fatal(err)
		}
		if err := newSmall(t, first.config).Resume(path); err == nil {
			t.Error("a truncated checkpoint is taken")
		}
	}
}

// TestMicroBatches checks that the loss and gradient do not depend on how a batch is cut.
func TestMicroBatches(t *testing.T) {
	c := tinyConfig()
	m := newDual(c)
	p := widen(m.initial(1, nil))
	pixels, ids := tinyExamples[float64](c, c.Batch, 2)
	var gradients [][]float64
	for _, micro := range []int{1, 2, 5} {
		m.config.Micro = micro
		b := newBatch(m, func() engine[float64] { return exact{} })
		b.run(p, pixels, placement{c.Vision.ImageSize, 1, make([]corner, c.Batch)}, ids)
		gradients = append(gradients, b.gradient)
	}
	for _, g := range gradients[1:] {
		for i, v := range g {
			if math.Abs(v-gradients[0][i]) > 1e-12*(1+math.Abs(v)) {
				t.Fatalf("gradient %d is %g in one cut and %g in another", i, v, gradients[0][i])
			}
		}
	}
}

// TestFastGradient compares the float32 and bfloat16 engines with float64.
func TestFastGradient(t *testing.T) {
	c := tinyConfig()
	m := newDual(c)
	p := m.initial(1, nil)
	exactPixels, ids := tinyExamples[float64](c, c.Batch, 2)
	reference := newBatch(m, func() engine[float64] { return exact{} })
	want := reference.run(widen(p), exactPixels, placement{c.Vision.ImageSize, 1, make([]corner, c.Batch)}, ids)
	pixels, _ := tinyExamples[float32](c, c.Batch, 2)
	for _, test := range []struct {
		precision kernel.Precision
		tolerance float64
	}{{kernel.Float32, 1e-4}, {kernel.BFloat16, 0.1}} {
		b := newBatch(m, func() engine[float32] { return &fast{precision: test.precision} })
		got := b.run(p, pixels, placement{c.Vision.ImageSize, 1, make([]corner, c.Batch)}, ids)
		if math.Abs(got.Loss-want.Loss) > test.tolerance*want.Loss {
			t.Errorf("%v: loss %g, expected %g", test.precision, got.Loss, want.Loss)
		}
		var difference, norm float64
		for i, v := range reference.gradient {
			difference += (float64(b.gradient[i]) - v) * (float64(b.gradient[i]) - v)
			norm += v * v
		}
		if e := math.Sqrt(difference / norm); e > test.tolerance {
			t.Errorf("%v: the gradient is off by %.2g of its length, allowed %.2g", test.precision, e, test.tolerance)
		} else {
			t.Logf("%v: the gradient is off by %.2g of its length", test.precision, e)
		}
	}
}

// TestLearns checks that training lowers the loss well below chance.
func TestLearns(t *testing.T) {
	c := smallRecipe()
	c.Steps, c.Batch, c.Micro, c.Rate = 60, 16, 4, 3e-3
	losses := train(t, newSmall(t, c), c.Steps)
	start, end := losses[0], 0.0
	for _, loss := range losses[50:] {
		end += loss / 10
	}
	if end > 0.92*start {
		t.Errorf("the loss went from %.3f to %.3f in %d steps", start, end, c.Steps)
	}
}

// TestDirectory opens a saved directory with the encoders that segment photos and compares what they find with the
// forward pass that was trained.
func TestDirectory(t *testing.T) {
	t.Run("learned positions", func(t *testing.T) { checkDirectory(t, smallRecipe()) })
	t.Run("rotary positions", func(t *testing.T) {
		c := smallRecipe()
		c.Vision.RopeTheta = 100
		checkDirectory(t, c)
	})
}

func checkDirectory(t *testing.T, c Config) {
	trainer := newSmall(t, c)
	train(t, trainer, 2)
	dir := t.TempDir()
	if err := trainer.Save(dir, "f32"); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	vision, err := encoder.OpenVision(dir, encoder.Options{Precision: kernel.Float32})
	if err != nil {
		t.Fatal(err)
	}
	picture := scene.New(scene.Options{}, 5).Render(24, 24)
	pixels := vision.Pixels(&imaging.Image{Width: 24, Height: 24, Pix: picture.RGB})
	out, err := vision.Encode(ctx, pixels, 1, 24, 24, encoder.EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := &fast{precision: kernel.Float32}
	var trace imagePass[float32]
	d := trainer.config.Projection
	embedding, patches := matrix(make([]float32, d), 1, d), matrix(make([]float32, 9*d), 9, d)
	images(e, trainer.m, trainer.p, &trace, trainer.normalized(nil, picture.RGB), placement{c.Vision.ImageSize, 1, make([]corner, 1)}, embedding, patches)
	compare(t, "patch tokens", out.Patches, trace.local.data)
	compare(t, "class token", out.Class, trace.class.data)

	text, err := encoder.OpenText(dir, encoder.Options{Precision: kernel.Float32})
	if err != nil {
		t.Fatal(err)
	}
	captions := []string{"a red star", "빨간 별과 파란 집", "a picture of two boats"}
	got, err := text.Embed(ctx, captions)
	if err != nil {
		t.Fatal(err)
	}
	var ids [][]int32
	for _, caption := range captions {
		ids = append(ids, trainer.encode(caption))
	}
	var pass textPass[float32]
	want := matrix(make([]float32, len(ids)*d), len(ids), d)
	texts(e, trainer.m, trainer.p, &pass, ids, want)
	for i := range captions { // Embed may return unit vectors or not: compare directions
		compare(t, captions[i], unit(got[i*d:(i+1)*d]), unit(want.row(i)))
	}
}

func unit(v []float32) []float32 {
	m := matrix(slices.Clone(v), 1, len(v))
	unitRows(m, m, make([]float32, 1))
	return m.data
}

func compare(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, expected %d", what, len(got), len(want))
	}
	for i, v := range want {
		if math.Abs(float64(got[i]-v)) > 2e-4 {
			t.Fatalf("%s: number %d is %g, the trained model has %g", what, i, got[i], v)
		}
	}
}

func TestShuffled(t *testing.T) {
	for _, n := range []uint64{1, 2, 7, 100} {
		for epoch := uint64(0); epoch < 3; epoch++ {
			seen := make([]bool, n)
			for i := uint64(0); i < n; i++ {
				k := shuffled(i, n, 5, epoch)
				if seen[k] {
					t.Fatalf("%d of %d comes twice in epoch %d", k, n, epoch)
				}
				seen[k] = true
			}
		}
	}
}

func TestRecipeErrors(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"json": `{`, "unknown": `{"depth": 3}`, "patch": `{"vision": {"image_size": 90, "patch_size": 8, "width": 64, "layers": 1, "heads": 1}}`,
		"objective": `{"objective": "magic"}`, "batch": `{"batch": 1}`, "rate": `{"learning_rate": -1}`, "two": `{} {}`,
		"mosaics": `{"mosaics": 3, "objective": "pacl"}`, "projector": `{"projector": 64}`, "class blocks": `{"class_blocks": 1, "objective": "pacl"}`,
		"all blocks": `{"class_blocks": 4, "objective": "clip+pacl"}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadConfig(path); err == nil {
			t.Errorf("recipe %s is taken: %s", name, text)
		}
	}
}

// Mosaics take their share of the steps and lie evenly among the others, which come last in each turn.
func TestMosaicsLieEvenly(t *testing.T) {
	for share, expected := range map[float64]string{0: "--------", 0.5: "x-x-x-x-", 0.75: "xxx-xxx-", 0.875: "xxxxxxx-", 1: "xxxxxxxx"} {
		got := ""
		for step := range 10 {
			if c := (Config{SmallSteps: 2, Mosaics: share}); c.mosaicAt(step) {
				got += "x"
			} else {
				got += "-"
			}
		}
		if wanted := "--" + (expected + expected)[2:10]; got != wanted {
			t.Errorf("a share of %g after two small steps: %s, expected %s", share, got, wanted)
		}
	}
}

// TestRun trains from a source of photos, is interrupted, and ends with the files of an undisturbed run.
func TestRun(t *testing.T) {
	c := smallRecipe()
	photos := func() *Photos {
		p, err := LoadPhotos(t.Context(), scene.NewSource(scene.SourceOptions{Count: 20, Width: 30, Height: 26}), c.Vision.ImageSize)
		if err != nil {
			t.Fatal(err)
		}
		p.Mirror = true
		return p
	}
	whole, parts := t.TempDir(), t.TempDir()
	if _, err := Run(t.Context(), RunOptions{Config: c, Examples: photos(), Out: whole}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, RunOptions{Config: c, Examples: photos(), Out: parts, Progress: func(r Record) {
		if r.Step == 3 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted run ended with %v", err)
	}
	if _, err := Run(t.Context(), RunOptions{Config: c, Examples: photos(), Out: parts}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"model.safetensors", "vocab.json", "merges.txt", "config.json", "preprocessor_config.json"} {
		a, errA := os.ReadFile(filepath.Join(whole, name))
		b, errB := os.ReadFile(filepath.Join(parts, name))
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a, b) {
			t.Errorf("%s differs after an interruption", name)
		}
	}
	c.Seed++
	early, next := t.TempDir(), t.TempDir()
	first, err := Run(t.Context(), RunOptions{Config: c, Examples: photos(), Out: early, Until: 2})
	if err != nil || first.Steps() != 2 {
		t.Fatalf("a run until step 2 ended at %d: %v", first.Steps(), err)
	}
	second, err := Run(t.Context(), RunOptions{Config: c, Examples: photos(), Out: next, From: filepath.Join(early, "checkpoint"), Until: 1})
	if err != nil || second.Recipe() == first.Recipe() {
		t.Fatalf("a run from a checkpoint has recipe %s, the checkpoint's is %s: %v", second.Recipe(), first.Recipe(), err)
	}
	// Ids mean what they meant in the checkpoint, whatever the captions of the second recipe are.
	words, err := LoadPhotos(t.Context(), scene.NewSource(scene.SourceOptions{Options: scene.Options{MinObjects: 4}, First: 900, Count: 9}), c.Vision.ImageSize)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := NewTrainer(c, words)
	if err != nil {
		t.Fatal(err)
	}
	begun, err := Run(t.Context(), RunOptions{Config: c, Examples: words, Out: t.TempDir(), From: filepath.Join(early, "checkpoint"), Until: 1})
	if err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(fresh.vocabulary, first.vocabulary) || !reflect.DeepEqual(begun.vocabulary, first.vocabulary) {
		t.Error("the vocabulary of the checkpoint is not taken over")
	}
	other := c
	other.Projection = 8
	if _, err := Run(t.Context(), RunOptions{Config: other, Examples: photos(), Out: t.TempDir(), From: filepath.Join(early, "checkpoint")}); err == nil {
		t.Error("a start of other sizes is taken")
	}
	if _, err := Run(t.Context(), RunOptions{Config: c, Examples: photos(), Out: parts}); err == nil {
		t.Error("the checkpoint of another recipe is taken")
	}
	if _, err := LoadPhotos(t.Context(), scene.NewSource(scene.SourceOptions{}), 24); err == nil {
		t.Error("an empty source is taken")
	}
}
