package main

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/pretrain"
)

type pretrainCommand struct {
	captionFlags
	Config          string  `required:"" placeholder:"FILE" help:"The recipe: sizes and schedule, in JSON."`
	Vision          string  `placeholder:"ENCODER" help:"With --captions: a vision encoder that stays locked, while a text encoder is trained for it, by the recipe's objective: pacl, or clip on the mean of the patches. Its features are cached in OUT.features."`
	Features        string  `placeholder:"DIR" help:"The same with a cache that is there already, of pacl features --text none or any other."`
	Phrases         string  `default:"a {}" placeholder:"NAME" help:"With --vision: noun phrases of captions, put into these templates, become texts too: none, pacl7, clip80 or a sentence with {} in it."`
	Extras          float64 `default:"0.7" placeholder:"SHARE" help:"With a locked encoder: how often a caption gives way to one of its noun phrases."`
	Scenes          bool    `help:"Train on generated scenes instead of captioned images."`
	Mirror          bool    `help:"Mirror half of the photos; not where captions tell left from right."`
	Out             string  `required:"" placeholder:"DIR" help:"CLIP directory to write, with the log of each step and its curves; a later run goes on from its checkpoint."`
	From            string  `placeholder:"FILE" help:"Checkpoint of another recipe whose parameters are the start."`
	Until           int     `placeholder:"STEP" help:"End after this step, to go on with another recipe."`
	SavePrecision   string  `enum:"bf16,f32" default:"bf16" help:"Type of the tensors written."`
	CheckpointEvery int     `default:"100" placeholder:"N" help:"Steps between checkpoints."`
}

func (c *pretrainCommand) Run(s *session) error {
	sources := 0
	for _, named := range []bool{c.Scenes, c.Captions != "", c.Features != ""} {
		if named {
			sources++
		}
	}
	if sources != 1 {
		return usageError("name one of --captions, --scenes and --features")
	}
	if c.Vision != "" && c.Captions == "" {
		return usageError("--vision needs --captions")
	}
	if c.CheckpointEvery < 1 {
		return usageError("expected --checkpoint-every of at least 1")
	}
	config, err := pretrain.ReadConfig(c.Config)
	if err != nil {
		return err
	}
	var examples pretrain.Examples
	var features *pretrain.Features
	if c.Vision != "" {
		if c.Features, err = c.lockedFeatures(s); err != nil {
			return err
		}
	}
	if c.Features != "" {
		cache, err := feature.Open(c.Features)
		if err != nil {
			return err
		}
		defer cache.Close()
		features = &pretrain.Features{Cache: cache, ExtraShare: c.Extras}
	} else if examples, err = c.examples(s, config); err != nil {
		return err
	}
	s.logf("%s", config.Describe())
	s.logf("about %d MB of memory; %d steps of %d examples", pretrain.MemoryEstimate(config)>>20, config.Steps, config.Batch)
	show := s.progress()
	trainer, err := pretrain.Run(s, pretrain.RunOptions{
		Config: config, Examples: examples, Features: features, Out: c.Out, From: c.From, Until: c.Until, SavePrecision: c.SavePrecision, CheckpointEvery: c.CheckpointEvery,
		Progress: func(r pretrain.Record) {
			show(fmt.Sprintf("step %d of %d: loss %.3f, information at least %.2f of %.2f nats, picture to text %.1f %%, rate %.2g, %.0f examples a second, %v left",
				r.Step, config.Steps, r.Loss, r.Bound, math.Log(float64(config.Batch)), 100*r.ImageToText, r.Rate, r.Throughput,
				(time.Duration(r.SecondsLeft)*time.Second).Round(time.Second)), r.Step == config.Steps)
		},
	})
	if trainer != nil { // one that was interrupted is drawn as far as it came
		err = errors.Join(err, pacl.DrawPretraining(c.Out))
	}
	if err != nil {
		return err
	}
	if trainer.Steps() < config.Steps {
		s.logf("%s holds the checkpoint of step %d", c.Out, trainer.Steps())
		return nil
	}
	s.logf("%s is a CLIP directory of %.1f M parameters", c.Out, float64(trainer.Parameters())/1e6)
	return nil
}

// lockedFeatures runs the locked vision encoder over the captioned images, or goes on with what an earlier run left.
func (c *pretrainCommand) lockedFeatures(s *session) (string, error) {
	templates, err := caption.Templates(c.Phrases)
	if err != nil {
		return "", err
	}
	dir := filepath.Clean(c.Out) + ".features"
	report, err := pacl.Features(s, pacl.FeatureOptions{
		Captions: c.Captions, CaptionOptions: c.source(), Vision: c.Vision, Text: pacl.NoText, Dir: dir, Flip: c.Mirror,
		PhraseTemplates: templates, Progress: extractProgress(s),
	})
	if err != nil {
		return "", err
	}
	printReport(s, report)
	return dir, nil
}

func (c *pretrainCommand) examples(s *session, config pretrain.Config) (pretrain.Examples, error) {
	if c.Scenes {
		return pretrain.RecipeScenes(config), nil
	}
	if config.SmallSteps > 0 || config.EasySteps > 0 || config.CleanSteps > 0 || config.Monochrome > 0 || config.Unnamed > 0 {
		return nil, errors.New("small_steps, easy_steps, clean_steps, monochrome and unnamed are for generated scenes: leave them out for photos")
	}
	source, err := caption.Open(c.Captions, caption.Options{ImageColumn: c.ImageColumn, CaptionColumn: c.CaptionColumn, Root: c.Root})
	if err != nil {
		return nil, err
	}
	defer source.Close()
	photos, err := pretrain.LoadPhotos(s, source, config.Vision.ImageSize)
	if err != nil {
		return nil, err
	}
	photos.Mirror = c.Mirror
	for _, failure := range photos.Failed() {
		s.logf("left out: %s", failure)
	}
	return photos, nil
}
