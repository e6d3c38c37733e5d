package serve

import (
	"context"
	"path/filepath"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/readout"
)

// NewEngine lets the service use a model under a name, by default the model's own.
func NewEngine(m *pacl.Model, name string) Engine {
	info := m.Info()
	if name == "" {
		name = info.Name
	}
	d := Description{
		Name: name, Vision: filepath.Base(info.Vision.Dir), Text: filepath.Base(info.Text.Dir), Method: info.Method,
		Width: info.Width, Patch: info.Vision.PatchSize, Size: info.InputSize, LogitScale: info.LogitScale,
		FixedVocabulary: info.Templates == "table", Strides: []int{info.Stride},
	}
	for stride := info.Stride / 2; stride >= 4; stride /= 2 {
		if info.Vision.PatchSize%stride == 0 {
			d.Strides = append(d.Strides, stride)
		}
	}
	engine := &modelEngine{model: m}
	for _, word := range []string{"person", "dog", "cat", "car", "tree", "grass", "sky", "road", "building", "water", "circle", "star"} {
		if len(d.Examples) < 8 && engine.knows(word) {
			d.Examples = append(d.Examples, word)
		}
	}
	engine.description = d
	return engine
}

type modelEngine struct {
	model       *pacl.Model
	description Description
}

// knows reports whether a word is in the model's vocabulary.
func (e *modelEngine) knows(word string) bool {
	_, err := e.Vocabulary(context.Background(), []pacl.Label{{Name: word, Words: []string{word}}})
	return err == nil
}

func (e *modelEngine) Describe() Description { return e.description }

// modelPhoto is pacl.Encoded with methods in place of its fields.
type modelPhoto struct{ *pacl.Encoded }

func (p modelPhoto) Geometry() readout.Geometry { return p.Encoded.Geometry }
func (p modelPhoto) Patches() []float32         { return p.Encoded.Patches }

func (e *modelEngine) Encode(ctx context.Context, photos []*imaging.Image, o ImageOptions) ([]Encoded, error) {
	results, err := e.model.EncodeBatch(ctx, photos, pacl.ImageOptions{
		Size: o.Size, Stride: o.Stride, Window: o.Window, WindowStride: o.WindowStride,
	})
	if err != nil {
		return nil, err
	}
	encoded := make([]Encoded, len(results))
	for i, r := range results {
		encoded[i] = modelPhoto{r}
	}
	return encoded, nil
}

func (e *modelEngine) Vocabulary(ctx context.Context, labels []pacl.Label) (Vocabulary, error) {
	return e.model.Vocabulary(ctx, labels, pacl.VocabularyOptions{})
}

func (e *modelEngine) Texts(ctx context.Context, texts []string) ([]float32, error) {
	return e.model.Texts(ctx, texts)
}

func (e *modelEngine) Scores(ctx context.Context, encoded Encoded, v Vocabulary) (readout.Scores, error) {
	return e.model.Scores(ctx, encoded.(modelPhoto).Encoded, v.(*pacl.Vocabulary))
}

func (e *modelEngine) Segment(ctx context.Context, photo *imaging.Image, encoded Encoded, v Vocabulary, o SegmentOptions) (*readout.Segmentation, error) {
	scores, err := e.Scores(ctx, encoded, v)
	if err != nil {
		return nil, err
	}
	options := readout.Options{LogitScale: e.description.LogitScale, Background: o.Background}
	if o.Temperature > 0 {
		options.LogitScale = 1 / o.Temperature
	}
	if o.Refine {
		return readout.SegmentRefined(ctx, scores, photo.Pix, readout.DefaultRefinement(), options)
	}
	return readout.Segment(ctx, scores, options)
}
