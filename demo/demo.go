// Package demo shows in under a minute, without network and without a photo, what PACL does: it draws scenes that the
// built-in model has never seen, segments them by words, measures the encoder before and after alignment, trains a small
// head live, and writes one HTML page with its pictures.
package demo

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/evaluate"
	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/scene"
)

// Options of Run.
type Options struct {
	// Model is a PACL model directory and CLIP the directory of its encoders.
	Model, CLIP string
	// Out gets the page and the pictures.
	Out string
	// Scenes is how many unseen scenes are measured, 0: 60. Seed chooses them.
	Scenes int
	Seed   uint64
	// Training is how many scenes the live head learns from, 0: 600; negative leaves it out.
	Training int
	// Progress, where not nil, is told what is being done and how much of it.
	Progress func(stage string, done, total int)
}

// Report is what the demonstration found. Shares go from 0 to 1.
type Report struct {
	Page     string        `json:"page"`
	Pictures []string      `json:"pictures"`
	Methods  []Method      `json:"methods"`
	Live     *Live         `json:"live,omitempty"`
	Protocol string        `json:"protocol"`
	Scenes   int           `json:"scenes"`
	Seconds  float64       `json:"seconds"`
	shown    []picture     // for the page
	took     time.Duration // of one scene's segmentation
}

// Method is a way of reading patches out, measured.
type Method struct {
	Name      string  `json:"name"`
	About     string  `json:"about"`
	MIoU      float64 `json:"miou"`           // kinds, ground not scored
	Novel     float64 `json:"miou_novel"`     // on pairs of kind and colour that training never held
	Patches   float64 `json:"patch_accuracy"` // nearest text of a patch is its label
	Coherence float64 `json:"coherence"`      // area under the ROC curve of patch pairs
}

// Live is the small head that was trained while the user watched.
type Live struct {
	Scenes    int       `json:"scenes"`
	Steps     int       `json:"steps"`
	FirstLoss float64   `json:"first_loss"`
	LastLoss  float64   `json:"last_loss"`
	Losses    []float64 `json:"losses"`
	MIoU      float64   `json:"miou"`
	Seconds   float64   `json:"seconds"`
}

// unseen is where the seeds of scenes for measuring begin, far from those of training, which begin at 2^32.
const unseen = 1_000_000

