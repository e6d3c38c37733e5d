package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/feature"
)

// captionFlags name captioned images.
type captionFlags struct {
	Captions      string `placeholder:"FILE" help:"Captioned images: TSV, CSV, JSONL, COCO JSON, parquet, WebDataset shards or a folder."`
	ImageColumn   string `placeholder:"NAME" help:"Column of the image path."`
	CaptionColumn string `placeholder:"NAME" help:"Column of the caption."`
	Root          string `placeholder:"DIR" help:"Folder that image paths start from. Default: the list's."`
}

// source says how the list is read.
func (f captionFlags) source() caption.Options {
	return caption.Options{ImageColumn: f.ImageColumn, CaptionColumn: f.CaptionColumn, Root: f.Root}
}

// extractFlags say how the encoders are run.
type extractFlags struct {
	captionFlags `group:"Captioned images:"`
	Vision       string  `group:"Encoders:" placeholder:"ENCODER" help:"Vision encoder: directory, hub id or name in PACL_MODELS."`
	Text         string  `group:"Encoders:" placeholder:"ENCODER" help:"Text encoder, likewise."`
	VisionID     string  `group:"Encoders:" placeholder:"ID" help:"Hub id believed to hold the vision encoder, for the model's card."`
	Tokenizer    string  `group:"Encoders:" placeholder:"DIR" help:"Where the tokenizer is, if not beside the weights."`
	Precision    string  `group:"Encoders:" enum:"bf16,f32," default:"" placeholder:"TYPE" help:"Operands of products: bf16 or f32. Default: the processor's fastest."`
	Size         int     `group:"What the encoder sees:" placeholder:"N" help:"Side of the square input in pixels. Default: the encoder's."`
	Stride       int     `group:"What the encoder sees:" placeholder:"N" help:"Stride of the patches. Default: the patch size."`
	Layer        int     `group:"What the encoder sees:" placeholder:"N" help:"Block whose tokens are used. Default: the last."`
	Squash       bool    `group:"What the encoder sees:" help:"Squash photos to a square instead of cropping its middle."`
	Flip         bool    `group:"What the encoder sees:" help:"Cache mirrored views of the photos."`
	Crops        int     `group:"What the encoder sees:" placeholder:"N" help:"Cache N random crops of each photo."`
	MinScale     float64 `group:"What the encoder sees:" default:"0.5" help:"Smallest crop: its side as a share of the photo's."`
	CropSeed     uint64  `group:"What the encoder sees:" default:"1" help:"Seed of the crops."`
	Phrases      string  `group:"Captioned images:" placeholder:"NAME" help:"Put noun phrases of captions into templates as extra texts: none, pacl7, clip80."`
	FailureShare float64 `group:"Captioned images:" default:"0.1" help:"Share of images that may be unreadable."`
}

func (f extractFlags) options(s *session, dir string) (pacl.FeatureOptions, error) {
	o := pacl.FeatureOptions{
		Captions:       f.Captions,
		CaptionOptions: f.source(),
		Vision:         f.Vision, Text: f.Text, VisionID: f.VisionID, Tokenizer: f.Tokenizer, Precision: f.Precision, Dir: dir,
		Size: f.Size, Stride: f.Stride, Layer: f.Layer, Squash: f.Squash,
		Flip: f.Flip, Crops: f.Crops, MinScale: f.MinScale, Seed: f.CropSeed,
		FailureShare: f.FailureShare, Estimated: estimated(s), Progress: extractProgress(s),
	}
	for _, missing := range []struct{ flag, value string }{{"--captions", f.Captions}, {"--vision", f.Vision}, {"--text", f.Text}} {
		if missing.value == "" {
			return o, usageError("missing flag " + missing.flag)
		}
	}
	if f.Phrases != "" {
		templates, err := caption.Templates(f.Phrases)
		if err != nil {
			return o, err
		}
		o.PhraseTemplates = templates
	}
	return o, nil
}

// estimated says what a run is expected to take before it begins.
func estimated(s *session) func(pacl.Estimate) {
	return func(e pacl.Estimate) { s.logf("%v", e) }
}

func extractProgress(s *session) func(feature.ExtractProgress) {
	show := s.progress()
	return func(p feature.ExtractProgress) {
		line := fmt.Sprintf("features: %d images, %.1f a second", p.Done, p.PerSecond)
		if p.Total >= 0 {
			line = fmt.Sprintf("features: %d of %d images, %.1f a second", p.Done, p.Total, p.PerSecond)
		}
		if p.Left > 0 {
			line += ", " + p.Left.Round(time.Second).String() + " left"
		}
		if p.Failed > 0 {
			line += fmt.Sprintf(", %d unreadable", p.Failed)
		}
		show(line, p.Done == p.Total)
	}
}

