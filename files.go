package pacl

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/readout"
	"github.com/pacl/pacl/render"
)

// FileOptions say what SegmentFiles writes, and how.
type FileOptions struct {
	Out       string // folder
	Image     ImageOptions
	Segment   SegmentOptions
	Heatmaps  bool    // write a picture of a(x, y) for each label
	Opacity   float64 // of overlays; 0 = 0.55
	Overwrite bool    // do photos again that are done
	// Extra, where not nil, writes more files of a photo; paths begin with stem.
	Extra func(stem string, photo Photo, s *Segmentation) error
	// ExtraKey names what Extra writes: a photo is done again when it changes.
	ExtraKey string
	// Done, where not nil, is called after each photo, from one goroutine at a time.
	Done func(FileResult)
}

// FileResult says how a photo went.
type FileResult struct {
	Photo   Photo
	Index   int // place among the photos
	Skipped bool
	Err     error // the photo could not be segmented
	Summary *FileSummary
}

// FileSummary is what the JSON of a photo says.
type FileSummary struct {
	Photo      string         `json:"photo"`
	Width      int            `json:"width"`
	Height     int            `json:"height"`
	Model      string         `json:"model"`
	Protocol   string         `json:"protocol"`
	Labels     []LabelSummary `json:"labels"`
	Background float64        `json:"background_share"`
	Mask       string         `json:"mask"`
	Overlay    string         `json:"overlay"`
	Heatmaps   []string       `json:"heatmaps,omitempty"`
	Settings   string         `json:"settings_sha256"` // a photo is done again when they change
}

// LabelSummary is what a label got.
type LabelSummary struct {
	ID        int      `json:"id"` // in the mask
	Name      string   `json:"name"`
	Words     []string `json:"words,omitempty"`
	Color     string   `json:"color"`
	Share     float64  `json:"area_share"`
	MeanScore *float64 `json:"mean_score"` // null where the label won no pixel
}

// SegmentFiles segments photos and writes for each an indexed PNG of its own size, an overlay with a legend and a JSON
// with area share and mean score of each label. A photo whose JSON exists with the same settings is skipped; the JSON is
// written last, so that an interrupted photo is done again. Photos that fail are reported and the others go on; the
// error says how many failed.
func (m *Model) SegmentFiles(ctx context.Context, photos []Photo, v *Vocabulary, o FileOptions) error {
	if o.Opacity == 0 {
		o.Opacity = 0.55
	}
	if err := os.MkdirAll(o.Out, 0o777); err != nil {
		return fmt.Errorf("output folder: %w", err)
	}
	run := &fileRun{model: m, vocabulary: v, options: o, settings: m.settings(v, o)}
	jobs := make(chan int)
	var workers sync.WaitGroup
	var mutex sync.Mutex
	failed := 0
	// One photo more than there are cores: while one is encoded on all of them, others are read and written.
	for range min(runtime.GOMAXPROCS(0)+1, len(photos)) {
		workers.Go(func() {
			for i := range jobs {
				result := run.photo(ctx, photos[i])
				result.Photo, result.Index = photos[i], i
				if ctx.Err() != nil {
					continue
				}
				mutex.Lock()
				if result.Err != nil {
					failed++
				}
				if o.Done != nil {
					o.Done(result)
				}
				mutex.Unlock()
			}
		})
	}
	for i := range photos {
		if ctx.Err() != nil {
			break
		}
		jobs <- i
	}
	close(jobs)
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d photos could not be segmented", failed, len(photos))
	}
	return nil
}

// settings names everything that the result of a photo depends on beside the photo.
func (m *Model) settings(v *Vocabulary, o FileOptions) string {
	info := m.Info()
	digest := sha256.New()
	for _, part := range []any{info.Name, info.Vision.Hash, info.Text.Hash, info.Method, v.Labels, o.Image, o.Segment, m.imagePrior(o.Segment.ImagePrior), o.Heatmaps, o.Opacity} {
		fmt.Fprintf(digest, "%v\n", part)
	}
	_ = binary.Write(digest, binary.LittleEndian, v.vectors)
	if o.ExtraKey != "" {
		fmt.Fprintf(digest, "extra %s\n", o.ExtraKey)
	}
	return hex.EncodeToString(digest.Sum(nil))
}

type fileRun struct {
	model      *Model
	vocabulary *Vocabulary
	options    FileOptions
	settings   string
}

func (r *fileRun) photo(ctx context.Context, photo Photo) FileResult {
	stem := filepath.Join(r.options.Out, photo.Stem)
	if !r.options.Overwrite && r.done(stem, photo) {
		return FileResult{Skipped: true}
	}
	summary, err := r.segment(ctx, photo, stem)
	return FileResult{Summary: summary, Err: err}
}

// done says whether the photo was segmented with the same settings before.
func (r *fileRun) done(stem string, photo Photo) bool {
	text, err := os.ReadFile(stem + ".json")
	if err != nil {
		return false
	}
	var summary FileSummary
	if json.Unmarshal(text, &summary) != nil || summary.Settings != r.settings || summary.Photo != photo.Path {
		return false
	}
	written, err := os.Stat(stem + ".json")
	source, sourceErr := os.Stat(photo.Path)
	return err == nil && sourceErr == nil && !source.ModTime().After(written.ModTime()) && exists(stem+maskEnding) && exists(stem+overlayEnding)
}

