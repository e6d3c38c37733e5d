package main

import (
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/evaluate"
)

type evalCommand struct {
	Voc20      segmentationCommand `cmd:"" name:"voc20" help:"PASCAL VOC 2012, 20 classes."`
	Voc21      segmentationCommand `cmd:"" name:"voc21" help:"PASCAL VOC 2012 with the background as a competing label."`
	Context59  segmentationCommand `cmd:"" name:"context59" help:"PASCAL Context, 59 classes."`
	Context60  segmentationCommand `cmd:"" name:"context60" help:"PASCAL Context with the background."`
	CocoStuff  segmentationCommand `cmd:"" name:"coco-stuff" help:"COCO-Stuff, 171 classes."`
	CocoObject segmentationCommand `cmd:"" name:"coco-object" help:"COCO's 80 things with the background."`
	Ade20k     segmentationCommand `cmd:"" name:"ade20k" name:"ade20k" help:"ADE20K, 150 classes."`
	Cityscapes segmentationCommand `cmd:"" help:"Cityscapes, 19 classes."`
	Folder     segmentationCommand `cmd:"" help:"Your own: images/, masks/ and classes.txt."`
	Mosaic     mosaicCommand       `cmd:"" help:"Mosaics of captioned photos: a signal without masks."`
}

// evalFlags are common to all segmentation experiments.
type evalFlags struct {
	modelFlags
	imageFlags
	Templates  string  `placeholder:"NAME" help:"Prompts: none, pacl7, clip80 or a sentence with {} in it. Default: the model's."`
	Synonyms   bool    `negatable:"" default:"true" help:"Score all words of a class, not only the first."`
	Background float64 `placeholder:"SHARE" help:"A pixel whose best label has less of the softmax is background."`
	JSON       bool    `name:"json" help:"Print one JSON object."`
	CSV        bool    `name:"csv" help:"Print comma-separated values."`
	Record     string  `placeholder:"FILE" help:"Keep per-image results for pacl compare."`
}

func (c *evalFlags) measure(s *session, m *pacl.Model, d *evaluate.Dataset) error {
	show := s.progress()
	started := time.Now()
	progress := func(done, total int) {
		show(fmt.Sprintf("%d of %d photos, %.1f a second", done, total, float64(done)/time.Since(started).Seconds()), done == total)
	}
	result, err := m.Evaluate(s, d, pacl.EvaluateOptions{
		Image: c.imageFlags.options(), Templates: c.Templates, Synonyms: c.Synonyms, Background: c.Background,
		Run: evaluate.RunOptions{Progress: progress},
	})
	if err != nil {
		return err
	}
	if c.Record != "" {
		if err := result.Record(m.Info().Name).WriteFile(c.Record); err != nil {
			return err
		}
	}
	switch {
	case c.JSON:
		return result.WriteJSON(s.stdout)
	case c.CSV:
		return result.WriteCSV(s.stdout)
	}
	return result.WriteText(s.stdout)
}

// segmentationCommand measures on a data set, whose name is that of the command.
type segmentationCommand struct {
	evalFlags
	Data  string `required:"" type:"existingdir" placeholder:"DIR" help:"The data set as it is unpacked."`
	Split string `placeholder:"NAME" help:"The list or folder of photos. Default: val."`
	Masks string `placeholder:"KIND" help:"VOC: aug for SegmentationClassAug."`
	Limit int    `placeholder:"N" help:"Measure on the first N photos only."`
}

// Run is given the command line to know the data set by the command's name.
func (c *segmentationCommand) Run(s *session, line *kong.Context) error {
	d, err := evaluate.Open(line.Selected().Name, c.Data, evaluate.OpenOptions{Split: c.Split, Masks: c.Masks})
	if err != nil {
		return err
	}
	if c.Limit > 0 {
		d = d.Limit(c.Limit)
	}
	m, err := c.modelFlags.open(s)
	if err != nil {
		return err
	}
	return c.measure(s, m, d)
}

type mosaicCommand struct {
	evalFlags
	Captions      string `required:"" placeholder:"FILE" help:"Captioned photos."`
	ImageColumn   string `placeholder:"NAME" help:"Column of the image path."`
	CaptionColumn string `placeholder:"NAME" help:"Column of the caption."`
	Count         int    `default:"200" help:"How many mosaics."`
	Tiles         int    `default:"2" help:"Tiles per side."`
	Pixels        int    `default:"448" help:"Side of a mosaic."`
	Seed          uint64 `default:"1" help:"Seed of the choice of photos."`
}

func (c *mosaicCommand) Run(s *session) error {
	m, err := c.modelFlags.open(s)
	if err != nil {
		return err
	}
	d, err := m.Mosaics(s, pacl.MosaicOptions{
		Captions: c.Captions, Source: caption.Options{ImageColumn: c.ImageColumn, CaptionColumn: c.CaptionColumn},
		Seed: c.Seed, Count: c.Count, Tiles: c.Tiles, Pixels: c.Pixels,
	})
	if err != nil {
		return err
	}
	return c.measure(s, m, d)
}
