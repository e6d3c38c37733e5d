package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/evaluate"
	"github.com/pacl/pacl/readout"
)

type evalCommand struct {
	Voc20      segmentationCommand `cmd:"" name:"voc20" help:"PASCAL VOC 2012, 20 classes."`
	Voc21      segmentationCommand `cmd:"" name:"voc21" help:"PASCAL VOC 2012 with the background as a competing label."`
	Context59  segmentationCommand `cmd:"" name:"context59" help:"PASCAL Context, 59 classes."`
	Context60  segmentationCommand `cmd:"" name:"context60" help:"PASCAL Context with the background."`
	CocoStuff  segmentationCommand `cmd:"" name:"coco-stuff" help:"COCO-Stuff, 171 classes."`
	CocoObject segmentationCommand `cmd:"" name:"coco-object" help:"COCO's 80 things with the background."`
	Ade20k     segmentationCommand `cmd:"" name:"ade20k" help:"ADE20K, 150 classes."`
	Cityscapes segmentationCommand `cmd:"" help:"Cityscapes, 19 classes."`
	Folder     segmentationCommand `cmd:"" help:"Your own: images/, masks/ and classes.txt."`
	Mosaic     mosaicCommand       `cmd:"" help:"Mosaics of captioned photos: a signal without masks."`
}

// lookFlags say how a model looks at photos and words in any experiment.
type lookFlags struct {
	modelFlags
	imageFlags
	Templates string `placeholder:"NAME" help:"Prompts: none, pacl7, clip80 or a sentence with {} in it. Default: the model's."`
	Protocol  string `placeholder:"LINE" help:"Measure as a protocol line says, to get its number again."`
}

// openAs opens the model and returns the options of the experiment, both as the protocol line says where there is one.
func (f *lookFlags) openAs(s *session, o pacl.EvaluateOptions) (*pacl.Model, pacl.EvaluateOptions, error) {
	o.Image, o.Templates = f.imageFlags.options(), f.Templates
	opened := f.modelFlags.options(s)
	if f.Protocol != "" {
		p, err := evaluate.ParseProtocol(f.Protocol)
		if err != nil {
			return nil, o, err
		}
		if f.imageFlags != (imageFlags{}) || f.Templates != "" || o.Background != 0 || o.Refine.Iterations != 0 {
			return nil, o, usageError("--protocol says how to look at the photos, and so do other flags")
		}
		if o, err = pacl.FromProtocol(p); err != nil {
			return nil, o, err
		}
		opened = opened.OpenedAs(p)
	}
	m, err := pacl.Open(s, opened)
	if err != nil {
		return nil, o, err
	}
	show, started := s.progress(), time.Now()
	o.Run.Progress = func(done, total int) {
		show(fmt.Sprintf("%d of %d photos, %.1f a second", done, total, float64(done)/time.Since(started).Seconds()), done == total)
	}
	return m, o, nil
}

// sameProtocol warns where a number was not made as the line that it should repeat.
func (f *lookFlags) sameProtocol(s *session, got string) {
	if f.Protocol != "" && got != strings.TrimSpace(f.Protocol) {
		s.logf("warning: measured as %s", got)
	}
}

// outputFlags say how a result is printed.
type outputFlags struct {
	JSON bool `name:"json" xor:"format" help:"Print one JSON object."`
	CSV  bool `name:"csv" xor:"format" help:"Print comma-separated values."`
}

// printable is a result of an experiment.
type printable interface {
	WriteText(w io.Writer) error
	WriteJSON(w io.Writer) error
	WriteCSV(w io.Writer) error
}

func (f outputFlags) print(s *session, r printable) error {
	switch {
	case f.JSON:
		return r.WriteJSON(s.stdout)
	case f.CSV:
		return r.WriteCSV(s.stdout)
	}
	return r.WriteText(s.stdout)
}

// recordFlag keeps what compare needs.
type recordFlag struct {
	Record string `placeholder:"FILE" help:"Keep per-image results for pacl compare."`
}

func (f recordFlag) keep(r interface {
	Record(model string) *evaluate.Record
}, m *pacl.Model) error {
	if f.Record == "" {
		return nil
	}
	return r.Record(m.Info().Name).WriteFile(f.Record)
}

// evalFlags are common to all segmentation experiments.
type evalFlags struct {
	lookFlags
	outputFlags
	recordFlag
	Synonyms   bool    `negatable:"" default:"true" help:"Score all words of a class, not only the first."`
	Background float64 `placeholder:"SHARE" help:"A pixel whose best label has less of the softmax is background."`
	Refine     string  `placeholder:"KIND" help:"Refine masks by the photo's colours: pamr, or pamr(8,16)x10 with distances and iterations."`
}

// open opens the model and returns the options.
func (c *evalFlags) open(s *session) (m *pacl.Model, o pacl.EvaluateOptions, err error) {
	o.Synonyms, o.Background = c.Synonyms, c.Background
	if o.Refine, err = parseRefinement(c.Refine); err != nil {
		return nil, o, err
	}
	return c.openAs(s, o)
}

func parseRefinement(text string) (readout.Refinement, error) {
	if text == "" {
		return readout.Refinement{}, nil
	}
	return readout.ParseRefinement(text)
}

func (c *evalFlags) measure(s *session, m *pacl.Model, d *evaluate.Dataset, o pacl.EvaluateOptions) error {
	result, err := m.Evaluate(s, d, o)
	if err != nil {
		return err
	}
	c.sameProtocol(s, result.Protocol)
	if err := c.keep(result, m); err != nil {
		return err
	}
	return c.print(s, result)
}

