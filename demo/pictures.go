package demo

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"image"
	"image/jpeg"
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
	Legend                []entry
	Scene, Overlay        []byte // JPEG
}

// entry is a word and its colour on the page.
type entry struct {
	Word   string
	Colour template.CSS
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
		p := picture{Title: fmt.Sprintf("Scene %d", i+1)}
		language, words, which := scene.English, "its names", func(k scene.Kind) []string { return k.English[:1] }
		switch i {
		case shownScenes - 2:
			words, which = "words that captions used as synonyms only", func(k scene.Kind) []string { return k.English[1:] }
		case shownScenes - 1:
			language, words, which = scene.Korean, "Korean words", func(k scene.Kind) []string { return k.Korean[:1] }
		}
		p.Title += ", by " + words
		s := shownScene(3*unseen+(o.Seed*shownScenes+uint64(i))*1000, which)
		p.Caption = s.Caption(language, 0)
		choose := func(k scene.Kind) string { return which(k)[0] }
		if err := r.segment(ctx, m, s, &p, choose); err != nil {
			return err
		}
		for _, file := range []struct {
			name string
			data []byte
		}{{fmt.Sprintf("scene-%d.jpg", i+1), p.Scene}, {fmt.Sprintf("scene-%d-segmented.jpg", i+1), p.Overlay}} {
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

// shownScene is the first scene from a seed on of which every kind has a word of those that are to be shown.
func shownScene(seed uint64, words func(scene.Kind) []string) *scene.Scene {
	for ; ; seed++ {
		s := scene.New(scene.Options{MinObjects: 3, Aspect: float64(shownWidth) / shownHeight}, seed)
		if !slices.ContainsFunc(s.Objects, func(o scene.Object) bool { return len(words(scene.Kinds[o.Kind])) == 0 }) {
			return s
		}
	}
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
	encoded, err := m.Encode(ctx, drawn.Image(), pacl.ImageOptions{Stride: fineStride(m)})
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
	overlay, err := render.NewOverlay(drawn.Image(), mask, len(labels), 0.72)
	if err != nil {
		return err
	}
	var legend []render.Entry
	for i, label := range labels {
		c := render.Color(i)
		p.Legend = append(p.Legend, entry{label.Name, template.CSS(fmt.Sprintf("rgb(%d, %d, %d)", c.R, c.G, c.B))})
		legend = append(legend, render.Entry{Name: label.Name, Color: c, Share: float64(areas[i]) / float64(len(mask.ID))})
	}
	segmented, err := render.WithLegend(overlay, legend)
	if err != nil {
		return err
	}
	if p.Scene, err = encodeJPEG(drawn.Image()); err != nil {
		return err
	}
	p.Overlay, err = encodeJPEG(segmented)
	return err
}

// encodeJPEG is small where a PNG of noise is not.
func encodeJPEG(im *imaging.Image) ([]byte, error) {
	rgba := image.NewRGBA(image.Rect(0, 0, im.Width, im.Height))
	for i := 0; i < im.Width*im.Height; i++ {
		copy(rgba.Pix[4*i:], im.Pix[3*i:3*i+3])
		rgba.Pix[4*i+3] = 255
	}
	var buffer bytes.Buffer
	err := jpeg.Encode(&buffer, rgba, &jpeg.Options{Quality: 88})
	return buffer.Bytes(), err
}
