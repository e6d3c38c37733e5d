package pacl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/evaluate"
	"github.com/pacl/pacl/evaluate/report"
	"github.com/pacl/pacl/hub"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/readout"
	"github.com/pacl/pacl/render"
)

// ReportOptions say how a matrix of experiments is run.
type ReportOptions struct {
	report.RunOptions
	// Progress tells how far the current cell is; it may be nil.
	Progress evaluate.Progress
	// Warn, where not nil, is given what is odd but no error.
	Warn func(message string)
}

// Report runs the experiments of a file: every model by every method on every data set with all options. What an earlier run
// into the same folder has measured is kept. It writes report.html and report.md into the folder.
func Report(ctx context.Context, e *report.Experiments, o ReportOptions) ([]report.Outcome, error) {
	o.Environment = append([]string{
		"instruction set: " + kernel.Name(),
		"precision of products: " + precisionName(kernel.Default()) + " unless the protocol says another",
	}, o.Environment...)
	return report.Run(ctx, e, &cellRunner{options: o, opened: map[string]*openedModel{}}, o.RunOptions)
}

// cellRunner measures cells with models, each opened once.
type cellRunner struct {
	options ReportOptions
	opened  map[string]*openedModel
}

type openedModel struct {
	model  *Model       // nil where it cannot be opened, for err
	vision *VisionModel // nil where not even the vision encoder can be
	err    error
}

func (r *cellRunner) open(ctx context.Context, m report.Model) *openedModel {
	key := strings.Join([]string{m.Model, m.Vision, m.Text, m.Tokenizer, m.Precision}, "\x00")
	if opened := r.opened[key]; opened != nil {
		return opened
	}
	o := Options{Model: m.Model, Vision: m.Vision, Text: m.Text, Tokenizer: m.Tokenizer, Precision: m.Precision, Warn: r.options.Warn}
	if m.Model == "" {
		o.Readout = "plain" // no head is meant; otherwise the one that comes with pacl would be taken
	}
	opened := &openedModel{}
	r.opened[key] = opened
	model, err := Open(ctx, o)
	switch {
	case err == nil:
		if _, table := model.text.(*encoder.Names); !table { // a table is quick, and is asked for by its type
			model.text = &rememberingText{Text: model.text, vectors: map[string][]float32{}}
		}
		opened.model, opened.vision = model, model.VisionModel()
	case m.Model == "":
		opened.vision, _ = OpenVision(ctx, o) // err tells more than a second error would
		opened.err = err
	default:
		opened.err = err
	}
	return opened
}

// method opens the model of a cell as the cell's method reads it out: a *Model or a *VisionModel.
func (r *cellRunner) method(ctx context.Context, c report.Cell) (PatchVectors, error) {
	opened := r.open(ctx, c.Model)
	if c.Method == tokenVectors {
		if c.Dataset.Experiment != CoherenceExperiment {
			return nil, report.NotApplicable{Reason: "an encoder's own tokens are compared with one another only, not with words"}
		}
		if opened.vision == nil {
			return nil, notApplicable(opened.err)
		}
		return opened.vision, nil
	}
	if opened.err != nil {
		return nil, notApplicable(opened.err)
	}
	if c.Method == string(align.PoolingPACL) || c.Method == string(align.PoolingMean) {
		if opened.model.head == nil {
			return nil, report.NotApplicable{Reason: "the model has no head"}
		}
		if pooling := opened.model.Info().Method; pooling != c.Method {
			return nil, report.NotApplicable{Reason: "the head was trained with the pooling " + pooling}
		}
		return opened.model, nil
	}
	m, err := opened.model.WithReadout(c.Method)
	if err != nil {
		return nil, notApplicable(err)
	}
	return m, nil
}

// notApplicable tells what a model cannot do, and what is not there, from failures.
func notApplicable(err error) error {
	if cannot := (*NotApplicableError)(nil); errors.As(err, &cannot) {
		return report.NotApplicable{Reason: cannot.Reason}
	}
	if missing := (*hub.NotFoundError)(nil); errors.As(err, &missing) {
		return report.NotApplicable{Reason: err.Error()}
	}
	return err
}

