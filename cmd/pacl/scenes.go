package main

import (
	"fmt"

	"github.com/pacl/pacl/scene"
)

type scenesCommand struct {
	Out        string  `required:"" placeholder:"DIR" help:"Folder to write to."`
	Count      int     `default:"1000" help:"Scenes."`
	Seed       uint64  `default:"1" help:"Seed of the first scene; the next has the next."`
	Width      int     `default:"96" help:"Width of the pictures in pixels."`
	Height     int     `placeholder:"N" help:"Height. Default: the width."`
	Least      int     `default:"1" help:"Fewest objects of a scene."`
	Monochrome float64 `placeholder:"SHARE" help:"Share of scenes in the lightness of one muted hue, whose captions name no colours."`
	Unnamed    float64 `placeholder:"SHARE" help:"Share of objects in colours of any hue, which captions do not name."`
	Pairs      string  `enum:"train,novel,any" default:"train" help:"Pairs of kind and colour: train (without the held-out ones), novel (those only), any."`
	Format     string  `enum:"folder,webdataset" default:"folder" help:"folder: images, masks, classes.txt and captions.tsv for pacl train and pacl eval folder; webdataset: shards."`
}

func (c *scenesCommand) Run(s *session) error {
	if c.Count < 1 || c.Width < 8 || c.Width > 8192 || c.Height < 0 || c.Height > 8192 || c.Height > 0 && c.Height < 8 {
		return usageError("expected --count of at least 1 and pictures of 8 to 8192 pixels")
	}
	if !(c.Monochrome >= 0 && c.Monochrome <= 1 && c.Unnamed >= 0 && c.Unnamed <= 1) {
		return usageError("expected --monochrome and --unnamed of 0 to 1")
	}
	split := map[string]scene.Split{"train": scene.Train, "novel": scene.Novel, "any": scene.Any}[c.Pairs]
	o := scene.SourceOptions{
		Options: scene.Options{Split: split, MinObjects: c.Least, Monochrome: c.Monochrome, Unnamed: c.Unnamed}, First: c.Seed, Count: c.Count, Width: c.Width, Height: c.Height,
	}
	show := s.progress()
	done := func(n int) { show(fmt.Sprintf("scenes: %d of %d", n, c.Count), n == c.Count) }
	if c.Format == "webdataset" {
		return scene.WriteWebDataset(s, c.Out, o, done)
	}
	return scene.WriteSegmentation(s, c.Out, o, done)
}
