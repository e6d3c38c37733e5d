package main

import (
	"fmt"

	"github.com/pacl/pacl/demo"
	"github.com/pacl/pacl/models/builtin"
)

type demoCommand struct {
	Out    string `default:"pacl-demo" placeholder:"DIR" help:"Folder for the page and its pictures."`
	Scenes int    `default:"60" placeholder:"N" help:"Unseen scenes to measure."`
	Seed   uint64 `default:"0" help:"Which unseen scenes."`
	JSON   bool   `name:"json" help:"Print the figures as one object."`
}

func (c *demoCommand) Run(s *session) error {
	if c.Scenes < 1 {
		return usageError("expected --scenes of at least 1")
	}
	model, clip, err := builtin.Dir()
	if err != nil {
		return err
	}
	show := s.progress()
	report, err := demo.Run(s, demo.Options{Model: model, CLIP: clip, Out: c.Out, Scenes: c.Scenes, Seed: c.Seed,
		Progress: func(stage string, done, total int) {
			show(fmt.Sprintf("%s: %d of %d", stage, done, total), done == total)
		}})
	if err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(report)
	}
	fmt.Fprintf(s.stdout, "%-10s %8s %14s %15s %10s\n", "read-out", "mIoU %", "never trained", "patches right", "coherence")
	for _, m := range report.Methods {
		fmt.Fprintf(s.stdout, "%-10s %8.1f %14.1f %15.1f %10.3f\n", m.Name, 100*m.MIoU, 100*m.Novel, 100*m.Patches, m.Coherence)
	}
	if live := report.Live; live != nil {
		fmt.Fprintf(s.stdout, "a head trained on %d scenes in %.1f s: mIoU %.1f %%\n", live.Scenes, live.Seconds, 100*live.MIoU)
	}
	fmt.Fprintf(s.stdout, "%s\n%d scenes, %.0f s; open %s\n", report.Protocol, report.Scenes, report.Seconds, report.Page)
	return nil
}
