package feature

import (
	"context"
	"fmt"
	"strings"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
)

// nameTable is a text encoder of a fixed vocabulary: it finds its names in a caption, and has nothing to say about a
// caption without one.
type nameTable interface {
	encoder.Text
	Find(text string) []int
	Name(i int) string
	NameVector(i int) []float32
}

// embedder turns the captions of samples into vectors.
type embedder struct {
	text    encoder.Text
	phrases Phrases
	known   map[string][]float32 // extra texts already embedded
}

// knownLimit bounds how many vectors of extra texts are remembered.
const knownLimit = 1 << 15

// captions embeds the captions of some samples at once. A sample may come back with fewer captions than it had, or none:
// a names table skips those without a name.
func (e *embedder) captions(ctx context.Context, samples [][]string) ([][]Caption, error) {
	out := make([][]Caption, len(samples))
	table, isTable := e.text.(nameTable)
	var texts []string
	var extras []string
	wanted := map[string]bool{}
	for i, captions := range samples {
		for _, text := range captions {
			c := Caption{Text: text}
			if isTable {
				found := table.Find(text)
				if len(found) == 0 {
					continue
				}
				if e.phrases.Names {
					c.Extras = namesIn(table, found)
				}
			}
			for _, phrase := range e.nounPhrases(text) {
				c.Extras = append(c.Extras, Text{Text: phrase})
				if _, known := e.known[phrase]; !known && !wanted[phrase] {
					wanted[phrase] = true
					extras = append(extras, phrase)
				}
			}
			out[i] = append(out[i], c)
			texts = append(texts, text)
		}
	}
	vectors, err := e.embed(ctx, append(texts, extras...))
	if err != nil {
		return nil, err
	}
	fresh := map[string][]float32{}
	for k, phrase := range extras {
		fresh[phrase] = vectors[len(texts)+k]
	}
	next := 0
	for i := range out {
		for k := range out[i] {
			c := &out[i][k]
			c.Vector = vectors[next]
			next++
			for x := range c.Extras {
				if extra := &c.Extras[x]; extra.Vector == nil {
					if extra.Vector = fresh[extra.Text]; extra.Vector == nil {
						extra.Vector = e.known[extra.Text]
					}
				}
			}
		}
	}
	for phrase, vector := range fresh {
		if len(e.known) < knownLimit {
			e.known[phrase] = vector
		}
	}
	return out, nil
}

// namesIn returns the distinct names that were found, in order.
func namesIn(table nameTable, found []int) []Text {
	var names []Text
	seen := map[int]bool{}
	for _, n := range found {
		if !seen[n] {
			seen[n] = true
			names = append(names, Text{table.Name(n), table.NameVector(n)})
		}
	}
	return names
}

// nounPhrases returns the noun phrases of a caption in each template, each text once.
func (e *embedder) nounPhrases(text string) []string {
	if len(e.phrases.Templates) == 0 {
		return nil
	}
	var filled []string
	seen := map[string]bool{}
	for _, phrase := range caption.NounPhrases(text) {
		for _, template := range e.phrases.Templates {
			if t := strings.ReplaceAll(template, "{}", phrase); !seen[t] {
				seen[t] = true
				filled = append(filled, t)
			}
		}
	}
	return filled
}

func (e *embedder) embed(ctx context.Context, texts []string) ([][]float32, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	flat, err := e.text.Embed(ctx, texts)
	if err != nil {
		return nil, fmt.Errorf("embed captions: %w", err)
	}
	width := e.text.Width()
	if len(flat) != len(texts)*width {
		return nil, fmt.Errorf("embed captions: %d numbers for %d texts, expected %d", len(flat), len(texts), len(texts)*width)
	}
	vectors := make([][]float32, len(texts))
	for i := range vectors {
		vectors[i] = flat[i*width : (i+1)*width : (i+1)*width]
	}
	return vectors, nil
}
