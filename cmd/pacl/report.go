package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/evaluate/report"
)

type reportCommand struct {
	Experiments string `arg:"" type:"existingfile" name:"experiments.toml" help:"Models, methods, data sets and options, as experiments/ of the source has them."`
	Out         string `short:"o" default:"report" placeholder:"DIR" help:"Folder for report.html, report.md and what was measured; a run into the same folder goes on where it stopped. Default: ${default}."`
}

func (c *reportCommand) Run(s *session) error {
	e, err := report.Load(c.Experiments)
	if err != nil {
		return err
	}
	show := s.progress()
	outcomes, err := pacl.Report(s, e, pacl.ReportOptions{
		RunOptions: report.RunOptions{
			Folder: c.Out, Log: s.logf, Environment: []string{"pacl: " + strings.TrimPrefix(version(), "pacl ")},
			Command: fmt.Sprintf("pacl report %s --out %s", c.Experiments, c.Out),
		},
		Progress: func(done, total int) { show(fmt.Sprintf("  %d of %d", done, total), false) },
		Warn:     func(message string) { s.logf("warning: %s", message) },
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stdout, "%d results in %s and %s\n", len(outcomes), filepath.Join(c.Out, "report.html"), filepath.Join(c.Out, "report.md"))
	return nil
}
