package pacl

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/readout"
)

// VocabularyOptions say how words become vectors.
type VocabularyOptions struct {
	// Templates that words are put into: none, pacl7, clip80 or a sentence with {} in it; "" = the model's own. A names
	// table takes words as they are.
	Templates string
	// AllowUnknown keeps labels that a names table lacks; they win no pixel. Otherwise they are an error.
	AllowUnknown bool
}

// Vocabulary holds the text vectors of labels.
type Vocabulary struct {
	Labels  []Label
	Unknown []string // names of labels that a names table lacks
	width   int
	first   []int     // [labels + 1]: where each label's words begin
	vectors []float32 // [words, width], unit vectors; NaN for unknown words
	// templates that the words were put into, as Options name them, or "table"
	templates string
}

// Vocabulary encodes the words of labels.
func (m *Model) Vocabulary(ctx context.Context, labels []Label, o VocabularyOptions) (*Vocabulary, error) {
	if len(labels) == 0 {
		return nil, errors.New("the label list is empty")
	}
	v := &Vocabulary{Labels: labels, first: make([]int, 1, len(labels)+1), templates: m.templates(o.Templates)}
	var words []string
	for _, label := range labels {
		words = append(words, label.Words...)
		v.first = append(v.first, len(words))
	}
	var err error
	if table, ok := m.text.(*encoder.Names); ok {
		err = m.lookUp(ctx, v, table, o.AllowUnknown)
	} else {
		err = m.embedPrompts(ctx, v, words, o.Templates)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Split takes a vocabulary apart into those of its labels, in order.
func (v *Vocabulary) Split() []*Vocabulary {
	parts := make([]*Vocabulary, len(v.Labels))
	for i, label := range v.Labels {
		part := &Vocabulary{
			Labels: []Label{label}, width: v.width, first: []int{0, v.first[i+1] - v.first[i]}, templates: v.templates,
			// A copy, so that one label that is kept does not keep the whole list.
			vectors: slices.Clone(v.vectors[v.first[i]*v.width : v.first[i+1]*v.width]),
		}
		if slices.Contains(v.Unknown, label.Name) {
			part.Unknown = []string{label.Name}
		}
		parts[i] = part
	}
	return parts
}

// JoinVocabularies is the vocabulary of all labels of vocabularies that were made alike, in order.
func JoinVocabularies(parts []*Vocabulary) (*Vocabulary, error) {
	if len(parts) == 0 {
		return nil, errors.New("the label list is empty")
	}
	all := &Vocabulary{first: []int{0}, width: parts[0].width, templates: parts[0].templates}
	for _, part := range parts {
		if part.width != all.width || part.templates != all.templates {
			return nil, fmt.Errorf("vocabularies of width %d with templates %s and of width %d with templates %s cannot be joined",
				all.width, all.templates, part.width, part.templates)
		}
		words := all.first[len(all.first)-1]
		for _, first := range part.first[1:] {
			all.first = append(all.first, words+first)
		}
		all.Labels = append(all.Labels, part.Labels...)
		all.Unknown = append(all.Unknown, part.Unknown...)
		all.vectors = append(all.vectors, part.vectors...)
	}
	return all, nil
}

// templates are those that words are put into where the user names some, or none.
func (m *Model) templates(asked string) string {
	if _, table := m.text.(*encoder.Names); table || asked == "" {
		return m.Info().Templates
	}
	return asked
}

// lookUp finds words in a names table. A label counts as unknown if all its words are.
func (m *Model) lookUp(ctx context.Context, v *Vocabulary, table *encoder.Names, allowUnknown bool) error {
	var unknowns []*encoder.UnknownNameError
	for l, label := range v.Labels {
		known := 0
		var first *encoder.UnknownNameError
		for _, word := range label.Words {
			vector, err := table.Embed(ctx, []string{word})
			switch unknown := (*encoder.UnknownNameError)(nil); {
			case errors.As(err, &unknown):
				if first == nil {
					first = unknown
				}
				vector = nil
			case err != nil:
				return err
			default:
				known++
			}
			if err := m.addVector(v, vector); err != nil {
				return err
			}
		}
		if known > 0 {
			continue
		}
		v.Unknown = append(v.Unknown, v.Labels[l].Name)
		unknowns = append(unknowns, first)
	}
	if len(unknowns) == 0 || allowUnknown {
		return nil
	}
	return unknownLabels(v, unknowns)
}

// unknownLabels tells of all labels that a names table lacks at once, so that nobody has to find them one by one.
func unknownLabels(v *Vocabulary, unknowns []*encoder.UnknownNameError) error {
	if len(unknowns) == 1 {
		return fmt.Errorf("label %q: %w", clip(v.Unknown[0]), unknowns[0])
	}
	const most = 5
	var list []string
	for i, unknown := range unknowns {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(unknowns)-most))
			break
		}
		text := fmt.Sprintf("%q", clip(v.Unknown[i]))
		if len(unknown.Suggestions) > 0 {
			text += fmt.Sprintf(" (near: %s)", strings.Join(unknown.Suggestions, ", "))
		}
		list = append(list, text)
	}
	return fmt.Errorf("the names table has none of %d of the %d labels: %s%s",
		len(unknowns), len(v.Labels), strings.Join(list, ", "), unknowns[0].Advice())
}

