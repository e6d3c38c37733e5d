package main

import (
	"fmt"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/evaluate"
)

// classifyCommand classifies whole photos.
type classifyCommand struct {
	lookFlags
	resultFlags
	Data  string `required:"" placeholder:"PATH" help:"A folder of photos for each class, or a list with a line PATH, tab, CLASS for each photo."`
	By    string `enum:"phi,class," default:"" placeholder:"KIND" help:"phi: the compatibility of all patches (the default); class: the cosine of the class token."`
	Crop  string `enum:"none,center," default:"" placeholder:"KIND" help:"none: the whole photo (the default by phi); center: the square in its middle (the default by class token, as CLIP was measured)."`
	Words string `placeholder:"LIST" help:"Words of the classes: a data set's name, as voc20, or a file with a line of words, or FOLDER, tab, words, for each class. Default: the names of the folders."`
	Each  int    `placeholder:"N" help:"Measure on the first N photos of each class only."`
}

func (c *classifyCommand) Run(s *session) error {
	p, err := c.parse(pacl.ClassifyExperiment)
	if err != nil {
		return err
	}
	if c.Each < 0 {
		return usageError(fmt.Sprintf("--each %d, expected a number of photos", c.Each))
	}
	options, each, words := pacl.ClassifyOptions{By: c.By, Crop: c.Crop}, c.Each, c.Words
	if p != nil {
		if c.By != "" || c.Crop != "" || c.Each != 0 {
			return usageError("--protocol says how to classify, and so do --by, --crop or --each")
		}
		if options, each, err = pacl.ClassifyFromProtocol(*p); err != nil {
			return err
		}
		if _, err := evaluate.Classes(options.Words); err == nil && words == "" {
			words = options.Words // a public list; a file has to be named again
		}
	}
	photos, called, err := pacl.OpenPhotos(c.Data, words)
	if err != nil {
		return err
	}
	photos = photos.Limit(each)
	if p != nil && called != options.Words {
		return fmt.Errorf("the protocol was measured with the words %q, found %q: name the same list with --words", options.Words, called)
	}
	if p != nil && len(photos.Items) != p.N {
		return fmt.Errorf("%s has %d photos, the protocol was measured on %d", c.Data, len(photos.Items), p.N)
	}
	m, o, err := c.viewFlags.open(s, p, c.lookFlags.options())
	if err != nil {
		return err
	}
	options.EvaluateOptions, options.Words = o, called
	result, err := m.Classify(s, photos, options)
	if err != nil {
		return err
	}
	c.same(s, result.Protocol)
	return c.report(s, result, m.Info().Name)
}
