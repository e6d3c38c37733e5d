package serve

import (
	"context"
	"math"
	"path/filepath"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/models/builtin"
	"github.com/pacl/pacl/readout"
	"github.com/pacl/pacl/scene"
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
		FixedVocabulary: info.Templates == "table", Strides: []int{info.Stride}, Scales: info.Scales,
	}
	// The short side at the largest of the sizes that a photo is looked at.
	largest := float64(info.InputSize) * math.Pow(2, float64(max(info.Scales, 1)-1)/2)
	for stride := info.Stride / 2; stride >= 4; stride /= 2 {
		// Finer grids than this of a usual photo take most of a minute on small machines.
		const most = 8000
		if side := largest / float64(stride); side*side*4/3 > most {
			break
		}
		if info.Vision.PatchSize%stride == 0 {
			d.Strides = append(d.Strides, stride)
		}
	}
	engine := &modelEngine{model: m}
	for _, word := range exampleWords(info.Name) {
		// Any word can be put into a text tower, whose time is not spent on trying it.
		if len(d.Examples) < 8 && (!d.FixedVocabulary || engine.knows(word)) {
			d.Examples = append(d.Examples, word)
		}
	}
	if info.Name == builtin.Name {
		d.Languages = []string{"en", "ko"}
	}
	engine.description = d
	return engine
}

// exampleWords are words to suggest: kinds of things in scenes for the model that knows scenes, everyday ones otherwise.
func exampleWords(model string) []string {
	if model != builtin.Name {
		return []string{"person", "dog", "cat", "car", "tree", "grass", "sky", "road", "building", "water"}
	}
	words := make([]string, len(scene.Kinds))
	for i, kind := range scene.Kinds {
		words[i] = kind.Name()
	}
	return words
}

type modelEngine struct {
	model       *pacl.Model
	description Description
}

// knows reports whether a word is in the model's vocabulary.
func (e *modelEngine) knows(word string) bool {
	_, err := e.Labels(context.Background(), []pacl.Label{{Name: word, Words: []string{word}}})
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

func (e *modelEngine) Labels(ctx context.Context, labels []pacl.Label) ([]LabelVectors, error) {
	v, err := e.model.Vocabulary(ctx, labels, pacl.VocabularyOptions{})
	if err != nil {
		return nil, err
	}
	each := make([]LabelVectors, len(labels))
	for i, one := range v.Split() {
		each[i] = one
	}
	return each, nil
}

// joined is the vocabulary of all labels of a request.
func joined(labels []LabelVectors) (*pacl.Vocabulary, error) {
	parts := make([]*pacl.Vocabulary, len(labels))
	for i, one := range labels {
		parts[i] = one.(*pacl.Vocabulary)
	}
	return pacl.JoinVocabularies(parts)
}

func (e *modelEngine) Texts(ctx context.Context, texts []string) ([]float32, error) {
	return e.model.Texts(ctx, texts)
}

func (e *modelEngine) Scores(ctx context.Context, encoded Encoded, labels []LabelVectors) (readout.Scores, error) {
	v, err := joined(labels)
	if err != nil {
		return readout.Scores{}, err
	}
	return e.model.Scores(ctx, encoded.(modelPhoto).Encoded, v)
}

func (e *modelEngine) Prior() readout.Prior {
	return e.model.ReadoutOptions(pacl.SegmentOptions{}).Prior
}

func (e *modelEngine) Segment(ctx context.Context, photo *imaging.Image, encoded Encoded, labels []LabelVectors,
	o SegmentOptions) (*readout.Segmentation, error) {
	scores, err := e.Scores(ctx, encoded, labels)
	if err != nil {
		return nil, err
	}
	options := e.model.ReadoutOptions(pacl.SegmentOptions{Background: o.Background, Temperature: o.Temperature})
	if o.Refine {
		return readout.SegmentRefined(ctx, scores, photo.Pix, readout.DefaultRefinement(), options)
	}
	return readout.Segment(ctx, scores, options)
}
