package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/pacl/pacl"
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
	Patches    patchesCommand      `cmd:"" help:"Patch classification before and after alignment."`
	Coherence  coherenceCommand    `cmd:"" help:"How well the cosine of two patches tells whether they show the same class: AUC and ROC curve."`
	Classify   classifyCommand     `cmd:"" help:"Zero-shot classification of whole photos."`
	Retrieval  retrievalCommand    `cmd:"" help:"Recall of captions by photos and photos by captions."`
	Mosaic     mosaicCommand       `cmd:"" help:"Mosaics of captioned photos: a signal without masks."`
	Score      scoreCommand        `cmd:"" help:"Score masks that another program wrote."`
	Repeat     repeatCommand       `cmd:"" help:"Measure again what a protocol line says, whatever the experiment."`
}

// protocolFlag is a line that says all about how a number is made.
type protocolFlag struct {
	Protocol string `placeholder:"LINE" help:"Measure as a protocol line says, to get its number again."`
}

// parse returns the protocol of an experiment, nil where none is given.
func (f protocolFlag) parse(experiment string) (*evaluate.Protocol, error) {
	if f.Protocol == "" {
		return nil, nil
	}
	p, err := evaluate.ParseProtocol(f.Protocol)
	if err != nil {
		return nil, err
	}
	if of := pacl.ExperimentOf(p); of != experiment {
		return nil, fmt.Errorf("the protocol is one of %s, expected %s", of, experiment)
	}
	return &p, nil
}

// same warns where a number was not made as the line that it should repeat.
func (f protocolFlag) same(s *session, got string) {
	if f.Protocol != "" && got != strings.TrimSpace(f.Protocol) {
		s.logf("warning: measured as %s", got)
	}
}

// viewFlags say which model looks at photos, and how, in any experiment.
type viewFlags struct {
	modelFlags
	imageFlags
	protocolFlag
}

// lookFlags add how words are put.
type lookFlags struct {
	viewFlags
	Templates string `placeholder:"NAME" help:"Prompts: none, pacl7, clip80 or a sentence with {} in it. Default: the model's."`
	Synonyms  bool   `negatable:"" default:"true" help:"Score all words of a class, not only the first."`
}

func (f *lookFlags) options() pacl.EvaluateOptions {
	return pacl.EvaluateOptions{Templates: f.Templates, Synonyms: f.Synonyms}
}

// openAs returns how to open the model and the options of the experiment, both as the protocol says where there is one.
func (f *viewFlags) openAs(s *session, p *evaluate.Protocol, o pacl.EvaluateOptions) (pacl.Options, pacl.EvaluateOptions, error) {
	o.Image = f.imageFlags.options()
	opened := f.modelFlags.options(s)
	if p != nil {
		if f.imageFlags != (imageFlags{}) || o.Templates != "" || o.Background != 0 || o.ImagePrior != 0 || o.Refine.Iterations != 0 {
			return opened, o, usageError("--protocol says how to look at the photos, and so do other flags")
		}
		var err error
		if o, err = pacl.FromProtocol(*p); err != nil {
			return opened, o, err
		}
		opened = opened.OpenedAs(*p)
	}
	show, started := s.progress(), time.Now()
	o.Run.Progress = func(done, total int) {
		show(fmt.Sprintf("%d of %d photos, %.1f a second", done, total, float64(done)/time.Since(started).Seconds()), done == total)
	}
	return opened, o, nil
}

