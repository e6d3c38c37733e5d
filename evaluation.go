package pacl

import (
	"context"
	"errors"
	"fmt"

	"github.com/pacl/pacl/align"
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
	ImagePrior float64            // weight of the photo as a whole, as SegmentOptions have it
	Refine     readout.Refinement // by the colours of the photo; the zero value is none
	Run        evaluate.RunOptions
	// More stands in the protocol line beside what the experiment itself says: how a threshold was found, for one.
	More map[string]string
}

// measured is what the experiments on a data set with masks share.
type measured struct {
	vocabulary *Vocabulary
	protocol   evaluate.Protocol
}

// prepare encodes the classes. A class that a names table lacks stays and scores nothing.
func (m *Model) prepare(ctx context.Context, classes []evaluate.Class, o EvaluateOptions) (r measured, err error) {
	if !o.Synonyms {
		classes = evaluate.WithoutSynonyms(classes)
	}
	labels := make([]Label, len(classes))
	for i, class := range classes {
		labels[i] = Label{Name: class.Name, Words: class.Words}
	}
	r.vocabulary, err = m.Vocabulary(ctx, labels, VocabularyOptions{Templates: o.Templates, AllowUnknown: true})
	if err != nil {
		return r, err
	}
	if r.protocol, err = m.protocol(o); err != nil {
		return r, err
	}
	if unknown := len(r.vocabulary.Unknown); unknown > 0 {
		r.protocol.Known, r.protocol.Names = len(labels)-unknown, len(labels)
	}
	return r, nil
}

// scores encodes a photo and scores it against words.
func (m *Model) scores(ctx context.Context, photo *imaging.Image, v *Vocabulary, o ImageOptions) (readout.Scores, error) {
	encoded, err := m.Encode(ctx, photo, o)
	if err != nil {
		return readout.Scores{}, err
	}
	return m.Scores(ctx, encoded, v)
}

// segmenter returns a function that labels photos with classes, and the protocol so far.
func (m *Model) segmenter(ctx context.Context, classes []evaluate.Class, o EvaluateOptions) (evaluate.SegmenterFunc, evaluate.Protocol, error) {
	r, err := m.prepare(ctx, classes, o)
	if err != nil {
		return nil, r.protocol, err
	}
	return func(ctx context.Context, photo *imaging.Image) (*imaging.Mask, error) {
		scores, err := m.scores(ctx, photo, r.vocabulary, o.Image)
		if err != nil {
			return nil, err
		}
		result, err := m.SegmentScores(ctx, scores, r.vocabulary, SegmentOptions{Background: o.Background, ImagePrior: o.ImagePrior, Refine: o.Refine, Photo: photo})
		if err != nil {
			return nil, err
		}
		return result.Mask, nil
	}, r.protocol, nil
}

// Evaluate measures a model's segmentation on a data set. A class that a names table lacks counts with IoU 0.
func (m *Model) Evaluate(ctx context.Context, d *evaluate.Dataset, o EvaluateOptions) (*evaluate.SegmentationResult, error) {
	segment, protocol, err := m.segmenter(ctx, d.Classes, o)
	if err != nil {
		return nil, err
	}
	return evaluate.Segmentation(ctx, d, segment, protocol, o.Run)
}

// shareSegmenter adapts a function to evaluate.ShareSegmenter.
type shareSegmenter func(ctx context.Context, photo *imaging.Image) (*imaging.Mask, []float32, error)

// SegmentShares calls the function.
func (f shareSegmenter) SegmentShares(ctx context.Context, photo *imaging.Image) (*imaging.Mask, []float32, error) {
	return f(ctx, photo)
}