// Run makes the demonstration.
func Run(ctx context.Context, o Options) (*Report, error) {
	report, err := run(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return report, nil
}

func run(ctx context.Context, o Options) (*Report, error) {
	started := time.Now()
	if o.Scenes <= 0 {
		o.Scenes = 60
	}
	if o.Training == 0 {
		o.Training = 600
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "pacl-demo-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)

	model, err := openHead(ctx, o.Model, o.CLIP)
	if err != nil {
		return nil, err
	}
	report := &Report{Scenes: o.Scenes}
	if err := report.show(ctx, model, o); err != nil {
		return nil, err
	}
	sets, err := testSets(ctx, work, o, model.Info().InputSize)
	if err != nil {
		return nil, err
	}
	methods := []struct{ name, readout, about string }{
		{"plain", "plain", "CLIP's own projection of its patch tokens"},
		{"MaskCLIP", "maskclip", "values of the last block only"},
		{"SCLIP", "sclip", "query-query and key-key attention"},
		{"ClearCLIP", "clearclip", "query-query attention, no residual, no MLP"},
		{"NACLIP", "naclip", "key-key attention of neighbours, no residual, no MLP"},
		{"PACL", "", "the trained head"},
	}
	for i, method := range methods {
		o.Progress("measuring read-outs", i, len(methods))
		m := model
		if method.readout != "" {
			if m, err = pacl.Open(ctx, pacl.Options{Vision: o.CLIP, Readout: method.readout}); err != nil {
				return nil, err
			}
		}
		row, protocol, err := measure(ctx, m, sets)
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", method.name, err)
		}
		row.Name, row.About = method.name, method.about
		report.Methods = append(report.Methods, row)
		report.Protocol = protocol
	}
	o.Progress("measuring read-outs", len(methods), len(methods))
	if o.Training > 0 {
		if report.Live, err = trainLive(ctx, work, sets[0], o); err != nil {
			return nil, fmt.Errorf("train a head: %w", err)
		}
	}
	report.Seconds = time.Since(started).Seconds()
	return report, report.writePage(o.Out)
}

// fineStride is half of the patch size: four times as many patches, for outlines.
func fineStride(m *pacl.Model) int { return max(1, m.Info().Vision.PatchSize/2) }

func openHead(ctx context.Context, dir, clip string) (*pacl.Model, error) {
	return pacl.Open(ctx, pacl.Options{Model: dir, Vision: clip, Text: clip})
}

// testSets writes the scenes to measure: of seen pairs of kind and colour, and of never-trained ones.
func testSets(ctx context.Context, work string, o Options, size int) ([]*evaluate.Dataset, error) {
	var sets []*evaluate.Dataset
	for i, split := range []scene.Split{scene.Train, scene.Novel} {
		dir := filepath.Join(work, fmt.Sprintf("scenes%d", i))
		options := scene.SourceOptions{Options: scene.Options{Split: split, MinObjects: 2}, First: unseen + o.Seed, Count: o.Scenes, Width: size}
		err := scene.WriteSegmentation(ctx, dir, options, func(n int) {
			o.Progress("drawing scenes", i*o.Scenes+n, 2*o.Scenes)
		})
		if err != nil {
			return nil, err
		}
		set, err := evaluate.Open("folder", dir, evaluate.OpenOptions{})
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// measure returns a method's figures on scenes of seen and of never-trained pairs.
func measure(ctx context.Context, m *pacl.Model, sets []*evaluate.Dataset) (row Method, protocol string, err error) {
	// All methods look at the same grid, whatever stride is their own.
	o := pacl.EvaluateOptions{Templates: promptTemplate, Image: pacl.ImageOptions{Stride: fineStride(m)}}
	for i, set := range sets {
		result, err := m.Evaluate(ctx, set, o)
		if err != nil {
			return row, "", err
		}
		if i == 0 {
			row.MIoU, protocol = result.MIoU, result.Protocol
		} else {
			row.Novel = result.MIoU
		}
	}
	classified, err := m.EvaluatePatches(ctx, sets[0], o)
	if err != nil {
		return row, "", err
	}
	coherence, err := pacl.EvaluateCoherence(ctx, m, sets[0], o, evaluate.CoherenceOptions{})
	if err != nil {
		return row, "", err
	}
	row.Patches, row.Coherence = classified.Accuracy, coherence.AUC
	return row, protocol, nil
}

// trainLive extracts features of fresh scenes, trains a head on them, and measures it.
func trainLive(ctx context.Context, work string, set *evaluate.Dataset, o Options) (*Live, error) {
	started := time.Now()
	vision, text, err := encoder.Open(o.CLIP, o.CLIP, encoder.Options{})
	if err != nil {
		return nil, err
	}
	features := filepath.Join(work, "features")
	source := scene.NewSource(scene.SourceOptions{First: 2 * unseen, Count: o.Training, Width: vision.Info().ImageSize})
	_, err = feature.Extract(ctx, feature.ExtractOptions{
		Dir: features, Vision: vision, Text: text, Source: source,
		VisionRecord: record(vision.Info()), TextRecord: record(text.Info()),
		Phrases:  feature.Phrases{Templates: []string{"a {}"}},
		Progress: func(p feature.ExtractProgress) { o.Progress("encoding scenes to learn from", p.Done, o.Training) },
	})
	if err != nil {
		return nil, err
	}
	live := &Live{Scenes: o.Training}
	training, err := pacl.Train(ctx, pacl.TrainOptions{
		Features: []string{features}, Out: filepath.Join(work, "head"), DataName: "generated scenes",
		Recipe: func(r *align.Recipe) { r.Epochs, r.Batch, r.Warmup, r.Rate = 6, min(64, o.Training/4), 10, 2e-3 },
		Progress: func(p align.Progress) {
			live.Losses = append(live.Losses, p.Loss)
			o.Progress(fmt.Sprintf("training a head, loss %.3f", p.Loss), p.Step, p.Steps)
		},
	})
	if err != nil {
		return nil, err
	}
	live.Steps, live.FirstLoss, live.LastLoss = training.Result.Steps, live.Losses[0], live.Losses[len(live.Losses)-1]
	live.Seconds = time.Since(started).Seconds()
	m, err := openHead(ctx, filepath.Join(work, "head"), o.CLIP)
	if err != nil {
		return nil, err
	}
	result, err := m.Evaluate(ctx, set, pacl.EvaluateOptions{Templates: promptTemplate, Image: pacl.ImageOptions{Stride: fineStride(m)}})
	if err != nil {
		return nil, err
	}
	live.MIoU = result.MIoU
	return live, nil
}

func record(info encoder.Info) feature.EncoderRecord {
	return feature.EncoderRecord{Family: info.Family, Name: info.Name(), Hash: info.Hash, Width: info.Width}
}

// promptTemplate is what labels are put into, as captions have their nouns.
const promptTemplate = "a {}"

// bestTrainingFree is the best mIoU of the read-outs that need no training.
func (r *Report) bestTrainingFree() float64 {
	best := math.Inf(-1)
	for _, m := range r.Methods {
		if m.Name != "PACL" {
			best = math.Max(best, m.MIoU)
		}
	}
	return best
}