// Version hashes the weights of the cell's model and the names and sizes of the data set's files.
func (r *cellRunner) Version(ctx context.Context, c report.Cell) (string, error) {
	vectors, err := r.method(ctx, c)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	info := vectors.Info()
	fmt.Fprintln(hash, info.Vision.Hash, info.Text.Hash, info.Method)
	if m, ok := vectors.(*Model); ok {
		// The protocol holds all defaults of the model that change numbers; its card and history do not.
		protocol, err := m.protocol(EvaluateOptions{})
		if err != nil {
			return "", err
		}
		fmt.Fprintln(hash, protocol, info.LogitScale, info.TauPatch)
		if m.head != nil {
			fmt.Fprintf(hash, "%+v %d\n", m.head.Head.Config, m.head.Description.Layer)
			for _, tensor := range m.head.Head.Parameters.Tensors() {
				_ = binary.Write(hash, binary.LittleEndian, tensor.Data) // a hash takes all
			}
			_ = binary.Write(hash, binary.LittleEndian, m.head.NamesMean)
		}
	}
	var data string
	switch d := c.Dataset; d.Experiment {
	case ClassifyExperiment:
		photos, err := openClassified(d)
		if err != nil {
			return "", err
		}
		data, err = photos.Fingerprint()
		if err != nil {
			return "", err
		}
	case RetrievalExperiment, MosaicExperiment:
		source, err := caption.Open(d.Path, caption.Options{})
		if err != nil {
			return "", err
		}
		data = source.Hash()
		source.Close()
	default:
		set, err := openMasked(d)
		if err != nil {
			return "", err
		}
		if data, err = set.Fingerprint(); err != nil {
			return "", err
		}
	}
	fmt.Fprintln(hash, data)
	return hex.EncodeToString(hash.Sum(nil)[:12]), nil
}

func openMasked(d report.Dataset) (*evaluate.Dataset, error) {
	set, err := evaluate.Open(d.Name, d.Path, evaluate.OpenOptions{Split: d.Split, Masks: d.Masks})
	if err != nil {
		return nil, err
	}
	return set.Limit(d.Limit), nil
}

func openClassified(d report.Dataset) (*evaluate.Photos, error) {
	photos, _, err := OpenPhotos(d.Path, d.Words)
	if err != nil {
		return nil, err
	}
	return photos.Limit(d.Limit), nil
}

// OpenPhotos opens photos of one class each, a folder for each class or a list, and gives the classes the words of a list:
// a public data set's name, a file (see evaluate.ClassWords), or "" for the names of the folders. It returns how protocol
// lines call that list.
func OpenPhotos(path, words string) (photos *evaluate.Photos, called string, err error) {
	if photos, err = evaluate.OpenPhotos(path); err != nil || words == "" {
		return photos, "", err
	}
	known, called, err := evaluate.ClassWords(words)
	if err != nil {
		return nil, "", err
	}
	return photos, called, photos.Rename(known)
}

// options are what a cell asks for.
func (r *cellRunner) cellOptions(c report.Cell) (o EvaluateOptions, err error) {
	size := readout.InputSize{}
	if c.Options.Size != "" {
		if size, err = evaluate.ParseInputSize(c.Options.Size); err != nil {
			return o, fmt.Errorf("options %q: size %q: %w", c.Options.Name, c.Options.Size, err)
		}
	}
	o = EvaluateOptions{
		Image: ImageOptions{
			Size: size.Short, Width: size.Width, Height: size.Height,
			Stride: c.Options.Stride, Window: c.Options.Window, WindowStride: c.Options.WindowStride, Scales: c.Options.Scales,
		},
		Templates: c.Options.Templates, Synonyms: c.Options.Synonyms, Background: c.Options.Threshold,
		Run: evaluate.RunOptions{Progress: r.options.Progress},
	}
	if name, ok := templateNames[o.Templates]; ok {
		o.Templates = name
	}
	if c.Options.Mirror != nil {
		o.Image.Mirror = Off
		if *c.Options.Mirror {
			o.Image.Mirror = On
		}
	}
	if c.Options.ImagePrior != nil {
		if o.ImagePrior = *c.Options.ImagePrior; o.ImagePrior == 0 {
			o.ImagePrior = -1 // none, where 0 would be the model's own
		}
	}
	if c.Options.Refine != "" {
		if o.Refine, err = readout.ParseRefinement(c.Options.Refine); err != nil {
			return o, fmt.Errorf("options %q: %w", c.Options.Name, err)
		}
	}
	return o, nil
}