// printReport tells what an extraction left out.
func printReport(s *session, r feature.Report) {
	s.logf("%d of %d images are usable; %d without a usable caption, %d unreadable", r.Images, r.Samples, r.TextlessImages, len(r.Failures))
	const most = 5
	for i, failure := range r.Failures {
		if i == most {
			s.logf("  … and %d more", len(r.Failures)-most)
			break
		}
		s.logf("  %s: %s", quoteControls(failure.Key), quoteControls(failure.Error))
	}
}

// quoteControls quotes what would move a terminal's cursor or begin a line.
func quoteControls(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	return text
}

type featuresCommand struct {
	extractFlags
	Out   string `required:"" placeholder:"DIR" help:"Directory of the cache."`
	Shard string `placeholder:"I/N" help:"Do part I of N, counted from 0. /N: the number that a Slurm array or a Kubernetes Indexed Job gives; default: all, or an array's own numbers."`
}

func (c *featuresCommand) Run(s *session) error {
	o, err := c.options(s, c.Out)
	if err != nil {
		return err
	}
	part, err := parseShard(c.Shard, os.Getenv)
	if err != nil {
		return err
	}
	if part.source != "" {
		s.logf("part %d of %d, counted from 0, as %s says", part.index, part.count, part.source)
	}
	o.Shard, o.Shards = part.index, part.count
	report, err := pacl.Features(s, o)
	if err != nil {
		return err
	}
	printReport(s, report)
	return nil
}

type trainCommand struct {
	extractFlags
	Features  []string `placeholder:"DIR" help:"Directories of a cache made by pacl features; without them the encoders are run first."`
	Cache     string   `placeholder:"DIR" help:"Where the features go when the encoders are run. Default: OUT.features."`
	Out       string   `required:"" placeholder:"DIR" help:"Model directory to write."`
	InputSize int      `group:"The model that is written:" placeholder:"N" help:"Short side at which the model will segment. Default: the size of the features."`

	Scales     int     `group:"The model that is written:" placeholder:"N" help:"Sizes at which the model will look at a photo, each the root of 2 larger than the one before."`
	Mirror     bool    `group:"The model that is written:" help:"Let the model look at the mirror image as well."`
	ImagePrior float64 `group:"The model that is written:" placeholder:"X" help:"Weight of the photo as a whole in what the model will take its pixels for."`

	Epochs       int      `group:"Training:" placeholder:"N" help:"Passes over the images. Default: 10."`
	Batch        int      `group:"Training:" placeholder:"N" help:"Images whose captions are compared with each other. Default: 128."`
	Rate         float64  `group:"Training:" placeholder:"X" help:"Peak of the learning rate. Default: 0.001."`
	Warmup       int      `group:"Training:" default:"-1" placeholder:"N" help:"Steps of warm-up. Default: 20."`
	WeightDecay  float64  `group:"Training:" default:"-1" placeholder:"X" help:"Weight decay. Default: 0.01."`
	TauPatch     float64  `group:"Head:" placeholder:"X" help:"Temperature of the softmax over patches. Default: 0.07."`
	Pooling      string   `group:"Head:" enum:"pacl,mean," default:"" placeholder:"KIND" help:"pacl, or mean as the control. Default: pacl."`
	TextEmbedder string   `group:"Head:" enum:"none,frozen,trained," default:"" placeholder:"KIND" help:"Linear layer behind the text encoder: none, frozen or trained. Default: trained."`
	Start        string   `group:"Head:" enum:"random,projection" default:"random" placeholder:"KIND" help:"What the head starts as: random, or with --vision the CLIP's own projection of its patches, whose width it then has. Default: random."`
	Width        int      `group:"Head:" placeholder:"N" help:"Width of the shared space. Default: 256, or that of the text encoder if smaller or without a text embedder."`
	Hidden       int      `group:"Head:" placeholder:"N" help:"Hidden width of the head. Default: twice the tokens'."`
	LogitScale   float64  `group:"Head:" placeholder:"X" help:"Logit scale at the start. Default: 14.3."`
	FixScale     bool     `group:"Head:" help:"Keep the logit scale as it is."`
	Extras       float64  `group:"Training:" default:"-1" placeholder:"SHARE" help:"How often a caption gives way to one of its names or phrases. Default: 0.7."`
	Validation   float64  `group:"Training:" default:"-1" placeholder:"SHARE" help:"Share of images kept out for validation. Default: 0.1."`
	Seed         uint64   `group:"Training:" default:"1" help:"Seed of everything random."`
	Checkpoint   int      `group:"Training:" placeholder:"N" help:"Steps between checkpoints. Default: once an epoch."`
	DataName     string   `group:"The model that is written:" placeholder:"TEXT" help:"What the data are called on the card."`
	Licence      []string `group:"The model that is written:" placeholder:"TEXT" sep:"none" help:"Licence of the data, for the card; may stand several times."`
	Note         []string `group:"The model that is written:" placeholder:"TEXT" sep:"none" help:"A paragraph for the card; may stand several times."`
}