// addVector appends the shared-space vector of a sentence vector, NaN for nil.
func (m *Model) addVector(v *Vocabulary, sentence []float32) error {
	v.width = m.Info().Width
	if sentence == nil {
		for range v.width {
			v.vectors = append(v.vectors, float32(math.NaN()))
		}
		return nil
	}
	unit, err := m.toShared(sentence)
	if err != nil {
		return err
	}
	v.vectors = append(v.vectors, unit.F...)
	return nil
}

// toShared brings sentence vectors to the shared space, as unit vectors [N, D].
func (m *Model) toShared(sentences []float32) (kernel.Mat, error) {
	if m.head != nil {
		return m.head.Head.Texts(sentences)
	}
	width := m.text.Width()
	rows := kernel.FromFloat32(sentences, len(sentences)/width, width)
	kernel.NormalizeRows(rows, rows, 1e-12)
	return rows, nil
}

// Texts returns the unit vectors [N, Width] of texts as they are, in the space of the patch vectors.
func (m *Model) Texts(ctx context.Context, texts []string) ([]float32, error) {
	vectors, err := m.text.Embed(ctx, texts)
	if err != nil {
		return nil, err
	}
	if _, table := m.text.(*encoder.Names); !table && m.head != nil && m.head.NamesMean != nil {
		m.centre(vectors)
	}
	unit, err := m.toShared(vectors)
	return unit.F, err
}

// embedPrompts puts words into templates; a word's vector is the normalised mean of its prompts' unit vectors.
func (m *Model) embedPrompts(ctx context.Context, v *Vocabulary, words []string, name string) error {
	if name == "" {
		name = m.Info().Templates
	}
	templates, err := caption.Templates(name)
	if err != nil {
		return err
	}
	v.width = m.Info().Width
	key := m.vocabularyKey(words, templates)
	if key != "" {
		if known, ok := storedVectors(key, len(words), v.width); ok {
			v.vectors = known
			return nil
		}
	}
	v.vectors = make([]float32, len(words)*v.width)
	const wordsAtOnce = 64
	for first := 0; first < len(words); first += wordsAtOnce {
		some := words[first:min(first+wordsAtOnce, len(words))]
		var prompts []string
		for _, word := range some {
			for _, template := range templates {
				prompts = append(prompts, caption.Fill(template, word))
			}
		}
		unit, err := m.Texts(ctx, prompts)
		if err != nil {
			return err
		}
		for i := range some {
			mean := v.vectors[(first+i)*v.width : (first+i+1)*v.width]
			for t := range templates {
				kernel.Axpy(mean, 1, unit[(i*len(templates)+t)*v.width:][:v.width])
			}
		}
	}
	rows := kernel.FromFloat32(v.vectors, len(words), v.width)
	kernel.NormalizeRows(rows, rows, 1e-12)
	if key != "" {
		storeVectors(key, v.vectors, v.width)
	}
	return nil
}

// Scores are the cosines of each label's best word with each patch, [GridH, GridW, labels]; NaN for unknown labels.
func (m *Model) Scores(_ context.Context, e *Encoded, v *Vocabulary) (readout.Scores, error) {
	if e.Width != v.width {
		return readout.Scores{}, fmt.Errorf("patches of width %d and words of width %d come from different models", e.Width, v.width)
	}
	cells, words := e.Geometry.Cells(), v.first[len(v.Labels)]
	scores := kernel.NewMat(kernel.Float32, cells, words)
	kernel.Gemm(scores, 1, kernel.FromFloat32(e.Patches, cells, e.Width), false, kernel.FromFloat32(v.vectors, words, v.width), true, false, kernel.Float32)
	data := scores.F
	if words != len(v.Labels) {
		var err error
		if data, err = readout.MaxOverWords(data, cells, v.first); err != nil {
			return readout.Scores{}, err
		}
	}
	return readout.Scores{Geometry: e.Geometry, Labels: len(v.Labels), Data: data}, nil
}

