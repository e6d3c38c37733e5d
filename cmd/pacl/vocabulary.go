package main

import (
	"fmt"
	"strings"

	"github.com/pacl/pacl"
)

type vocabularyCommand struct {
	Names     string `required:"" placeholder:"FILE" help:"Names, one a line; further words of a line, separated by \", \", are aliases. A list like \"cat, dog|puppy\" is taken as it is."`
	Text      string `required:"" placeholder:"ENCODER" help:"Text encoder: directory, hub id or name in PACL_MODELS."`
	Out       string `required:"" short:"o" placeholder:"PATH" help:"Directory to write, or the .npy file."`
	Format    string `enum:"dir,npy" default:"dir" help:"dir: a directory that commands take for a text encoder. npy: a NumPy array [names, width] of float32, and the names beside it in a .txt."`
	Template  string `default:"a {}" help:"Sentence that each name is put into."`
	Tokenizer string `placeholder:"DIR" help:"Where the tokenizer is, if not beside the weights."`
	Precision string `enum:"bf16,f32" default:"f32" help:"Operands of products: bf16 or f32."`
}

// Help is what kong prints below the flags.
func (c *vocabularyCommand) Help() string {
	return `The table serves a fixed vocabulary where the text encoder is not at hand: train with it (pacl train --text DIR), and the
head runs with the table or with the encoder that made it, and finds the same masks.`
}

func (c *vocabularyCommand) Run(s *session) error {
	names, err := readNames(c.Names)
	if err != nil {
		return err
	}
	show := s.progress()
	table, err := pacl.MakeTable(s, pacl.TableOptions{
		Text: c.Text, Tokenizer: c.Tokenizer, Precision: c.Precision, Names: names, Template: c.Template,
		Progress: func(done, total int) { show(fmt.Sprintf("vocabulary: %d of %d names", done, total), done == total) },
	})
	if err != nil {
		return err
	}
	if c.Format == "npy" {
		err = table.SaveNPY(c.Out)
	} else {
		err = table.SaveDir(c.Out)
	}
	if err != nil {
		return err
	}
	s.logf("%s: %d names and %d aliases of width %d by %s, as %q", c.Out, len(table.Names), len(table.Aliases), table.Width, table.Encoder, table.Template)
	return nil
}

// readNames reads a list of names: a file, or labels as they are typed where no file has that name.
func readNames(list string) ([]pacl.Label, error) {
	labels, err := pacl.LoadLabels(list)
	if err != nil && strings.ContainsAny(list, ",|") {
		return pacl.ParseLabels(list)
	}
	return labels, err
}
