package pacl

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/hub"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/models"
	"github.com/pacl/pacl/models/builtin"
)

// About says what a directory holds and what it is good for.
type About struct {
	Dir    string             `json:"dir"`
	Model  *align.Description `json:"model,omitempty"`  // of a PACL model
	Vision *encoder.Info      `json:"vision,omitempty"` // of an encoder directory
	Text   *encoder.Info      `json:"text,omitempty"`
	Cache  *feature.Status    `json:"cache,omitempty"` // of features
	// NoText is why a CLIP's text encoder cannot be used as it is, a missing tokenizer say.
	NoText string   `json:"no_text,omitempty"`
	Use    []string `json:"use"`
}

// Inspect finds out what a model directory, hub id, name in PACL_MODELS or model that comes with pacl is.
func Inspect(reference string) (*About, error) {
	if reference == builtin.Name && !exists(reference) {
		dir, _, err := builtin.Dir()
		if err != nil {
			return nil, err
		}
		return inspectHead(os.DirFS(dir), dir, reference)
	}
	dir, err := hub.Resolve(reference)
	if files, shipped := models.Open(reference); err != nil && shipped {
		return inspectHead(files, reference, reference)
	}
	if err != nil {
		return nil, err
	}
	if exists(filepath.Join(dir, align.DescriptionName)) {
		return inspectHead(os.DirFS(dir), dir, reference)
	}
	a := &About{Dir: dir}
	if feature.IsCache(dir) {
		status, err := feature.Inspect(dir)
		if err != nil {
			return nil, err
		}
		a.Cache = &status
		a.Use = append(a.Use, "train a head: pacl train --features "+reference+" --out DIR")
		return a, nil
	}
	o := encoder.Options{Precision: kernel.BFloat16}
	v, visionErr := encoder.OpenVision(dir, o)
	if visionErr == nil {
		info := v.Info()
		a.Vision = &info
	}
	t, textErr := encoder.OpenText(dir, o)
	if textErr == nil {
		info := t.Info()
		a.Text = &info
	}
	if a.Vision != nil && a.Vision.ProjectionDim > 0 && textErr != nil {
		a.NoText = textErr.Error()
	}
	switch {
	case a.Vision != nil && a.Text != nil && a.Vision.ProjectionDim > 0:
		a.Use = append(a.Use, "segment photos without a head: pacl segment --vision "+reference+` --labels "cat, dog" photo.jpg`,
			"train a head: pacl train --vision "+reference+" --text "+reference+" --captions FILE --out DIR")
	case a.Vision != nil && a.Text != nil:
		a.Use = append(a.Use, "train a head: pacl train --vision "+reference+" --text "+reference+" --captions FILE --out DIR")
	case a.Vision != nil:
		a.Use = append(a.Use, "train a head: pacl train --vision "+reference+" --text ENCODER --captions FILE --out DIR")
	case a.Text != nil:
		a.Use = append(a.Use, "train a head: pacl train --vision ENCODER --text "+reference+" --captions FILE --out DIR")
	default:
		return nil, errors.Join(visionErr)
	}
	return a, nil
}

// MissingEncoders returns the hub ids of the encoders that a PACL model needs and that are found nowhere; nothing where the
// directory is another one, or where the model tells of no hub id.
func MissingEncoders(dir string) ([]string, error) {
	if !exists(filepath.Join(dir, align.DescriptionName)) {
		return nil, nil
	}
	d, err := align.ReadDescription(dir)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, r := range []align.EncoderReference{d.Vision, d.Text} {
		if _, err := resolveEncoder("", r); err != nil && len(r.HubIDs) > 0 && !slices.Contains(missing, r.HubIDs[0]) {
			missing = append(missing, r.HubIDs[0])
		}
	}
	return missing, nil
}

func inspectHead(files fs.FS, dir, reference string) (*About, error) {
	m, err := align.LoadModelFS(files, dir)
	if err != nil {
		return nil, err
	}
	use := "segment photos by words: pacl segment --model " + reference + ` --labels "cat, dog" photo.jpg`
	return &About{Dir: dir, Model: &m.Description, Use: []string{use}}, nil
}