// Run measures a cell.
func (r *cellRunner) Run(ctx context.Context, c report.Cell) (*report.Result, error) {
	vectors, err := r.method(ctx, c)
	if err != nil {
		return nil, err
	}
	o, err := r.cellOptions(c)
	if err != nil {
		return nil, err
	}
	masks := c.Dataset.Experiment == SegmentationExperiment || c.Dataset.Experiment == MosaicExperiment
	if !masks && (o.Refine.Iterations > 0 || o.Background > 0 || c.Options.Sweep != "") {
		return nil, report.NotApplicable{Reason: "refinement and thresholds are for masks"}
	}
	if c.Dataset.Experiment == CoherenceExperiment {
		return r.coherence(ctx, vectors, c, o)
	}
	m := vectors.(*Model) // a VisionModel is for coherence only, as method saw to
	switch c.Dataset.Experiment {
	case PatchesExperiment:
		d, err := openMasked(c.Dataset)
		if err != nil {
			return nil, err
		}
		result, err := m.EvaluatePatches(ctx, d, o)
		if err != nil {
			return nil, notApplicable(err)
		}
		return report.FromPatches(result), nil
	case ClassifyExperiment:
		return r.classify(ctx, m, c, o)
	case RetrievalExperiment:
		o.Templates = ""
		result, err := m.Retrieve(ctx, RetrievalOptions{EvaluateOptions: o, Captions: c.Dataset.Path, Limit: c.Dataset.Limit})
		if err != nil {
			return nil, notApplicable(err)
		}
		return report.FromRetrieval(result), nil
	case MosaicExperiment:
		d, err := m.Mosaics(ctx, MosaicOptions{Captions: c.Dataset.Path, Seed: c.Dataset.Seed, Count: c.Dataset.Limit})
		if err != nil {
			return nil, notApplicable(err)
		}
		defer d.Close()
		return r.segmentation(ctx, m, d.Dataset, c, o)
	}
	d, err := openMasked(c.Dataset)
	if err != nil {
		return nil, err
	}
	return r.segmentation(ctx, m, d, c, o)
}

func (r *cellRunner) coherence(ctx context.Context, vectors PatchVectors, c report.Cell, o EvaluateOptions) (*report.Result, error) {
	d, err := openMasked(c.Dataset)
	if err != nil {
		return nil, err
	}
	result, err := EvaluateCoherence(ctx, vectors, d, o, evaluate.CoherenceOptions{Replicates: report.Replicates, Seed: c.Dataset.Seed})
	if err != nil {
		return nil, notApplicable(err)
	}
	return report.FromCoherence(result), nil
}

func (r *cellRunner) classify(ctx context.Context, m *Model, c report.Cell, o EvaluateOptions) (*report.Result, error) {
	photos, words, err := OpenPhotos(c.Dataset.Path, c.Dataset.Words)
	if err != nil {
		return nil, err
	}
	result, err := m.Classify(ctx, photos.Limit(c.Dataset.Limit), ClassifyOptions{EvaluateOptions: o, By: c.Dataset.By, Crop: c.Dataset.Crop, Words: words})
	if err != nil {
		return nil, notApplicable(err)
	}
	return report.FromClassify(result), nil
}

// Thresholds of a sweep: all that differ by two hundredths.
func Thresholds() []float64 {
	var list []float64
	for percent := 0; percent < 100; percent += 2 {
		list = append(list, float64(percent)/100)
	}
	return list
}

// SweptKey of a protocol line says on which split its threshold was chosen.
const SweptKey = "swept"

// Swept returns the options with the threshold that is best on d, a training split called split, and what it and no
// threshold gave there.
func (m *Model) Swept(ctx context.Context, d *evaluate.Dataset, split string, o EvaluateOptions) (swept EvaluateOptions, best, none evaluate.SweepPoint, err error) {
	points, best, err := m.SweepBackground(ctx, d, Thresholds(), o)
	if err != nil {
		return o, best, none, err
	}
	o.Background, o.More = best.Threshold, maps.Clone(o.More)
	if o.More == nil {
		o.More = map[string]string{}
	}
	o.More[SweptKey] = split
	return o, best, points[0], nil
}

// shownPictures is how many of the best and of the worst pictures of a cell the page shows.
const shownPictures = 2

func (r *cellRunner) segmentation(ctx context.Context, m *Model, d *evaluate.Dataset, c report.Cell, o EvaluateOptions) (*report.Result, error) {
	if c.Options.Sweep != "" {
		if d.Background < 0 {
			return nil, report.NotApplicable{Reason: "a threshold needs a background class, which " + d.Title + " lacks"}
		}
		training := c.Dataset
		training.Split = c.Options.Sweep
		split, err := openMasked(training)
		if err != nil {
			return nil, err
		}
		if o, _, _, err = m.Swept(ctx, split, c.Options.Sweep, o); err != nil {
			return nil, err
		}
	}
	segment, protocol, err := m.segmenter(ctx, d.Classes, o)
	if err != nil {
		return nil, err
	}
	result, err := evaluate.Segmentation(ctx, d, segment, protocol, o.Run)
	if err != nil {
		return nil, err
	}
	measured := report.FromSegmentation(result)
	best, worst := result.Record(m.name).Extremes(shownPictures)
	for _, shown := range []struct {
		kind string
		keys []string
	}{{"best", best}, {"worst", worst}} {
		for _, key := range shown.keys {
			picture, err := picture(ctx, d, key, segment)
			if err != nil {
				return nil, err
			}
			measured.Pictures = append(measured.Pictures, report.Picture{Title: key, Kind: shown.kind, JPEG: picture})
		}
	}
	return measured, nil
}