func (c *trainCommand) Run(s *session) error {
	o := pacl.TrainOptions{
		Features: c.Features, Out: c.Out, InputSize: c.InputSize, Scales: c.Scales, Mirror: c.Mirror, ImagePrior: c.ImagePrior, Recipe: c.recipe, CheckpointEvery: c.Checkpoint,
		DataName: c.DataName, Licences: c.Licence, Notes: c.Note,
		Extracted: func(r feature.Report) { printReport(s, r) },
		Estimated: estimated(s),
		Progress:  trainProgress(s),
	}
	if o.DataName == "" {
		o.DataName = c.Captions
	}
	o.Extract.Vision = c.Vision
	if len(c.Features) == 0 {
		var err error
		if o.Extract, err = c.options(s, c.Cache); err != nil {
			return err
		}
	}
	training, err := pacl.Train(s, o)
	if err != nil {
		return err
	}
	if v := training.Result.Validation; v != nil {
		s.logf("validation on %d images: loss %.4f, image to text %.1f %%, text to image %.1f %%", v.Images, v.Loss, 100*v.ImageToText, 100*v.TextToImage)
	}
	s.logf("model: %s", c.Out)
	return nil
}

// recipe changes the defaults where flags say so.
func (c *trainCommand) recipe(r *align.Recipe) {
	setInt := func(dst *int, v int) {
		if v > 0 {
			*dst = v
		}
	}
	setFloat := func(dst *float64, v float64) {
		if v > 0 {
			*dst = v
		}
	}
	setInt(&r.Epochs, c.Epochs)
	setInt(&r.Batch, c.Batch)
	setInt(&r.Head.Width, c.Width)
	setInt(&r.Head.Hidden, c.Hidden)
	setFloat(&r.Rate, c.Rate)
	setFloat(&r.Head.TauPatch, c.TauPatch)
	setFloat(&r.LogitScale, c.LogitScale)
	if c.Warmup >= 0 {
		r.Warmup = c.Warmup
	}
	if c.WeightDecay >= 0 {
		r.WeightDecay = c.WeightDecay
	}
	if c.Extras >= 0 {
		r.ExtraShare = c.Extras
	}
	if c.Validation >= 0 {
		r.Validation = c.Validation
	}
	if c.Pooling != "" {
		r.Head.Pooling = align.Pooling(c.Pooling)
	}
	switch c.TextEmbedder {
	case "none":
		r.Head.Text = align.TextNone
	case "frozen":
		r.Head.Text = align.TextFrozen
	case "trained":
		r.Head.Text = align.TextLinear
	}
	if r.Head.Text == align.TextNone {
		r.Head.Width = r.Head.TextWidth
	}
	if c.Start == align.StartProjection {
		r.Start = c.Start
	}
	if c.FixScale {
		r.TrainLogitScale = false
	}
	if c.Precision != "" {
		r.Precision = c.Precision
	}
	r.Seed = c.Seed
}

func trainProgress(s *session) func(align.Progress) {
	show := s.progress()
	return func(p align.Progress) {
		show(fmt.Sprintf("epoch %d of %d, step %d of %d: loss %.4f, mutual information at least %.2f, image to text %.0f %%, text to image %.0f %%, rate %.2g, %.0f images a second, %s left",
			p.Epoch, p.Epochs, p.Step, p.Steps, p.Loss, p.Bound, 100*p.ImageToText, 100*p.TextToImage, p.Rate,
			p.ImagesPerSecond, p.Left.Round(time.Second)), p.Step == p.Steps)
		if v := p.Validation; v != nil {
			s.logf("epoch %d: validation loss %.4f, image to text %.1f %%, text to image %.1f %%", p.Epoch, v.Loss, 100*v.ImageToText, 100*v.TextToImage)
		}
	}
}
