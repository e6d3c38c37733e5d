package main

import "github.com/pacl/pacl/evaluate"

type compareCommand struct {
	A string `arg:"" type:"existingfile" help:"Record of a run, written by pacl eval --record."`
	B string `arg:"" type:"existingfile" help:"Record of another run over the same images."`
	outputFlags
	Replicates int    `default:"1000" help:"Draws of images for the 95 % interval of the difference."`
	Seed       uint64 `default:"1" help:"Seed of the draws."`
	Changed    int    `default:"10" help:"How many of the images that changed most are listed."`
}

func (c *compareCommand) Run(s *session) error {
	if c.Replicates < 1 || c.Replicates > 1e6 || c.Changed < 0 {
		return usageError("expected 1 to a million --replicates and at least 0 images --changed")
	}
	a, err := evaluate.ReadRecord(c.A)
	if err != nil {
		return err
	}
	b, err := evaluate.ReadRecord(c.B)
	if err != nil {
		return err
	}
	result, err := evaluate.Compare(a, b, evaluate.CompareOptions{Replicates: c.Replicates, Seed: c.Seed, Changed: c.Changed})
	if err != nil {
		return err
	}
	return c.print(s, result)
}