// open opens the model as the protocol and the flags say.
func (f *viewFlags) open(s *session, p *evaluate.Protocol, o pacl.EvaluateOptions) (*pacl.Model, pacl.EvaluateOptions, error) {
	opened, o, err := f.openAs(s, p, o)
	if err != nil {
		return nil, o, err
	}
	m, err := pacl.Open(s, opened)
	return m, o, err
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

// resultFlags say how the result of an experiment is printed and kept.
type resultFlags struct {
	outputFlags
	Record string `placeholder:"FILE" help:"Keep per-image results for pacl compare."`
}

// recorded is a result with one for each image.
type recorded interface {
	Record(model string) *evaluate.Record
}

// keep keeps what compare needs, where that is asked for.
func (f resultFlags) keep(r recorded, model string) error {
	if f.Record == "" {
		return nil
	}
	return r.Record(model).WriteFile(f.Record)
}

// report keeps a result and prints it.
func (f resultFlags) report(s *session, r interface {
	recorded
	printable
}, model string) error {
	if err := f.keep(r, model); err != nil {
		return err
	}
	return f.print(s, r)
}

// maskFlags are common to the experiments on masks.
type maskFlags struct {
	lookFlags
	resultFlags
	Background float64 `placeholder:"SHARE" help:"A pixel whose best label has less of the softmax is background."`
	priorFlag
	Refine string `placeholder:"KIND" help:"Refine masks by the photo's colours: pamr, or pamr(8,16)x10 with distances and iterations."`
}

// open opens the model and returns the options.
func (c *maskFlags) open(s *session, p *evaluate.Protocol) (m *pacl.Model, o pacl.EvaluateOptions, err error) {
	o = c.lookFlags.options()
	o.Background, o.ImagePrior = c.Background, c.priorFlag.weight()
	if o.Refine, err = parseRefinement(c.Refine); err != nil {
		return nil, o, err
	}
	return c.viewFlags.open(s, p, o)
}

func parseRefinement(text string) (readout.Refinement, error) {
	if text == "" {
		return readout.Refinement{}, nil
	}
	return readout.ParseRefinement(text)
}

func (c *maskFlags) measure(s *session, m *pacl.Model, d *evaluate.Dataset, o pacl.EvaluateOptions) error {
	result, err := m.Evaluate(s, d, o)
	if err != nil {
		return err
	}
	c.same(s, result.Protocol)
	return c.report(s, result, m.Info().Name)
}

// datasetFlags say which photos are meant.
type datasetFlags struct {
	Data  string `required:"" type:"existingdir" placeholder:"DIR" help:"The data set as it is unpacked."`
	Split string `placeholder:"NAME" help:"The list or folder of photos. Default: val."`
	Masks string `placeholder:"KIND" help:"VOC: aug for SegmentationClassAug."`
	Limit int    `placeholder:"N" help:"Measure on the first N photos only."`
}

// open opens the data set; a protocol line says which part of it, and which one where name is empty.
func (f datasetFlags) open(name string, p *evaluate.Protocol) (*evaluate.Dataset, error) {
	options, limit := evaluate.OpenOptions{Split: f.Split, Masks: f.Masks}, f.Limit
	if p != nil {
		of, err := evaluate.DatasetName(p.Dataset)
		if err != nil {
			return nil, err
		}
		if name == "" {
			name = of
		}
		if of != name {
			return nil, fmt.Errorf("the protocol is one of %s, expected %s", p.Dataset, name)
		}
		if f.Split != "" || f.Masks != "" || f.Limit != 0 {
			return nil, usageError("--protocol says which photos to take, and so do --split, --masks or --limit")
		}
		options, limit = p.OpenOptions(), p.N
	}
	if name == "" {
		return nil, usageError("expected the name of a data set, one of " + strings.Join(evaluate.Names(), ", "))
	}
	if limit < 0 {
		return nil, usageError(fmt.Sprintf("--limit %d, expected a number of photos", limit))
	}
	d, err := evaluate.Open(name, f.Data, options)
	if err != nil {
		return nil, err
	}
	if p != nil && len(d.Items) < limit {
		return nil, fmt.Errorf("%s has %d photos, the protocol was measured on %d", f.Data, len(d.Items), limit)
	}
	return d.Limit(limit), nil
}

// segmentationCommand measures on a data set, whose name is that of the command.
type segmentationCommand struct {
	maskFlags
	datasetFlags
	Sweep string `placeholder:"SPLIT" help:"Choose the background threshold on another split, as train, before measuring."`
}

// Run is given the command line to know the data set by the command's name.
func (c *segmentationCommand) Run(s *session, line *kong.Context) error {
	return c.run(s, line.Selected().Name)
}

func (c *segmentationCommand) run(s *session, name string) error {
	p, err := c.parse(pacl.SegmentationExperiment)
	if err != nil {
		return err
	}
	d, err := c.datasetFlags.open(name, p)
	if err != nil {
		return err
	}
	m, o, err := c.maskFlags.open(s, p)
	if err != nil {
		return err
	}
	if c.Sweep != "" {
		if o, err = c.sweep(s, m, name, o); err != nil {
			return err
		}
	}
	return c.measure(s, m, d, o)
}

// sweep puts the best threshold of a training split into the options.
func (c *segmentationCommand) sweep(s *session, m *pacl.Model, name string, o pacl.EvaluateOptions) (pacl.EvaluateOptions, error) {
	if c.Background != 0 || c.Protocol != "" {
		return o, usageError("--sweep chooses the threshold that --background or --protocol gives")
	}
	d, err := evaluate.Open(name, c.Data, evaluate.OpenOptions{Split: c.Sweep, Masks: c.Masks})
	if err != nil {
		return o, err
	}
	o, best, none, err := m.Swept(s, d.Limit(c.Limit), c.Sweep, o)
	if err == nil {
		s.logf("threshold %g gives mIoU %.2f %% on %s, no threshold %.2f %%", best.Threshold, 100*best.MIoU, c.Sweep, 100*none.MIoU)
	}
	return o, err
}
