package pacl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/hub"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/pretrain"
)

// FeatureOptions say what the frozen encoders are run over, and how.
type FeatureOptions struct {
	// Captions is a list, folder or shards of captioned images; see package caption.
	Captions        string
	CaptionOptions  caption.Options
	Vision, Text    string   // encoders: directories, hub ids or names in PACL_MODELS; Text may be NoText
	VisionID        string   // hub id believed to hold the vision encoder, for the card
	Precision       string   // "bf16", "f32" or "" for the fastest
	Tokenizer       string   // directory of a tokenizer where the weights have none
	Dir             string   // where the cache is written
	Size            int      // side of the square input, pixels; 0 = the encoder's own
	Stride          int      // of the patch embedding; 0 = the patch size
	Layer           int      // block whose tokens are kept; 0 = the last
	Squash          bool     // squash photos to the square instead of cropping its middle
	Flip            bool     // cache mirrored views
	Crops           int      // cached random crops of each photo
	MinScale        float64  // of the smallest crop
	Seed            uint64   // of the crops
	PhraseTemplates []string // noun phrases of captions in these templates become extra texts; nil = none
	Shard           int      // this part, from 0
	Shards          int      // of so many; 0 = 1
	FailureShare    float64  // of images that may be unreadable; 0 = a tenth
	// Estimated, where not nil, is told before the run what it is expected to take.
	Estimated func(Estimate)
	Progress  func(feature.ExtractProgress)
}

// NoText stands for a text encoder where features are made to train one.
const NoText = "none"

// Features runs the frozen encoders over captioned images once and writes a cache of patch tokens and sentence vectors. It
// goes on where an earlier run stopped.
func Features(ctx context.Context, o FeatureOptions) (feature.Report, error) {
	precision, err := ParsePrecision(o.Precision)
	if err != nil {
		return feature.Report{}, err
	}
	visionDir, err := hub.Resolve(o.Vision)
	if err != nil {
		return feature.Report{}, fmt.Errorf("vision encoder: %w", err)
	}
	vision, err := encoder.OpenVision(visionDir, encoder.Options{Precision: precision})
	if err != nil {
		return feature.Report{}, err
	}
	text, err := openText(o, precision)
	if err != nil {
		return feature.Report{}, err
	}
	source, err := caption.Open(o.Captions, o.CaptionOptions)
	if err != nil {
		return feature.Report{}, err
	}
	defer source.Close()
	extract := feature.ExtractOptions{
		Dir: o.Dir, Vision: vision, Text: text, Source: source, Size: o.Size, Stride: o.Stride, Layer: o.Layer,
		Views:        feature.Views{Flip: o.Flip, Crops: o.Crops, MinScale: o.MinScale, Seed: o.Seed},
		Phrases:      feature.Phrases{Templates: o.PhraseTemplates},
		Part:         feature.Part{Index: o.Shard, Count: max(o.Shards, 1)},
		FailureShare: o.FailureShare, Progress: o.Progress,
	}
	if o.Squash {
		extract.Fit = feature.FitSquash
	}
	if extract.VisionRecord, err = visionRecord(vision, o); err != nil {
		return feature.Report{}, err
	}
	if extract.TextRecord, err = textRecord(text, o.Text); err != nil {
		return feature.Report{}, err
	}
	_, extract.Phrases.Names = text.(*encoder.Names)
	if o.Estimated != nil {
		o.Estimated(estimateFeatures(vision.Info(), text.Width(), extract, source.Len(), precision))
	}
	return feature.Extract(ctx, extract)
}

func openText(o FeatureOptions, precision kernel.Precision) (encoder.Text, error) {
	if o.Text == NoText {
		return pretrain.NoText{}, nil
	}
	dir, err := hub.Resolve(o.Text)
	if err != nil {
		return nil, fmt.Errorf("text encoder: %w", err)
	}
	return encoder.OpenText(dir, encoder.Options{Precision: precision, Tokenizer: o.Tokenizer})
}

func visionRecord(v *encoder.Vision, o FeatureOptions) (r feature.EncoderRecord, err error) {
	for _, id := range []string{o.VisionID, o.Vision} {
		if hub.IsID(id) && !exists(id) && !slices.Contains(r.HubIDs, id) {
			r.HubIDs = append(r.HubIDs, id)
		}
	}
	r.Probe, err = ProbeVision(v, o.Layer)
	return r, err
}

func textRecord(t encoder.Text, reference string) (feature.EncoderRecord, error) {
	info := t.Info()
	r := feature.EncoderRecord{Family: info.Family, Name: filepath.Base(info.Dir), Hash: info.Hash, Template: info.Template}
	for _, id := range []string{info.Source, reference} {
		if hub.IsID(id) && !exists(id) {
			r.HubIDs = append(r.HubIDs, id)
		}
	}
	if table, ok := t.(*encoder.Names); ok {
		r.Mean = table.Mean()
	}
	word, probe, err := ProbeText(t)
	if r.Probe = probe; word != probeWord {
		r.ProbeText = word
	}
	return r, err
}

