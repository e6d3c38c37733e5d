package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/evaluate"
	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/render"
)

// patchesCommand classifies patches.
type patchesCommand struct {
	Dataset string `arg:"" optional:"" name:"dataset" help:"voc20, voc21, context59, context60, coco-stuff, coco-object, ade20k, cityscapes or folder."`
	lookFlags
	resultFlags
	datasetFlags
	Side string `enum:"both,before,after" default:"both" help:"before alignment (the encoder's own projection of patches, by its own texts), after it (the head), or both. Default: ${default}. --record keeps the last of them."`
}

func (c *patchesCommand) Run(s *session) error {
	p, err := c.parse(pacl.PatchesExperiment)
	if err != nil {
		return err
	}
	d, err := c.datasetFlags.open(c.Dataset, p)
	if err != nil {
		return err
	}
	m, o, err := c.viewFlags.open(s, p, c.lookFlags.options())
	if err != nil {
		return err
	}
	bare := m.Info().Head == nil
	if p != nil || bare && c.Readout != "" {
		// A protocol is one of one side, and a read-out by its name is meant as it is.
		result, err := m.EvaluatePatches(s, d, o)
		if err != nil {
			return err
		}
		c.same(s, result.Protocol)
		return c.report(s, result, m.Info().Name)
	}
	both := evaluate.Alignment{BeforeNA: "not asked for", AfterNA: "not asked for"}
	if c.Side != "after" {
		if both.Before, both.BeforeNA, err = c.before(s, m, d, o); err != nil {
			return err
		}
	}
	if c.Side != "before" {
		if bare {
			both.AfterNA = "the model has no head"
		} else if both.After, err = m.EvaluatePatches(s, d, o); err != nil {
			return err
		} else {
			both.AfterNA = ""
		}
	}
	last := both.After
	if last == nil {
		last = both.Before
	}
	if last == nil {
		return &pacl.NotApplicableError{Reason: both.BeforeNA}
	}
	if err := c.keep(last, m.Info().Name); err != nil {
		return err
	}
	return c.print(s, &both)
}

// before measures the encoders without the head, or says why that cannot be done.
func (c *patchesCommand) before(s *session, m *pacl.Model, d *evaluate.Dataset, o pacl.EvaluateOptions) (*evaluate.PatchResult, string, error) {
	plain, err := m.WithReadout("plain")
	if cannot := (*pacl.NotApplicableError)(nil); errors.As(err, &cannot) {
		return nil, cannot.Reason, nil
	}
	if err != nil {
		return nil, "", err
	}
	result, err := plain.EvaluatePatches(s, d, o)
	return result, "", err
}

// coherenceCommand compares patches with one another.
type coherenceCommand struct {
	Dataset string `arg:"" optional:"" name:"dataset" help:"voc20, voc21, context59, context60, coco-stuff, coco-object, ade20k, cityscapes or folder."`
	viewFlags
	resultFlags
	datasetFlags
	Vectors    string `enum:"tokens,shared," default:"" placeholder:"KIND" help:"tokens: the vision encoder's own, of any encoder (the default); shared: those that are compared with words, by head or read-out."`
	ExactPairs int64  `placeholder:"N" help:"Sort up to N pairs for the exact area, beyond that use a histogram whose error bound is printed. Default: 100 million."`
	Sample     int    `placeholder:"N" help:"Draw N patches of the data set. Default: all."`
	Seed       uint64 `default:"1" help:"Seed of the draws."`
	Replicates int    `default:"1000" help:"Draws of images for the 95 % interval; 0 for none."`
	ROC        string `name:"roc" placeholder:"FILE" help:"Draw the ROC curve as a PNG."`
}

func (c *coherenceCommand) Run(s *session) error {
	p, err := c.parse(pacl.CoherenceExperiment)
	if err != nil {
		return err
	}
	if c.ExactPairs < 0 || c.Sample < 0 || c.Sample == 1 || c.Replicates < 0 || c.Replicates > 1e6 {
		return usageError("expected --exact-pairs of at least 0, a --sample of two patches or more, and 0 to a million --replicates")
	}
	options, tokens := evaluate.CoherenceOptions{ExactPairs: c.ExactPairs, Sample: c.Sample, Seed: c.Seed}, c.Vectors != "shared"
	if p != nil {
		if c.ExactPairs != 0 || c.Sample != 0 || c.Vectors != "" {
			return usageError("--protocol says which patches are compared, and so do --vectors, --sample or --exact-pairs")
		}
		if options, tokens, err = pacl.CoherenceFromProtocol(*p); err != nil {
			return err
		}
		if options.Sample == 0 {
			options.Seed = c.Seed
		}
	}
	options.Replicates = c.Replicates
	d, err := c.datasetFlags.open(c.Dataset, p)
	if err != nil {
		return err
	}
	opened, o, err := c.openAs(s, p, pacl.EvaluateOptions{})
	if err != nil {
		return err
	}
	var vectors pacl.PatchVectors
	if tokens {
		vectors, err = pacl.OpenVision(s, opened)
	} else {
		vectors, err = pacl.Open(s, opened)
	}
	if err != nil {
		return err
	}
	result, err := pacl.EvaluateCoherence(s, vectors, d, o, options)
	if err != nil {
		return err
	}
	c.same(s, result.Protocol)
	if err := c.keep(result, vectors.Info().Name); err != nil {
		return err
	}
	if c.ROC != "" {
		curve := render.Curve{Name: fmt.Sprintf("%s, AUC %.4f", vectors.Info().Name, result.AUC), Points: result.ROC}
		if err := atomicfile.Write(c.ROC, func(w io.Writer) error { return render.ROC(w, []render.Curve{curve}) }); err != nil {
			return err
		}
	}
	return c.print(s, result)
}
