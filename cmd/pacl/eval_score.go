package main

import (
	"fmt"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/evaluate"
)

// scoreCommand scores masks without a model.
type scoreCommand struct {
	Dataset string `arg:"" name:"dataset" help:"voc20, voc21, context59, context60, coco-stuff, coco-object, ade20k, cityscapes or folder."`
	datasetFlags
	resultFlags
	Predictions string `required:"" type:"existingdir" placeholder:"DIR" help:"KEY.png for each photo: the place of the class in pacl dataset classes, counted from 0; ids behind the last are no class, or the background where there is one."`
}

func (c *scoreCommand) Run(s *session) error {
	d, err := c.datasetFlags.open(c.Dataset, nil)
	if err != nil {
		return err
	}
	show, started := s.progress(), time.Now()
	progress := func(done, total int) {
		show(fmt.Sprintf("%d of %d masks, %.1f a second", done, total, float64(done)/time.Since(started).Seconds()), done == total)
	}
	result, err := evaluate.ScorePredictions(s, d, c.Predictions, pacl.ScoreProtocol(), evaluate.RunOptions{Progress: progress})
	if err != nil {
		return err
	}
	return c.report(s, result, c.Predictions)
}

// repeatCommand finds the experiment of a protocol line.
type repeatCommand struct {
	Line string `arg:"" name:"line" help:"The protocol line, in quotes."`
	modelFlags
	resultFlags
	Data  string `required:"" placeholder:"PATH" help:"The data set, the photos of classes, or the captions."`
	Words string `placeholder:"LIST" help:"The file of words of a classification that was measured with one."`
}

func (c *repeatCommand) Run(s *session) error {
	p, err := evaluate.ParseProtocol(c.Line)
	if err != nil {
		return err
	}
	view := viewFlags{modelFlags: c.modelFlags, protocolFlag: protocolFlag{c.Line}}
	look, data := lookFlags{viewFlags: view}, datasetFlags{Data: c.Data}
	switch experiment := pacl.ExperimentOf(p); experiment {
	case pacl.SegmentationExperiment:
		name, err := evaluate.DatasetName(p.Dataset)
		if err != nil {
			return err
		}
		return (&segmentationCommand{maskFlags: maskFlags{lookFlags: look, resultFlags: c.resultFlags}, datasetFlags: data}).run(s, name)
	case pacl.PatchesExperiment:
		return (&patchesCommand{lookFlags: look, resultFlags: c.resultFlags, datasetFlags: data}).Run(s)
	case pacl.CoherenceExperiment:
		return (&coherenceCommand{viewFlags: view, resultFlags: c.resultFlags, datasetFlags: data, Seed: 1, Replicates: 1000}).Run(s)
	case pacl.ClassifyExperiment:
		return (&classifyCommand{lookFlags: look, resultFlags: c.resultFlags, Data: c.Data, Words: c.Words}).Run(s)
	case pacl.RetrievalExperiment:
		return (&retrievalCommand{viewFlags: view, resultFlags: c.resultFlags, captionFlags: captionFlags{Captions: c.Data}}).Run(s)
	case pacl.MosaicExperiment:
		return (&mosaicCommand{maskFlags: maskFlags{lookFlags: look, resultFlags: c.resultFlags}, captionFlags: captionFlags{Captions: c.Data}}).Run(s)
	default:
		return fmt.Errorf("protocol %q is one of the experiment %q, which cannot be repeated with a model", c.Line, experiment)
	}
}