// Lines prints it for people.
func (a *About) Lines() []string {
	lines := []string{a.Dir}
	add := func(format string, args ...any) { lines = append(lines, "  "+fmt.Sprintf(format, args...)) }
	if d := a.Model; d != nil {
		add("PACL head: %d -> %d -> %d, pooling %s, text embedder %s, tau_patch %g, %d parameters",
			d.Head.TokenWidth, d.Head.Hidden, d.Head.Width, d.Head.Pooling, d.Head.Text, d.Head.TauPatch, align.ParameterCount(d.Head))
		add("input: short side %d, patch stride %d, scales %d, mirror image %t, weight of the photo as a whole %g",
			d.InputSize, d.Stride, max(d.Scales, 1), d.Mirror, d.ImagePrior)
		for _, e := range []struct {
			role string
			r    align.EncoderReference
		}{{"vision", d.Vision}, {"text", d.Text}} {
			add("%s encoder: %s (%s, width %d), sha256 %s%s", e.role, e.r.Name, e.r.Family, e.r.Width, e.r.Hash, hubList(e.r.HubIDs))
		}
		add("trained on: %s, %d images", d.Data.Name, d.Data.Training)
		for _, name := range slices.Sorted(maps.Keys(d.Scores)) {
			add("%s: %.4g", name, d.Scores[name])
		}
	}
	if v := a.Vision; v != nil {
		add("vision encoder: %s, %d layers, %d heads, width %d, patches of %d pixels, %d before them", v.Family, v.Layers, v.Heads, v.Width, v.PatchSize, v.Prefix)
		add("  trained at %d pixels, %.1f million parameters, %.1f GFLOP an image there", v.ImageSize, float64(v.Params)/1e6, v.FLOPs(v.ImageSize, v.ImageSize, 0)/1e9)
		if v.ProjectionDim > 0 {
			add("  projection to a space of width %d, logit scale %.1f", v.ProjectionDim, v.LogitScale)
		} else if v.ImageDim > 0 {
			add("  vectors of whole images of width %d, logit scale %.1f, bias %.1f", v.ImageDim, v.LogitScale, v.LogitBias)
		}
		add("  sha256 of its tensors %s", v.Hash)
	}
	if a.NoText != "" {
		add("%s", a.NoText)
	}
	if t := a.Text; t != nil {
		if t.Family == "names" {
			add("names table: %d names of width %d, made with %s and the template %q", t.Vocabulary, t.Width, t.Source, t.Template)
		} else {
			add("text encoder: %s, %d layers, %d heads, width %d, up to %d tokens of %d", t.Family, t.Layers, t.Heads, t.Width, t.Positions, t.Vocabulary)
		}
		if a.Vision == nil || a.Vision.Hash != t.Hash {
			add("  sha256 of its tensors %s", t.Hash)
		}
	}
	if a.Cache != nil {
		lines = append(lines, cacheLines(*a.Cache)...)
	}
	for _, use := range a.Use {
		add("%s", use)
	}
	return lines
}

// cacheLines tells what a feature cache was made from and how far it is.
func cacheLines(s feature.Status) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, "  "+fmt.Sprintf(format, args...)) }
	m := s.Manifest
	add("feature cache: %s (%s, width %d) and %s (%s, width %d)", m.Vision.Name, m.Vision.Family, m.Vision.Width, m.Text.Name, m.Text.Family, m.Text.Width)
	add("  input %d, stride %d, %d patches, %d views of each photo, list %.12s", m.Preprocessing.Size, m.Preprocessing.Stride, m.Patches, m.Preprocessing.Views.Count(), m.DataHash)
	images, finished := 0, 0
	for i, p := range s.Parts {
		switch {
		case p.Complete:
			images += p.Images
			finished++
		case p.Dir != "":
			add("  not finished: part %d in %s, %d shards so far: run the same command again", i+1, p.Dir, p.Shards)
		}
	}
	for _, lost := range s.Lost() {
		add("  missing: %s", lost)
	}
	add("  %d images in %d finished parts of %d", images, finished, len(s.Parts))
	return lines
}

func hubList(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return ", on the hub: " + strings.Join(ids, ", ")
}