// SweepBackground measures background thresholds in one pass over a data set with a background class, which should be a
// training split, and returns all of them with their mIoU and the best one.
func (m *Model) SweepBackground(ctx context.Context, d *evaluate.Dataset, thresholds []float64, o EvaluateOptions) ([]evaluate.SweepPoint, evaluate.SweepPoint, error) {
	r, err := m.prepare(ctx, d.Classes, o)
	if err != nil {
		return nil, evaluate.SweepPoint{}, err
	}
	segment := func(ctx context.Context, photo *imaging.Image) (*imaging.Mask, []float32, error) {
		scores, err := m.scores(ctx, photo, r.vocabulary, o.Image)
		if err != nil {
			return nil, nil, err
		}
		labelled, err := m.labels(ctx, scores, SegmentOptions{ImagePrior: o.ImagePrior, Refine: o.Refine, Photo: photo}, true)
		if err != nil {
			return nil, nil, err
		}
		return &imaging.Mask{Width: labelled.Width, Height: labelled.Height, ID: labelled.ID}, labelled.Confidence, nil
	}
	return evaluate.Sweep(ctx, d, shareSegmenter(segment), thresholds, o.Run)
}

// MosaicOptions say what mosaics are laid from.
type MosaicOptions struct {
	Captions  string
	Source    caption.Options
	Seed      uint64
	Count     int     // mosaics; 0 = 200
	Tiles     int     // per side; 0 = 2
	Pixels    int     // side of a mosaic; 0 = 448
	MinPhotos int     // of a name that competes; 0 = 4
	Border    float64 // share of a tile's side that is not scored at each of its edges
	// Photos are those that tiles are taken from: all (or empty), or those that the head kept out of its training, by which
	// recipes are compared.
	Photos MosaicPhotos
}

// MosaicPhotos says which captioned photos become tiles.
type MosaicPhotos string

// The choices of photos.
const (
	MosaicAll     MosaicPhotos = "all"
	MosaicHeldOut MosaicPhotos = "held-out"
)

// MosaicDataset is a data set of mosaics. It reads its tiles when they are asked for, so that it has to be closed.
type MosaicDataset struct {
	*evaluate.Dataset
	source caption.Source
}

// Close closes the captioned photos.
func (d *MosaicDataset) Close() error { return d.source.Close() }

// Mosaics lays seeded mosaics of captioned photos, whose tiles are the masks: a data set that ranks models without any
// masks, and that hyper-parameters can therefore be chosen by. The names are those of the model's names table.
func (m *Model) Mosaics(ctx context.Context, o MosaicOptions) (*MosaicDataset, error) {
	table, ok := m.text.(*encoder.Names)
	if !ok {
		return nil, errors.New("mosaics need a names table as the text encoder: its names are what captions are searched for")
	}
	source, err := caption.Open(o.Captions, o.Source)
	if err != nil {
		return nil, err
	}
	names := make([]string, table.Info().Vocabulary)
	for i := range names {
		names[i] = table.Name(i)
	}
	keep, err := m.mosaicPhotos(&o, source.Hash())
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	d, err := evaluate.Mosaics(ctx, source, evaluate.MosaicOptions{
		Names: names, Find: table, Count: o.Count, Tiles: o.Tiles, Pixels: o.Pixels, Seed: o.Seed,
		MinPhotos: o.MinPhotos, Border: o.Border, Keep: keep, Photos: string(o.Photos),
	})
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	return &MosaicDataset{d, source}, nil
}

// mosaicPhotos settles which photos become tiles and returns what chooses them by their keys, nil for all.
func (m *Model) mosaicPhotos(o *MosaicOptions, captions string) (func(key string) bool, error) {
	if o.Photos == "" {
		o.Photos = MosaicAll
	}
	switch {
	case o.Photos == MosaicAll:
		return nil, nil
	case o.Photos != MosaicHeldOut:
		return nil, fmt.Errorf("mosaics: photos %q, expected %s or %s", o.Photos, MosaicAll, MosaicHeldOut)
	case m.head == nil || m.head.Description.Recipe.Validation == 0:
		return nil, fmt.Errorf("mosaics: model %s kept no photos out of its training", m.name)
	case m.head.Description.Data.Hash != captions:
		return nil, fmt.Errorf("mosaics: model %s was trained on other captions, so that none of these were kept out", m.name)
	}
	share := m.head.Description.Recipe.Validation
	return func(key string) bool { return align.HeldOut(key, share) }, nil
}
