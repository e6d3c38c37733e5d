package pacl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/evaluate"
	"github.com/pacl/pacl/hub"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/readout"
)

// Keys and values of protocol lines that say which experiment a number comes from.
const (
	experimentKey = "experiment"
	vectorsKey    = "vectors"
	tokenVectors  = "tokens" // the encoder's own
	sharedVectors = "shared" // those in the space of words
	byKey         = "by"
	cropKey       = "crop"
	wordsKey      = "words"
)

// noPrior is the weight of the photo as a whole where masks are not what is measured.
const noPrior = -1

// VisionModel is a vision encoder alone: its patch tokens as they are, of any family.
type VisionModel struct{ model Model }

// OpenVision opens the vision encoder that o.Vision names, or else that of the model.
func OpenVision(ctx context.Context, o Options) (*VisionModel, error) {
	if o.Vision == "" {
		m, err := Open(ctx, o)
		if err != nil {
			return nil, err
		}
		return m.VisionModel(), nil
	}
	precision, err := ParsePrecision(o.Precision)
	if err != nil {
		return nil, err
	}
	dir, err := hub.Resolve(o.Vision)
	if err != nil {
		return nil, err
	}
	v := &VisionModel{Model{precision: precision}}
	if v.model.vision, err = encoder.OpenVision(dir, v.model.encoderOptions(o)); err != nil {
		return nil, err
	}
	v.model.name = v.model.vision.Info().Name()
	return v, nil
}

// VisionModel is the model's vision encoder alone.
func (m *Model) VisionModel() *VisionModel {
	return &VisionModel{Model{name: m.vision.Info().Name(), precision: m.precision, vision: m.vision}}
}

// Info says what the encoder is.
func (v *VisionModel) Info() Info { return v.model.Info() }

// PatchVectors are the vectors that a model gives patches: a Model's are in the space of texts, a VisionModel's are the
// encoder's own tokens.
type PatchVectors interface {
	Info() Info
	patchEncoder(o ImageOptions) evaluate.PatchEncoder
	protocolOf(o EvaluateOptions) (evaluate.Protocol, error)
}

func (m *Model) patchEncoder(o ImageOptions) evaluate.PatchEncoder {
	return evaluate.PatchEncoderFunc(func(ctx context.Context, photo *imaging.Image) (*evaluate.PatchVectors, error) {
		e, err := m.Encode(ctx, photo, o)
		if err != nil {
			return nil, err
		}
		return &evaluate.PatchVectors{Geometry: e.Geometry, Width: e.Width, Vectors: e.Patches}, nil
	})
}

func (v *VisionModel) patchEncoder(o ImageOptions) evaluate.PatchEncoder {
	return v.model.patchEncoder(o)
}

// protocolOf leaves out what has nothing to do with patch vectors alone: words and masks.
func (m *Model) protocolOf(o EvaluateOptions) (evaluate.Protocol, error) {
	p, err := m.protocol(EvaluateOptions{Image: o.Image, Templates: "none", ImagePrior: noPrior, More: o.More})
	p.Templates = ""
	p.More[vectorsKey] = sharedVectors
	return p, err
}

func (v *VisionModel) protocolOf(o EvaluateOptions) (evaluate.Protocol, error) {
	p, err := v.model.protocolOf(o)
	delete(p.More, readoutKey)
	p.More[vectorsKey] = tokenVectors
	return p, err
}

// EvaluatePatches measures how often the nearest class of a patch, by its words' vectors, is its label. Before alignment:
// the same with m.WithReadout("plain").
func (m *Model) EvaluatePatches(ctx context.Context, d *evaluate.Dataset, o EvaluateOptions) (*evaluate.PatchResult, error) {
	if o.Background != 0 || o.Refine.Iterations != 0 {
		return nil, errors.New("patches have no background threshold and no refinement: those are for masks")
	}
	o.ImagePrior = noPrior
	r, err := m.prepare(ctx, d.Classes, o)
	if err != nil {
		return nil, err
	}
	r.protocol.More[experimentKey] = PatchesExperiment
	texts := evaluate.Texts{Width: r.vocabulary.width, Vectors: r.vocabulary.vectors, First: r.vocabulary.first}
	return evaluate.Patches(ctx, d, m.patchEncoder(o.Image), texts, r.protocol, o.Run)
}