// SegmentOptions say how scores become a mask.
type SegmentOptions struct {
	// Background is the share of the softmax over labels that the winner must have; a pixel below it belongs to no
	// label. 0: no threshold.
	Background float64
	// Temperature of that softmax; 0 = the model's own.
	Temperature float64
	// Confidence asks for the winners' mean share in the results.
	Confidence bool
	// ImagePrior is the weight that the photo as a whole has in what its pixels are (see readout.Prior); 0 = the model's
	// own, below 0 = none.
	ImagePrior float64
	// Refine is a refinement by the colours of Photo, which must then be given; the zero value is none.
	Refine readout.Refinement
	Photo  *imaging.Image
}

// Segmentation is a photo's mask with what each label got.
type Segmentation struct {
	Mask   *imaging.Mask // label by its place in the list; the number of labels stands for the background
	Labels []LabelResult
	// Background is the share of the photo's area that belongs to no label.
	Background float64
}

// LabelResult is what a label got.
type LabelResult struct {
	Label      Label
	Pixels     int64
	Share      float64 // of the photo's area
	MeanScore  float64 // cosine, over its pixels
	Confidence float64 // mean share in the softmax over labels, where asked for
}

// Segment gives each pixel of a photo the label with the best score.
func (m *Model) Segment(ctx context.Context, e *Encoded, v *Vocabulary, o SegmentOptions) (*Segmentation, error) {
	scores, err := m.Scores(ctx, e, v)
	if err != nil {
		return nil, err
	}
	return m.SegmentScores(ctx, scores, v, o)
}

// SegmentScores is Segment for scores that were computed, or changed, before.
func (m *Model) SegmentScores(ctx context.Context, scores readout.Scores, v *Vocabulary, o SegmentOptions) (*Segmentation, error) {
	labelled, err := m.labels(ctx, scores, o, false)
	if err != nil {
		return nil, err
	}
	result := &Segmentation{Mask: &imaging.Mask{Width: labelled.Width, Height: labelled.Height, ID: labelled.ID}}
	for l, label := range v.Labels {
		s := labelled.Stats[l]
		result.Labels = append(result.Labels, LabelResult{label, s.Pixels, s.Share, s.MeanScore, s.Confidence})
	}
	result.Background = labelled.Stats[len(v.Labels)].Share
	return result, nil
}

// ReadoutOptions are the options of package readout that stand for those of a segmentation with this model.
func (m *Model) ReadoutOptions(o SegmentOptions) readout.Options {
	info := m.Info()
	options := readout.Options{
		LogitScale: info.LogitScale, Background: o.Background, Confidence: o.Confidence,
		Prior: readout.Prior{Weight: m.imagePrior(o.ImagePrior), Tau: info.TauPatch},
	}
	if o.Temperature > 0 {
		options.LogitScale = 1 / o.Temperature
	}
	return options
}

// imagePrior is the weight that is asked for, or the model's own.
func (m *Model) imagePrior(asked float64) float64 {
	if asked != 0 {
		return max(asked, 0)
	}
	return m.Info().ImagePrior
}

// labels reads scores out, refined where that is asked for, and with the winner's share at every pixel for shares.
func (m *Model) labels(ctx context.Context, scores readout.Scores, o SegmentOptions, shares bool) (*readout.Segmentation, error) {
	options := m.ReadoutOptions(o)
	options.Confidence, options.ConfidenceMap = o.Confidence || shares, shares
	if o.Refine.Iterations == 0 {
		return readout.Segment(ctx, scores, options)
	}
	if o.Photo == nil {
		return nil, errors.New("refinement without a photo to go by")
	}
	return readout.SegmentRefined(ctx, scores, o.Photo.Pix, o.Refine, options)
}

// Heatmap is where a label is in a photo: the softmax over patches of its scores divided by tau_patch, [GridH, GridW];
// it sums to 1.
func (m *Model) Heatmap(ctx context.Context, e *Encoded, v *Vocabulary, label int) ([]float32, error) {
	if label < 0 || label >= len(v.Labels) {
		return nil, fmt.Errorf("label %d of %d", label, len(v.Labels))
	}
	scores, err := m.Scores(ctx, e, v)
	if err != nil {
		return nil, err
	}
	return m.heat(scores, label)
}

func (m *Model) heat(scores readout.Scores, label int) ([]float32, error) {
	plane := make([]float32, scores.Cells())
	for cell := range plane {
		plane[cell] = scores.Data[cell*scores.Labels+label]
	}
	return readout.Heat(plane, m.Info().TauPatch)
}
