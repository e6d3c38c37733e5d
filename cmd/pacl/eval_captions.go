package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/evaluate"
)

// errNoCaptions is for experiments on captioned photos without a list of them.
const errNoCaptions = usageError("missing flag --captions")

// retrievalCommand searches captions by photos and photos by captions.
type retrievalCommand struct {
	viewFlags
	resultFlags
	captionFlags
	Limit int `placeholder:"N" help:"Take the first N photos only."`
}

func (c *retrievalCommand) Run(s *session) error {
	p, err := c.parse(pacl.RetrievalExperiment)
	if err != nil {
		return err
	}
	switch {
	case c.Captions == "":
		return errNoCaptions
	case c.Limit < 0:
		return usageError(fmt.Sprintf("--limit %d, expected a number of photos", c.Limit))
	}
	m, o, err := c.open(s, p, pacl.EvaluateOptions{})
	if err != nil {
		return err
	}
	options := pacl.RetrievalOptions{EvaluateOptions: o, Captions: c.Captions, Source: c.source(), Limit: c.Limit}
	if p != nil {
		options.Limit, options.Hash = p.N, p.More["captions"]
	}
	result, err := m.Retrieve(s, options)
	if err != nil {
		return err
	}
	c.same(s, result.Protocol)
	return c.report(s, result, m.Info().Name)
}

type mosaicCommand struct {
	maskFlags
	captionFlags
	Count     int     `default:"200" help:"How many mosaics."`
	Photos    string  `enum:"all,held-out" default:"all" placeholder:"KIND" help:"Photos to lay: all, or held-out, those that the head kept out of its training. Default: ${default}."`
	Tiles     int     `default:"2" help:"Tiles per side; 1 measures photos by themselves, each under its main name."`
	Pixels    int     `default:"448" help:"Side of a mosaic."`
	MinPhotos int     `default:"4" help:"Photos that a name needs to compete."`
	Border    float64 `help:"Share of a tile's side that is not scored at each of its edges."`
	Seed      uint64  `default:"1" help:"Seed of the choice of photos."`
}

func (c *mosaicCommand) Run(s *session) error {
	p, err := c.parse(pacl.MosaicExperiment)
	if err != nil {
		return err
	}
	if c.Captions == "" {
		return errNoCaptions
	}
	options, err := c.mosaics(p)
	if err != nil {
		return err
	}
	m, o, err := c.maskFlags.open(s, p)
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
func (c *mosaicCommand) mosaics(p *evaluate.Protocol) (pacl.MosaicOptions, error) {
	o := pacl.MosaicOptions{
		Captions: c.Captions, Source: c.source(),
		Seed: c.Seed, Count: c.Count, Tiles: c.Tiles, Pixels: c.Pixels, MinPhotos: c.MinPhotos, Border: c.Border,
		Photos: pacl.MosaicPhotos(c.Photos),
	}
	if p == nil {
		return o, nil
	}
	var across int
	_, err := fmt.Sscanf(strings.Join([]string{p.More["tiles"], p.More["pixels"], p.More["seed"], p.More["min"], p.More["border"]}, " "),
		"%dx%d %d %d %d %g", &o.Tiles, &across, &o.Pixels, &o.Seed, &o.MinPhotos, &o.Border)
	if err != nil {
		return o, fmt.Errorf("protocol %q is not one of mosaics", c.Protocol)
	}
	o.Count, o.Photos = p.N, pacl.MosaicPhotos(cmp.Or(p.More["photos"], string(pacl.MosaicAll)))
	return o, nil
}