// EvaluateCoherence measures how well the cosine of two patches tells whether they show the same class. Of o only the
// image options are looked at.
func EvaluateCoherence(ctx context.Context, v PatchVectors, d *evaluate.Dataset, o EvaluateOptions, c evaluate.CoherenceOptions) (*evaluate.CoherenceResult, error) {
	p, err := v.protocolOf(o)
	if err != nil {
		return nil, err
	}
	p.More[experimentKey] = CoherenceExperiment
	c.RunOptions = o.Run
	return evaluate.Coherence(ctx, d, v.patchEncoder(o.Image), p, c)
}

// ClassifyOptions say what zero-shot classification goes by.
type ClassifyOptions struct {
	EvaluateOptions
	// By is "phi", the compatibility of all patches with a class's words, or "class", the cosine of the projected class
	// token with them.
	By string
	// Crop is "center" for the square in the middle of the photo, as CLIP was measured, "none" for all of it, "" for what
	// is usual: the square for the class token, all for phi.
	Crop string
	// Words names the list that the words of classes come from, for the protocol line; empty: the photos' folders.
	Words string
}

// Classify measures zero-shot classification. A class that a names table lacks is never right.
func (m *Model) Classify(ctx context.Context, photos *evaluate.Photos, o ClassifyOptions) (*evaluate.ClassifyResult, error) {
	if o.Background != 0 || o.Refine.Iterations != 0 {
		return nil, errors.New("classification has no background threshold and no refinement: those are for masks")
	}
	var compare func(ctx context.Context, photo *imaging.Image, v *Vocabulary) ([]float32, error)
	switch o.By {
	case "", "phi":
		o.By = "phi"
		compare = func(ctx context.Context, photo *imaging.Image, v *Vocabulary) ([]float32, error) {
			e, err := m.Encode(ctx, photo, o.Image)
			if err != nil {
				return nil, err
			}
			return m.compatibilities(e, v.vectors), nil
		}
	case "class":
		if o.Image.Window != 0 || o.Image.Stride != 0 && o.Image.Stride != m.vision.Info().PatchSize {
			return nil, &NotApplicableError{"the class token is that of the whole input at the patch size: no windows, no other stride"}
		}
		// The class token speaks the language of the encoder's own texts, whatever a head would make of them.
		bare, err := m.forWholeImages()
		if err != nil {
			return nil, err
		}
		m = bare
		compare = func(ctx context.Context, photo *imaging.Image, v *Vocabulary) ([]float32, error) {
			return m.classCosines(ctx, photo, v.vectors, o.Image)
		}
	default:
		return nil, fmt.Errorf("classification by %q, expected phi or class", o.By)
	}
	switch {
	case o.Crop == "" && o.By == "class":
		o.Crop = "center"
	case o.Crop == "":
		o.Crop = "none"
	case o.Crop != "center" && o.Crop != "none":
		return nil, fmt.Errorf("crop %q, expected center or none", o.Crop)
	}
	o.ImagePrior = noPrior
	r, err := m.prepare(ctx, photos.Classes, o.EvaluateOptions)
	if err != nil {
		return nil, err
	}
	r.protocol.More[byKey], r.protocol.More[cropKey] = o.By, o.Crop
	if o.By == "class" {
		delete(r.protocol.More, readoutKey) // there is no read-out of patches in it
	}
	if o.Words != "" {
		r.protocol.More[wordsKey] = o.Words
	}
	classifier := evaluate.ClassifierFunc(func(ctx context.Context, photo *imaging.Image) ([]float32, error) {
		if o.Crop == "center" {
			var err error
			if photo, err = m.centerCrop(photo, r.protocol.Size); err != nil {
				return nil, err
			}
		}
		scores, err := compare(ctx, photo, r.vocabulary)
		if err != nil {
			return nil, err
		}
		return readout.MaxOverWords(scores, 1, r.vocabulary.first)
	})
	return evaluate.Classify(ctx, photos, classifier, r.protocol, o.Run)
}

// forWholeImages returns the model's encoders without a head. It is a NotApplicableError where the vision encoder has no
// vectors of whole images in the space of the model's texts.
func (m *Model) forWholeImages() (*Model, error) {
	switch vision := m.vision.Info(); {
	case vision.ImageDim == 0:
		return nil, &NotApplicableError{fmt.Sprintf("the vision encoder %s (%s) has no vectors of whole images", vision.Name(), vision.Family)}
	case vision.ImageDim != m.text.Width():
		return nil, &NotApplicableError{fmt.Sprintf("the vision encoder has vectors of width %d for whole images, the text encoder gives width %d", vision.ImageDim, m.text.Width())}
	}
	return &Model{name: m.name, precision: m.precision, vision: m.vision, text: m.text, readout: encoder.Plain}, nil
}

