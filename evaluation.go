package pacl

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/evaluate"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/readout"
)

// EvaluateOptions say how a model is measured. Zeros are the model's own.
type EvaluateOptions struct {
	Image      ImageOptions
	Templates  string
	Synonyms   bool // score all words of a class, not only the first
	Background float64
	Run        evaluate.RunOptions
}

// Evaluate measures a model's segmentation on a data set. A class that a names table lacks counts with IoU 0.
func (m *Model) Evaluate(ctx context.Context, d *evaluate.Dataset, o EvaluateOptions) (*evaluate.SegmentationResult, error) {
	classes := d.Classes
	if !o.Synonyms {
		classes = evaluate.WithoutSynonyms(classes)
	}
	labels := make([]Label, len(classes))
	for i, class := range classes {
		labels[i] = Label{Name: class.Name, Words: class.Words}
	}
	if o.Templates == "" {
		o.Templates = m.Info().Templates
	}
	options := VocabularyOptions{Templates: o.Templates, AllowUnknown: true}
	vocabulary, err := m.Vocabulary(ctx, labels, options)
	if err != nil {
		return nil, err
	}
	segment := func(ctx context.Context, photo *imaging.Image) (*imaging.Mask, error) {
		encoded, err := m.Encode(ctx, photo, o.Image)
		if err != nil {
			return nil, err
		}
		result, err := m.Segment(ctx, encoded, vocabulary, SegmentOptions{Background: o.Background})
		if err != nil {
			return nil, err
		}
		return result.Mask, nil
	}
	protocol, err := m.protocol(o)
	if err != nil {
		return nil, err
	}
	if len(vocabulary.Unknown) > 0 {
		protocol.Known, protocol.Names = len(labels)-len(vocabulary.Unknown), len(labels)
	}
	return evaluate.Segmentation(ctx, d, evaluate.SegmenterFunc(segment), protocol, o.Run)
}

// protocol is the line that tells how a number was made.
func (m *Model) protocol(o EvaluateOptions) (evaluate.Protocol, error) {
	info := m.Info()
	p := evaluate.Protocol{
		Size:   readout.InputSize{Short: o.Image.Size, Width: o.Image.Width, Height: o.Image.Height},
		Stride: o.Image.Stride, Window: o.Image.Window, WindowStride: o.Image.WindowStride,
		Synonyms: o.Synonyms, Threshold: o.Background,
	}
	if p.Size == (readout.InputSize{}) {
		p.Size.Short = info.InputSize
	}
	if p.Stride == 0 {
		p.Stride = info.Stride
	}
	if p.Window > 0 && p.WindowStride == 0 {
		p.WindowStride = max(p.Window/2/p.Stride, 1) * p.Stride
	}
	switch o.Templates {
	case "none", "table":
		p.Templates = o.Templates
	default:
		templates, err := caption.Templates(o.Templates)
		if err != nil {
			return p, err
		}
		p.Templates = fmt.Sprint(len(templates))
	}
	return p, nil
}

// MosaicOptions say what mosaics are laid from.
type MosaicOptions struct {
	Captions string
	Source   caption.Options
	Seed     uint64
	Count    int // mosaics; 0 = 200
	Tiles    int // per side; 0 = 2
	Pixels   int // side of a mosaic; 0 = 448
}

// Mosaics lays seeded mosaics of captioned photos, whose tiles are the masks: a data set that ranks models without any
// masks, and that hyper-parameters can therefore be chosen by. The names are those of the model's names table.
func (m *Model) Mosaics(ctx context.Context, o MosaicOptions) (*evaluate.Dataset, error) {
	table, ok := m.text.(*encoder.Names)
	if !ok {
		return nil, errors.New("mosaics need a names table as the text encoder: its names are what captions are searched for")
	}
	source, err := caption.Open(o.Captions, o.Source)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	names := make([]string, table.Info().Vocabulary)
	for i := range names {
		names[i] = table.Name(i)
	}
	return evaluate.Mosaics(ctx, source, evaluate.MosaicOptions{
		Names: names, Find: table, Count: o.Count, Tiles: o.Tiles, Pixels: o.Pixels, Seed: o.Seed,
	})
}

// DatasetNames are the data sets that Evaluate knows.
func DatasetNames() []string { return slices.Clone(evaluate.Names()) }