// TrainOptions say how a head is trained.
type TrainOptions struct {
	// Features are the directories of a cache; without them one is made in Extract.Dir (default Out + ".features").
	Features []string
	Extract  FeatureOptions
	// InputSize is the short side at which the model will segment; 0 = the size of the features.
	InputSize int
	// Scales and Mirror say how often the model will look at a photo, as ImageOptions have it.
	Scales int
	Mirror bool
	// ImagePrior is the weight that the photo as a whole will have in what its pixels are; see readout.Prior.
	ImagePrior float64
	Out        string // model directory; its folder "training" holds checkpoint, log and curves
	// Recipe changes the default recipe for the cache's widths. One that starts at the projection needs Extract.Vision beside
	// Features, too, and makes the head as wide as the projection.
	Recipe          func(*align.Recipe)
	CheckpointEvery int
	DataName        string   // for the card
	Licences        []string // of the data, for the card
	Notes           []string // more for the card
	// Estimated, where not nil, is told before the training what it is expected to take.
	Estimated func(Estimate)
	// Extracted is called between extraction and training.
	Extracted func(feature.Report)
	Progress  func(align.Progress)
}

// Training is the outcome of Train.
type Training struct {
	Model  *align.Model
	Result *align.TrainResult
}

// Train trains a head on captioned images, or on a cache of their features, and writes a PACL model directory. A training
// that was interrupted goes on where its last checkpoint was and ends with the same head.
func Train(ctx context.Context, o TrainOptions) (*Training, error) {
	if o.Out == "" {
		return nil, errors.New("train: no directory to write the model to")
	}
	if len(o.Features) == 0 {
		if o.Extract.Dir == "" {
			o.Extract.Dir = filepath.Clean(o.Out) + ".features"
		}
		report, err := Features(ctx, o.Extract)
		if err != nil {
			return nil, err
		}
		if o.Extracted != nil {
			o.Extracted(report)
		}
		o.Features = []string{o.Extract.Dir}
	}
	cache, err := feature.Open(o.Features...)
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	recipe := align.DefaultRecipe(cache.TokenWidth(), cache.TextWidth())
	if o.Recipe != nil {
		o.Recipe(&recipe)
	}
	if o.Estimated != nil {
		o.Estimated(estimateTraining(cache, recipe))
	}
	var start *align.Linear[float32]
	if recipe.Start == align.StartProjection {
		if start, err = projection(cache, o.Extract.Vision); err != nil {
			return nil, fmt.Errorf("train: start at the projection: %w", err)
		}
		recipe.Head.Width = start.Out
	}
	training := filepath.Join(o.Out, "training")
	result, err := align.Train(ctx, cache, align.TrainOptions{
		Recipe: recipe, Dir: training, CheckpointEvery: o.CheckpointEvery, Projection: start, Progress: o.Progress,
	})
	if err != nil {
		return nil, err
	}
	if err := drawCurves(training); err != nil {
		return nil, err
	}
	model := &align.Model{Description: describe(cache, recipe, result, o), Head: result.Head, NamesMean: cache.Manifest().Text.Mean}
	if err := model.Save(o.Out, ""); err != nil {
		return nil, err
	}
	return &Training{model, result}, nil
}

// projection is the map of a vision encoder's tokens into the space of texts; it must be the encoder that the features are of.
func projection(cache *feature.Cache, vision string) (*align.Linear[float32], error) {
	if vision == "" {
		return nil, errors.New("no vision encoder is named")
	}
	dir, err := hub.Resolve(vision)
	if err != nil {
		return nil, err
	}
	v, err := encoder.OpenVision(dir, encoder.Options{Precision: kernel.Float32})
	if err != nil {
		return nil, err
	}
	if made := cache.Manifest().Vision; v.Info().Hash != made.Hash {
		return nil, fmt.Errorf("%s is not %s, which the features were made by", dir, made.Name)
	}
	w := v.Info().Width
	units := make([]float32, (w+1)*w) // the last row stays zero and gives the bias
	for i := range w {
		units[i*w+i] = 1
	}
	rows, err := v.Project(units)
	if err != nil {
		return nil, err
	}
	d := v.Info().ProjectionDim
	p := &align.Linear[float32]{Out: d, In: w, Weight: make([]float32, d*w), Bias: rows[w*d:]}
	for i := range w {
		for j := range d {
			p.Weight[j*w+i] = rows[i*d+j] - p.Bias[j]
		}
	}
	return p, nil
}

func describe(cache *feature.Cache, recipe align.Recipe, result *align.TrainResult, o TrainOptions) align.Description {
	m := cache.Manifest()
	reference := func(r feature.EncoderRecord) align.EncoderReference {
		return align.EncoderReference{Family: r.Family, Name: r.Name, Hash: r.Hash, Width: r.Width, HubIDs: r.HubIDs, Template: r.Template, Probe: r.Probe, ProbeText: r.ProbeText}
	}
	d := align.Description{
		Vision: reference(m.Vision), Text: reference(m.Text),
		InputSize: m.Preprocessing.Size, Stride: m.Preprocessing.Stride, Layer: m.Preprocessing.Layer,
		Scales: o.Scales, Mirror: o.Mirror, ImagePrior: o.ImagePrior,
		Data: align.Data{
			Name: o.DataName, Hash: m.DataHash, Images: cache.Len(), Training: result.Training,
			Validation: cache.Len() - result.Training, Licences: o.Licences,
		},
		Notes: o.Notes, Recipe: recipe, Scores: map[string]float64{"train loss": result.Last.Loss},
	}
	if o.InputSize > 0 {
		d.InputSize = o.InputSize
	}
	if v := result.Validation; v != nil {
		d.Scores["validation loss"] = v.Loss
		d.Scores["validation image-to-text recall at 1"] = v.ImageToText
		d.Scores["validation text-to-image recall at 1"] = v.TextToImage
	}
	return d
}
