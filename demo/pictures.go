package demo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/render"
	"github.com/pacl/pacl/scene"
)

// picture is one segmented scene on the page.
type picture struct {
	Title, Caption, Words string
	Scene, Overlay        []byte // PNG
	Synonym               bool
}

// The size at which scenes are drawn for people, and how many.
const (
	shownWidth, shownHeight = 512, 384
	shownScenes             = 6
)

// show segments scenes that were never seen: by usual words, one by synonyms and one by Korean words.
func (r *Report) show(ctx context.Context, m *pacl.Model, o Options) error {
	for i := 0; i < shownScenes; i++ {
		o.Progress("segmenting scenes by words", i, shownScenes)
		s := scene.New(scene.Options{MinObjects: 3, Aspect: float64(shownWidth) / shownHeight}, 3*unseen+o.Seed+uint64(i))
		p := picture{Title: fmt.Sprintf("Scene %d", i+1), Caption: s.Caption(scene.English, 0)}
		choose := func(k scene.Kind) string { return k.English[0] }
		switch i {
		case shownScenes - 2:
			p.Title += ", by words that captions used as synonyms only"
			choose = func(k scene.Kind) string { return k.English[len(k.English)-1] }
		case shownScenes - 1:
			p.Title += ", by Korean words"
			p.Caption = s.Caption(scene.Korean, 0)
			choose = func(k scene.Kind) string { return k.Korean[0] }
		}
		if err := r.segment(ctx, m, s, &p, choose); err != nil {
			return err
		}
		for _, file := range []struct {
			name string
			data []byte
		}{{fmt.Sprintf("scene-%d.png", i+1), p.Scene}, {fmt.Sprintf("scene-%d-segmented.png", i+1), p.Overlay}} {
			path := filepath.Join(o.Out, file.name)
			if err := os.WriteFile(path, file.data, 0o644); err != nil {
				return err
			}
			r.Pictures = append(r.Pictures, path)
		}
		r.shown = append(r.shown, p)
	}
	o.Progress("segmenting scenes by words", shownScenes, shownScenes)
	return nil
}

// segment labels a scene with the kinds in it; ground, which is no kind, is left as it is by the known outlines.
func (r *Report) segment(ctx context.Context, m *pacl.Model, s *scene.Scene, p *picture, choose func(scene.Kind) string) error {
	var labels []pacl.Label
	for _, object := range s.Objects {
		word := choose(scene.Kinds[object.Kind])
		if !slices.ContainsFunc(labels, func(l pacl.Label) bool { return l.Name == word }) {
			labels = append(labels, pacl.Label{Name: word, Words: []string{word}})
			if p.Words != "" {
				p.Words += ", "
			}
			p.Words += word
		}
	}
	drawn := s.Render(shownWidth, shownHeight)
	started := time.Now()
	vocabulary, err := m.Vocabulary(ctx, labels, pacl.VocabularyOptions{Templates: "none"})
	if err != nil {
		return err
	}
	patch := m.Info().Vision.PatchSize
	encoded, err := m.Encode(ctx, drawn.Image(), pacl.ImageOptions{Stride: max(1, patch/2)})
	if err != nil {
		return err
	}
	result, err := m.Segment(ctx, encoded, vocabulary, pacl.SegmentOptions{})
	if err != nil {
		return err
	}
	r.took = time.Since(started)
	mask := &imaging.Mask{Width: result.Mask.Width, Height: result.Mask.Height, ID: slices.Clone(result.Mask.ID)}
	areas := make([]int, len(labels))
	for i := range mask.ID {
		if drawn.Object[i] == 0 {
			mask.ID[i] = uint16(len(labels))
		} else if int(mask.ID[i]) < len(labels) {
			areas[mask.ID[i]]++
		}
	}
	overlay, err := render.Overlay(drawn.Image(), mask, len(labels), 0.72)
	if err != nil {
		return err
	}
	var legend []render.Entry
	for i, label := range labels {
		legend = append(legend, render.Entry{Name: label.Name, Color: render.Color(i), Share: float64(areas[i]) / float64(len(mask.ID))})
	}
	if p.Korean() {
		legend = nil // the legend's font has no Hangul; the page writes the words itself
	}
	if legend != nil {
		if overlay, err = render.WithLegend(overlay, legend); err != nil {
			return err
		}
	}
	if p.Scene, err = encodePNG(drawn.Image()); err != nil {
		return err
	}
	p.Overlay, err = encodePNG(overlay)
	return err
}

// Korean says whether the words are Korean.
func (p *picture) Korean() bool {
	for _, c := range p.Words {
		if c >= 0xac00 && c <= 0xd7a3 {
			return true
		}
	}
	return false
}

func encodePNG(im *imaging.Image) ([]byte, error) {
	var buffer bytes.Buffer
	err := render.EncodePNG(&buffer, im)
	return buffer.Bytes(), err
}
