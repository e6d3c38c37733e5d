package align

import (
	"fmt"
	"slices"
	"strings"
)

// Card describes the model for people, in Markdown: what it is, recipe, data, seed, hashes, scores and licences. It holds
// nothing that the description does not, so that the same training writes the same card.
func (d Description) Card() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# A PACL head for %s with %s", d.Vision.Name, d.Text.Name)
	line("")
	line("A head for open-vocabulary segmentation, trained by Patch Aligned Contrastive Learning (Mukhoti et al., CVPR 2023) on")
	line("captioned images alone: no masks, no labels. It carries the patch tokens of a frozen vision encoder and the sentence")
	line("vectors of a frozen text encoder into one space of width %d, where a patch's cosine with a name says whether it is one.", d.Head.Width)
	line("")
	line("    pacl segment --model DIR --labels \"cat, dog, person\" photo.jpg")
	line("")
	line("## Encoders")
	line("")
	line("| | name | family | sha256 of its tensors | hub |")
	line("| --- | --- | --- | --- | --- |")
	for _, e := range []struct {
		role string
		EncoderReference
	}{{"vision", d.Vision}, {"text", d.Text}} {
		hub := strings.Join(e.HubIDs, ", ")
		if e.Template != "" && hub != "" {
			hub += fmt.Sprintf(" with the template %q", e.Template)
		}
		line("| %s | %s | %s | `%s` | %s |", e.role, e.Name, e.Family, e.Hash, hub)
	}
	line("")
	templates := "none"
	if len(d.Templates) > 0 {
		templates = fmt.Sprint(len(d.Templates))
	}
	layer := "the last block"
	if d.Layer != 0 {
		layer = fmt.Sprintf("block %d", d.Layer)
	}
	line("Input: short side %d pixels, patch stride %d, tokens of %s. Prompt templates: %s.", d.InputSize, d.Stride, layer, templates)
	if d.Scales > 1 {
		line("Photos are looked at %d sizes, each the root of 2 larger than the one before, and averaged.", d.Scales)
	}
	if d.Mirror {
		line("Their mirror images are looked at as well.")
	}
	if d.ImagePrior > 0 {
		line("A label's scores are raised by %g times its compatibility with the photo as a whole.", d.ImagePrior)
	}
	line("")
	line("## Data")
	line("")
	line("%s: %d images, %d for training and %d kept out for validation. List of images and captions: sha256 `%s`.",
		d.Data.Name, d.Data.Images, d.Data.Training, d.Data.Validation, d.Data.Hash)
	for _, licence := range d.Data.Licences {
		line("")
		line("- %s", licence)
	}
	line("")
	line("## Recipe")
	line("")
	r := d.Recipe
	line("| | |")
	line("| --- | --- |")
	for _, row := range [][2]any{
		{"pooling", r.Head.Pooling}, {"tau_patch", r.Head.TauPatch}, {"text embedder", r.Head.Text},
		{"hidden width", r.Head.Hidden}, {"width", r.Head.Width},
		{"epochs", r.Epochs}, {"batch", r.Batch}, {"learning rate", r.Rate}, {"floor of the rate", r.RateFloor},
		{"warm-up steps", r.Warmup}, {"AdamW", fmt.Sprintf("beta %g and %g, epsilon %g, weight decay %g", r.Beta1, r.Beta2, r.Epsilon, r.WeightDecay)},
		{"logit scale", fmt.Sprintf("%.6g at the start, trained: %t", r.LogitScale, r.TrainLogitScale)},
		{"share of names and phrases", r.ExtraShare}, {"cached views drawn", r.Views}, {"precision", r.Precision}, {"seed", r.Seed},
	} {
		line("| %v | %v |", row[0], row[1])
	}
	if len(d.Scores) > 0 {
		line("")
		line("## Scores")
		line("")
		line("| | |")
		line("| --- | --- |")
		names := make([]string, 0, len(d.Scores))
		for name := range d.Scores {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			line("| %s | %.4f |", name, d.Scores[name])
		}
	}
	for _, note := range d.Notes {
		line("")
		line("%s", note)
	}
	line("")
	line("## Limits")
	line("")
	line("The head knows what the captions told it. Names that were rare in them, thin things and things that always appear")
	line("together with others are found poorly. It is not made for decisions about people.")
	return b.String()
}