// centerCrop resizes the short side to that of the encoder's input and cuts the square out of the middle, as CLIP does.
func (m *Model) centerCrop(photo *imaging.Image, size readout.InputSize) (*imaging.Image, error) {
	side := size.Short
	if side == 0 {
		return nil, fmt.Errorf("the square in the middle of a photo is encoded at one size, not at %v", size)
	}
	short := min(photo.Width, photo.Height)
	width, height := max(photo.Width*side/short, side), max(photo.Height*side/short, side)
	if pixels := int64(width) * int64(height); pixels > 1<<28 {
		return nil, fmt.Errorf("photo of %dx%d at a short side of %d has %d pixels, expected at most %d", photo.Width, photo.Height, side, pixels, 1<<28)
	}
	resized := imaging.Resize(photo, width, height, m.vision.Info().Resample)
	return resized.Crop((width-side)/2, (height-side)/2, side, side), nil
}

// classCosines compares the vector of a whole photo, CLIP's class token, with texts [N, Width].
func (m *Model) classCosines(ctx context.Context, photo *imaging.Image, texts []float32, o ImageOptions) ([]float32, error) {
	plan, err := m.plan(photo, o)
	if err != nil {
		return nil, err
	}
	resized := imaging.Resize(photo, plan.InputW, plan.InputH, m.vision.Info().Resample)
	out, err := m.vision.Encode(ctx, m.vision.Pixels(resized), 1, plan.InputH, plan.InputW, encoder.EncodeOptions{})
	if err != nil {
		return nil, err
	}
	vector, err := m.vision.ImageVectors(out)
	if err != nil {
		return nil, err
	}
	unit := kernel.FromFloat32(vector, 1, len(vector))
	kernel.NormalizeRows(unit, unit, 1e-12)
	n := len(texts) / len(vector)
	cosines := kernel.NewMat(kernel.Float32, 1, n)
	kernel.Gemm(cosines, 1, unit, false, kernel.FromFloat32(texts, n, len(vector)), true, false, kernel.Float32)
	return cosines.F, nil
}

// textsAtOnce is how many texts are encoded at once, and how many a photo attends to at once.
const textsAtOnce = 1024

// compatibilities returns phi [N] of an encoded photo with unit text vectors [N, Width], pooled as the head was trained;
// without a head as PACL pools, at the temperature of heat maps.
func (m *Model) compatibilities(e *Encoded, texts []float32) []float32 {
	pool := &align.Head{Config: align.Config{Pooling: align.PoolingPACL, TauPatch: m.Info().TauPatch}}
	if m.head != nil {
		pool = m.head.Head
	}
	n := len(texts) / e.Width
	u := kernel.FromFloat32(e.Patches, e.Geometry.Cells(), e.Width)
	phi := make([]float32, 0, n)
	for first := 0; first < n; first += textsAtOnce {
		last := min(first+textsAtOnce, n)
		phi = append(phi, pool.Compatibility(u, kernel.FromFloat32(texts[first*e.Width:last*e.Width], last-first, e.Width))...)
	}
	return phi
}

// RetrievalOptions say which captioned photos are searched.
type RetrievalOptions struct {
	EvaluateOptions
	Captions string
	Source   caption.Options
	Limit    int // photos, the first ones of the list; 0 takes all
	// Hash, where not empty, is what the protocol line of an earlier run says of the captions; another list is refused.
	Hash string
}