// datasetFlags say which photos are meant.
type datasetFlags struct {
	Data  string `required:"" type:"existingdir" placeholder:"DIR" help:"The data set as it is unpacked."`
	Split string `placeholder:"NAME" help:"The list or folder of photos. Default: val."`
	Masks string `placeholder:"KIND" help:"VOC: aug for SegmentationClassAug."`
	Limit int    `placeholder:"N" help:"Measure on the first N photos only."`
}

// open opens the data set; a protocol line says which part of it.
func (f datasetFlags) open(name, protocol string) (*evaluate.Dataset, error) {
	options, limit := evaluate.OpenOptions{Split: f.Split, Masks: f.Masks}, f.Limit
	if protocol != "" {
		p, err := evaluate.ParseProtocol(protocol)
		if err != nil {
			return nil, err
		}
		if of, err := evaluate.DatasetName(p.Dataset); err != nil || of != name {
			return nil, fmt.Errorf("the protocol is one of %s, expected %s", p.Dataset, name)
		}
		if f.Split != "" || f.Masks != "" || f.Limit != 0 {
			return nil, usageError("--protocol says which photos to take, and so do --split, --masks or --limit")
		}
		options, limit = p.OpenOptions(), p.N
	}
	d, err := evaluate.Open(name, f.Data, options)
	if err != nil {
		return nil, err
	}
	if protocol != "" && len(d.Items) < limit {
		return nil, fmt.Errorf("%s has %d photos, the protocol was measured on %d", f.Data, len(d.Items), limit)
	}
	return d.Limit(limit), nil
}

// segmentationCommand measures on a data set, whose name is that of the command.
type segmentationCommand struct {
	evalFlags
	datasetFlags
	Sweep string `placeholder:"SPLIT" help:"Choose the background threshold on another split, as train, before measuring."`
}

// sweptKey of a protocol line says on which split its threshold was chosen.
const sweptKey = "swept"

// Run is given the command line to know the data set by the command's name.
func (c *segmentationCommand) Run(s *session, line *kong.Context) error {
	name := line.Selected().Name
	d, err := c.datasetFlags.open(name, c.Protocol)
	if err != nil {
		return err
	}
	m, o, err := c.evalFlags.open(s)
	if err != nil {
		return err
	}
	if c.Sweep != "" {
		if err := c.sweep(s, m, name, &o); err != nil {
			return err
		}
	}
	return c.measure(s, m, d, o)
}

// sweep puts the best threshold of a training split into the options.
func (c *segmentationCommand) sweep(s *session, m *pacl.Model, name string, o *pacl.EvaluateOptions) error {
	if c.Background != 0 || c.Protocol != "" {
		return usageError("--sweep chooses the threshold that --background or --protocol gives")
	}
	d, err := evaluate.Open(name, c.Data, evaluate.OpenOptions{Split: c.Sweep, Masks: c.Masks})
	if err != nil {
		return err
	}
	var thresholds []float64
	for percent := 0; percent < 100; percent += 2 {
		thresholds = append(thresholds, float64(percent)/100)
	}
	points, best, err := m.SweepBackground(s, d.Limit(c.Limit), thresholds, *o)
	if err != nil {
		return err
	}
	s.logf("threshold %g gives mIoU %.2f %% on %s, no threshold %.2f %%", best.Threshold, 100*best.MIoU, c.Sweep, 100*points[0].MIoU)
	o.Background = best.Threshold
	o.More = map[string]string{sweptKey: c.Sweep}
	return nil
}

type mosaicCommand struct {
	evalFlags
	Captions      string  `required:"" placeholder:"FILE" help:"Captioned photos."`
	ImageColumn   string  `placeholder:"NAME" help:"Column of the image path."`
	CaptionColumn string  `placeholder:"NAME" help:"Column of the caption."`
	Count         int     `default:"200" help:"How many mosaics."`
	Tiles         int     `default:"2" help:"Tiles per side."`
	Pixels        int     `default:"448" help:"Side of a mosaic."`
	MinPhotos     int     `default:"4" help:"Photos that a name needs to compete."`
	Border        float64 `help:"Share of a tile's side that is not scored at each of its edges."`
	Seed          uint64  `default:"1" help:"Seed of the choice of photos."`
}

func (c *mosaicCommand) Run(s *session) error {
	m, o, err := c.evalFlags.open(s)
	if err != nil {
		return err
	}
	options, err := c.mosaics()
	if err != nil {
		return err
	}
	d, err := m.Mosaics(s, options)
	if err != nil {
		return err
	}
	defer d.Close()
	return c.measure(s, m, d.Dataset, o)
}

// mosaics says which mosaics are laid; a protocol line knows all but where the captions are.
func (c *mosaicCommand) mosaics() (pacl.MosaicOptions, error) {
	o := pacl.MosaicOptions{
		Captions: c.Captions, Source: caption.Options{ImageColumn: c.ImageColumn, CaptionColumn: c.CaptionColumn},
		Seed: c.Seed, Count: c.Count, Tiles: c.Tiles, Pixels: c.Pixels, MinPhotos: c.MinPhotos, Border: c.Border,
	}
	if c.Protocol == "" {
		return o, nil
	}
	p, err := evaluate.ParseProtocol(c.Protocol)
	if err != nil {
		return o, err
	}
	var across int
	_, err = fmt.Sscanf(strings.Join([]string{p.More["tiles"], p.More["pixels"], p.More["seed"], p.More["min"], p.More["border"]}, " "),
		"%dx%d %d %d %d %g", &o.Tiles, &across, &o.Pixels, &o.Seed, &o.MinPhotos, &o.Border)
	if err != nil || p.Dataset != "mosaic" {
		return o, fmt.Errorf("protocol %q is not one of mosaics", c.Protocol)
	}
	o.Count = p.N
	return o, nil
}