// picture shows a photo, its truth and what a segmenter makes of it side by side, as a JPEG.
func picture(ctx context.Context, d *evaluate.Dataset, key string, segment evaluate.SegmenterFunc) ([]byte, error) {
	i := slices.IndexFunc(d.Items, func(item evaluate.Item) bool { return item.Key == key })
	photo, truth, err := d.Load(d.Items[i])
	if err != nil {
		return nil, err
	}
	mask, err := segment(ctx, photo)
	if err != nil {
		return nil, err
	}
	const height = 200
	shrink := func(im *imaging.Image) *imaging.Image {
		return imaging.Resize(im, max(1, (im.Width*height+im.Height/2)/im.Height), height, imaging.Bicubic)
	}
	small := shrink(photo)
	panels := []*imaging.Image{small}
	counts := map[int]int{}
	for _, ids := range []*imaging.Mask{truth, mask} {
		overlay, err := render.NewOverlay(photo, ids, len(d.Classes), 0.6)
		if err != nil {
			return nil, err
		}
		panels = append(panels, shrink(overlay.Image()))
		for _, id := range ids.ID {
			counts[int(id)]++
		}
	}
	row, err := render.SideBySide(4, panels...)
	if err != nil {
		return nil, err
	}
	row, err = render.WithLegend(row, pictureLegend(d.Classes, counts, len(truth.ID)+len(mask.ID)))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	rgba := image.NewRGBA(image.Rect(0, 0, row.Width, row.Height))
	for i := range row.Width * row.Height {
		copy(rgba.Pix[4*i:], row.Pix[3*i:3*i+3])
		rgba.Pix[4*i+3] = 255
	}
	err = jpeg.Encode(&b, rgba, &jpeg.Options{Quality: 85})
	return b.Bytes(), err
}

// pictureLegend lists the classes that have a visible share of truth and mask together, the largest first.
func pictureLegend(classes []evaluate.Class, counts map[int]int, pixels int) []render.Entry {
	const most = 8
	var entries []render.Entry
	for id, n := range counts {
		if share := float64(n) / float64(pixels); id < len(classes) && share >= 0.005 {
			entries = append(entries, render.Entry{Name: classes[id].Name, Color: render.Color(id), Share: share})
		}
	}
	slices.SortFunc(entries, func(a, b render.Entry) int {
		if a.Share != b.Share {
			if a.Share > b.Share {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return entries[:min(most, len(entries))]
}

// Command is the command line that measures a cell again.
func (r *cellRunner) Command(c report.Cell, protocol string) string {
	quote := func(text string) string {
		if strings.Contains(text, "${") { // a variable of the file of experiments: the shell puts it in
			return `"` + text + `"`
		}
		if strings.ContainsAny(text, " \t\n\"'\\$&;()<>|*?[]#~`!{}") || text == "" {
			return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
		}
		return text
	}
	words := []string{"pacl", "eval"}
	data := "--data"
	switch d := c.Dataset; d.Experiment {
	case SegmentationExperiment:
		words = append(words, quote(d.Name))
	case PatchesExperiment, CoherenceExperiment:
		words = append(words, d.Experiment, quote(d.Name))
	case RetrievalExperiment, MosaicExperiment:
		words = append(words, d.Experiment)
		data = "--captions"
	default:
		words = append(words, d.Experiment)
	}
	words = append(words, data, quote(c.Dataset.Path))
	for _, flag := range []struct{ name, value string }{
		{"--words", c.Dataset.Words}, {"--model", c.Model.Model}, {"--vision", c.Model.Vision}, {"--text", c.Model.Text}, {"--tokenizer", c.Model.Tokenizer},
	} {
		if flag.value != "" {
			words = append(words, flag.name, quote(flag.value))
		}
	}
	return strings.Join(append(words, "--protocol", quote(protocol)), " ")
}

// rememberingText keeps the vectors of texts: the methods of a matrix put the same words into the same templates.
type rememberingText struct {
	encoder.Text
	mutex   sync.Mutex
	vectors map[string][]float32
}

// Embed encodes the texts that it was not given before.
func (t *rememberingText) Embed(ctx context.Context, texts []string) ([]float32, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	var fresh []string
	asked := map[string]bool{}
	for _, text := range texts {
		if t.vectors[text] == nil && !asked[text] {
			asked[text] = true
			fresh = append(fresh, text)
		}
	}
	width := t.Width()
	if len(fresh) > 0 {
		vectors, err := t.Text.Embed(ctx, fresh)
		if err != nil {
			return nil, err
		}
		for i, text := range fresh {
			t.vectors[text] = vectors[i*width : (i+1)*width]
		}
	}
	result := make([]float32, 0, len(texts)*width)
	for _, text := range texts {
		result = append(result, t.vectors[text]...)
	}
	return result, nil
}