// Retrieve measures recall at 1, 5 and 10 of captions by photos and of photos by captions, by phi. Captions are taken as they
// are; one in which a names table finds no name is left out and counted in the protocol line.
func (m *Model) Retrieve(ctx context.Context, o RetrievalOptions) (*evaluate.RetrievalResult, error) {
	if o.Background != 0 || o.Refine.Iterations != 0 || o.Templates != "" {
		return nil, errors.New("retrieval takes captions as they are: no templates, no threshold, no refinement")
	}
	source, err := caption.Open(o.Captions, o.Source)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	hash := source.Hash()[:min(12, len(source.Hash()))]
	if o.Hash != "" && o.Hash != hash {
		return nil, fmt.Errorf("%s has the hash %s, the protocol was measured on %s: these are other captions", o.Captions, hash, o.Hash)
	}
	table, _ := m.text.(*encoder.Names)
	var (
		samples []caption.Sample
		keys    []string
		owner   []int
		texts   []string
		unknown int
	)
	for o.Limit == 0 || len(samples) < o.Limit {
		sample, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, text := range sample.Texts {
			if table != nil && len(table.Find(text)) == 0 {
				unknown++
				continue
			}
			texts, owner = append(texts, text), append(owner, len(samples))
		}
		samples, keys = append(samples, sample), append(keys, sample.Key)
	}
	vectors := make([]float32, 0, len(texts)*m.Info().Width)
	for first := 0; first < len(texts); first += textsAtOnce {
		some, err := m.Texts(ctx, texts[first:min(first+textsAtOnce, len(texts))])
		if err != nil {
			return nil, err
		}
		vectors = append(vectors, some...)
	}
	p, err := m.protocol(EvaluateOptions{Image: o.Image, Templates: "none", ImagePrior: noPrior, More: o.More})
	if err != nil {
		return nil, err
	}
	p.Templates = ""
	p.More["captions"] = hash
	if unknown > 0 {
		p.More["unnamed"] = strconv.Itoa(unknown)
	}
	return evaluate.Retrieval(ctx, &phiScorer{m, samples, vectors, o.Image}, owner, keys, p, o.Run)
}

// phiScorer scores captioned photos against all captions.
type phiScorer struct {
	model   *Model
	samples []caption.Sample
	texts   []float32
	image   ImageOptions
}

func (s *phiScorer) Counts() (images, texts int) {
	return len(s.samples), len(s.texts) / s.model.Info().Width
}

func (s *phiScorer) Score(ctx context.Context, image int, dst []float32) error {
	data, err := s.samples[image].Read()
	if err != nil {
		return err
	}
	photo, err := imaging.Decode(data, imaging.Limits{})
	if err != nil {
		return err
	}
	e, err := s.model.Encode(ctx, photo, s.image)
	if err != nil {
		return err
	}
	copy(dst, s.model.compatibilities(e, s.texts))
	return nil
}

// The experiments that protocol lines come from.
const (
	SegmentationExperiment = "segmentation"
	PatchesExperiment      = "patches"
	CoherenceExperiment    = "coherence"
	ClassifyExperiment     = "classify"
	RetrievalExperiment    = "retrieval"
	MosaicExperiment       = "mosaic"
	scoreExperiment        = "score"
)

// ScoreProtocol is the protocol of masks that another program wrote: nothing is known of how.
func ScoreProtocol() evaluate.Protocol {
	return evaluate.Protocol{More: map[string]string{experimentKey: scoreExperiment}}
}

// ExperimentOf tells which experiment a protocol line comes from.
func ExperimentOf(p evaluate.Protocol) string {
	switch p.Dataset {
	case ClassifyExperiment, RetrievalExperiment, MosaicExperiment:
		return p.Dataset
	}
	if experiment := p.More[experimentKey]; experiment != "" {
		return experiment
	}
	return SegmentationExperiment
}

// ClassifyFromProtocol returns what FromProtocol does, what classification went by, and how many photos of a class were taken
// at most (0: all).
func ClassifyFromProtocol(p evaluate.Protocol) (o ClassifyOptions, each int, err error) {
	if o.EvaluateOptions, err = FromProtocol(p); err != nil {
		return o, 0, err
	}
	o.By, o.Crop, o.Words = p.More[byKey], p.More[cropKey], p.More[wordsKey]
	each, err = wholeNumber(p, "each")
	return o, each, err
}

// CoherenceFromProtocol returns how a protocol line says that coherence was measured, and whether of the encoder's own
// tokens.
func CoherenceFromProtocol(p evaluate.Protocol) (o evaluate.CoherenceOptions, ofTokens bool, err error) {
	var seed, exact int
	if o.Sample, err = wholeNumber(p, "sample"); err != nil {
		return o, false, err
	}
	if seed, err = wholeNumber(p, "seed"); err != nil {
		return o, false, err
	}
	if exact, err = wholeNumber(p, "exact"); err != nil {
		return o, false, err
	}
	o.Seed, o.ExactPairs = uint64(seed), int64(exact)
	return o, p.More[vectorsKey] == tokenVectors, nil
}

// wholeNumber reads a number that may stand in a protocol line; 0 where it does not.
func wholeNumber(p evaluate.Protocol, key string) (int, error) {
	text, ok := p.More[key]
	if !ok {
		return 0, nil
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("protocol: %s=%s, expected a whole number", key, text)
	}
	return v, nil
}
