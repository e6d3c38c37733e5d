package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/cmd/pacl/internal/launch"
	"github.com/pacl/pacl/imaging"
)

type segmentCommand struct {
	Photos []string `arg:"" name:"photo" help:"Photos: files, folders or patterns."`
	Labels string   `short:"l" required:"" placeholder:"WORDS" help:"Labels: \"cat, dog|puppy, person\", or a cls_*.txt file with one label a line and synonyms separated by comma and space."`
	Out    string   `short:"o" default:"segments" placeholder:"DIR" help:"Folder for masks, overlays and JSON. Default: ${default}."`
	modelFlags
	imageFlags
	Templates  string  `placeholder:"NAME" help:"Prompts: none, pacl7, clip80 or a sentence with {} in it. Default: the model's."`
	Background float64 `placeholder:"SHARE" help:"A pixel whose best label has less of the softmax (0 to 1) belongs to no label."`
	priorFlag
	Refine   string  `placeholder:"KIND" help:"Refine masks by the photo's colours: pamr, or pamr(8,16)x10 with distances and iterations."`
	Heatmaps bool    `help:"Write where each label is, as pictures."`
	Opacity  float64 `default:"0.55" help:"Opacity of the colours in overlays."`
	formatFlags
	Overwrite bool `help:"Do photos again that are done."`
	JSON      bool `name:"json" help:"Print the summaries as JSON lines on standard output."`
}

// fewPhotos are segmented in so short a time that it matters how fast memory is had for the first time.
const fewPhotos = 4

// encoderBytes and pixelBytes are about what an encoder and a photo's pixels take of the heap.
const encoderBytes, pixelBytes = 48 << 20, 24

func (c *segmentCommand) Run(s *session) error {
	labels, err := readLabels(c.Labels)
	if err != nil {
		return err
	}
	refinement, err := parseRefinement(c.Refine)
	if err != nil {
		return err
	}
	photos, err := pacl.FindPhotos(c.Photos)
	if err != nil {
		return err
	}
	if len(photos) <= fewPhotos {
		var pixels int64
		for _, photo := range photos {
			data, err := imaging.ReadFile(photo.Path, imaging.Limits{})
			if err != nil && len(photos) == 1 {
				return err // before the model is loaded
			}
			if width, height, _, err := imaging.DecodeConfig(data); err == nil {
				pixels += int64(width) * int64(height)
			}
		}
		if heap := encoderBytes + pixelBytes*pixels; heap > launch.Bytes {
			launch.LargePages(heap)
		}
	}
	model, err := c.modelFlags.open(s)
	if err != nil {
		return err
	}
	vocabulary, err := model.Vocabulary(s, labels, pacl.VocabularyOptions{Templates: c.Templates})
	if err != nil {
		return err
	}
	show := s.progress()
	started, done, skipped := time.Now(), 0, 0
	var good []pacl.Photo
	err = model.SegmentFiles(s, photos, vocabulary, pacl.FileOptions{
		Out: c.Out, Image: c.imageFlags.options(), Segment: pacl.SegmentOptions{Background: c.Background, ImagePrior: c.priorFlag.weight(), Refine: refinement},
		Heatmaps: c.Heatmaps, Opacity: c.Opacity, Overwrite: c.Overwrite,
		Extra: c.formatFlags.extra(), ExtraKey: c.formatFlags.key(),
		Done: func(r pacl.FileResult) {
			done++
			if r.Err == nil {
				good = append(good, r.Photo)
			}
			switch {
			case r.Err != nil:
				fmt.Fprintf(s.stderr, "pacl segment: %s\n", oneLine(r.Err))
			case r.Skipped:
				skipped++
			case c.JSON:
				// A failing standard output is nothing that the next photo could mend.
				_ = s.printLine(r.Summary)
			case len(photos) <= 20:
				s.logf("%s: %s", r.Photo.Path, shares(r.Summary))
			}
			if len(photos) > 20 {
				show(fmt.Sprintf("%d of %d photos, %.1f a second", done, len(photos), float64(done)/time.Since(started).Seconds()), done == len(photos))
			}
		},
	})
	if s.Err() != nil {
		return err
	}
	// Photos end in no certain order.
	slices.SortFunc(good, func(a, b pacl.Photo) int { return cmp.Compare(a.Stem, b.Stem) })
	merged, mergeErr := c.formatFlags.merge(c.Out, good)
	if err == nil {
		err = mergeErr
	}
	if err != nil {
		return err
	}
	for _, path := range merged {
		s.logf("all photos are in %s", path)
	}
	if skipped > 0 {
		s.logf("%d of %d photos were done before (--overwrite does them again)", skipped, len(photos))
	}
	s.logf("masks, overlays and JSON are in %s", c.Out)
	return nil
}

// readLabels reads labels from a file where the words name one.
func readLabels(words string) ([]pacl.Label, error) {
	if strings.HasSuffix(words, ".txt") || !strings.ContainsAny(words, ",|") {
		if info, err := os.Stat(words); err == nil && info.Mode().IsRegular() {
			return pacl.LoadLabels(words)
		} else if strings.HasSuffix(words, ".txt") {
			return nil, fmt.Errorf("labels: %w", err)
		}
	}
	return pacl.ParseLabels(words)
}

// shares is a line about what was found, the largest first.
func shares(f *pacl.FileSummary) string {
	const most = 6
	var parts []string
	for _, l := range f.Largest(most) {
		parts = append(parts, fmt.Sprintf("%s %.1f %%", l.Name, 100*l.Share))
	}
	return strings.Join(parts, ", ")
}
