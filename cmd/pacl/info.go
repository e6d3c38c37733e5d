package main

import (
	"fmt"

	"github.com/pacl/pacl"
)

type infoCommand struct {
	Dir  string `arg:"" help:"A model directory, hub id or name in PACL_MODELS."`
	JSON bool   `name:"json" help:"Print one JSON object."`
}

func (c *infoCommand) Run(s *session) error {
	about, err := pacl.Inspect(c.Dir)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(about)
	}
	for _, line := range about.Lines() {
		fmt.Fprintln(s.stdout, line)
	}
	return nil
}