const (
	maskEnding    = ".mask.png"
	overlayEnding = ".overlay.png"
)

func (r *fileRun) segment(ctx context.Context, photo Photo, stem string) (*FileSummary, error) {
	im, err := imaging.Open(photo.Path)
	if err != nil {
		return nil, err
	}
	m, v, o := r.model, r.vocabulary, r.options
	encoded, err := m.Encode(ctx, im, o.Image)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", photo.Path, err)
	}
	scores, err := m.Scores(ctx, encoded, v)
	if err != nil {
		return nil, err
	}
	segment := o.Segment
	segment.Photo = im
	result, err := m.SegmentScores(ctx, scores, v, segment)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(stem), 0o777); err != nil {
		return nil, err
	}
	summary := r.summarise(photo, result)
	summary.Mask, summary.Overlay = filepath.Base(stem)+maskEnding, filepath.Base(stem)+overlayEnding
	err = atomicfile.Write(stem+maskEnding, func(w io.Writer) error {
		return imaging.EncodeMask(w, result.Mask, render.Palette(len(v.Labels)))
	})
	if err != nil {
		return nil, err
	}
	if err := r.writeOverlay(stem, im, result); err != nil {
		return nil, err
	}
	if o.Heatmaps {
		if summary.Heatmaps, err = r.writeHeatmaps(stem, im, scores); err != nil {
			return nil, err
		}
	}
	if o.Extra != nil {
		if err := o.Extra(stem, photo, result); err != nil {
			return nil, err
		}
	}
	err = atomicfile.Write(stem+".json", func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(summary)
	})
	return summary, err
}

func (r *fileRun) summarise(photo Photo, s *Segmentation) *FileSummary {
	protocol, err := r.model.protocol(EvaluateOptions{
		Image: r.options.Image, Templates: r.vocabulary.templates, Background: r.options.Segment.Background,
		ImagePrior: r.options.Segment.ImagePrior, Refine: r.options.Segment.Refine,
	})
	line := ""
	if err == nil {
		line = strings.TrimSpace(protocol.String())
	}
	summary := &FileSummary{
		Photo: photo.Path, Width: s.Mask.Width, Height: s.Mask.Height, Model: r.model.Info().Name,
		Protocol: line, Background: s.Background, Settings: r.settings,
	}
	for id, l := range s.Labels {
		c := render.Color(id)
		label := LabelSummary{ID: id, Name: l.Label.Name, Color: fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B), Share: l.Share}
		if len(l.Label.Words) > 1 {
			label.Words = l.Label.Words
		}
		if l.Pixels > 0 {
			score := l.MeanScore
			label.MeanScore = &score
		}
		summary.Labels = append(summary.Labels, label)
	}
	return summary
}

func (r *fileRun) writeOverlay(stem string, im *imaging.Image, s *Segmentation) error {
	overlay, err := render.NewOverlay(im, s.Mask, len(s.Labels), r.options.Opacity)
	if err != nil {
		return err
	}
	parts := []imaging.Rows{overlay}
	if entries := legend(s); len(entries) > 0 {
		strip, err := render.Legend(im.Width, entries)
		if err != nil {
			return err
		}
		parts = append(parts, strip)
	}
	return atomicfile.Write(stem+overlayEnding, func(w io.Writer) error { return imaging.EncodePNG(w, parts...) })
}

// legend lists the labels that won pixels, the largest first.
func legend(s *Segmentation) []render.Entry {
	var entries []render.Entry
	for id, l := range s.Labels {
		if l.Pixels > 0 {
			entries = append(entries, render.Entry{Name: l.Label.Name, Color: render.Color(id), Share: l.Share})
		}
	}
	slices.SortStableFunc(entries, func(a, b render.Entry) int { return cmp.Compare(b.Share, a.Share) })
	if s.Background > 0 {
		entries = append(entries, render.Entry{Name: "background", Color: render.Background, Share: s.Background})
	}
	return entries
}

func (r *fileRun) writeHeatmaps(stem string, im *imaging.Image, scores readout.Scores) (names []string, err error) {
	for l, label := range r.vocabulary.Labels {
		heat, err := r.model.heat(scores, l)
		if err != nil {
			return nil, err
		}
		full, err := readout.Upsample(heat, scores.Geometry)
		if err != nil {
			return nil, err
		}
		picture, err := render.Heatmap(im, full)
		if err != nil {
			return nil, err
		}
		path := fmt.Sprintf("%s.heat-%02d-%s.png", stem, l, fileName(label.Name))
		if err := atomicfile.Write(path, func(w io.Writer) error { return imaging.EncodePNG(w, picture) }); err != nil {
			return nil, err
		}
		names = append(names, filepath.Base(path))
	}
	return names, nil
}

// fileName is a label as a part of a file name that every system takes.
func fileName(label string) string {
	const length = 40
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return '-'
	}, label)
	if runes := []rune(name); len(runes) > length {
		name = string(runes[:length])
	}
	return strings.Trim(name, "-")
}

// Largest returns the n labels with the largest areas, without those that won nothing.
func (f *FileSummary) Largest(n int) []LabelSummary {
	labels := slices.DeleteFunc(slices.Clone(f.Labels), func(l LabelSummary) bool { return l.Share == 0 })
	slices.SortStableFunc(labels, func(a, b LabelSummary) int { return cmp.Compare(b.Share, a.Share) })
	return labels[:min(n, len(labels))]
}
