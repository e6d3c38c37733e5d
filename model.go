package pacl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/hub"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/models"
	"github.com/pacl/pacl/models/builtin"
	"github.com/pacl/pacl/readout"
)

// Options of Open. A model or an encoder is named by a directory, a hub id, or a name in the directories of PACL_MODELS.
type Options struct {
	// Model is a PACL model directory, or a CLIP directory, which is then read out without a head. Empty: Vision decides,
	// and without that the head that comes with pacl.
	Model string
	// Vision and Text name the encoders in place of those that the head was trained with.
	Vision, Text string
	// Readout is how a CLIP without a head is read out: naclip (the default), plain, maskclip, sclip or clearclip. A model
	// with a head is then read out without it, which is n/a where its vision encoder has no projection.
	Readout string
	// Precision of products: "bf16", "f32", or "" for the fastest of this processor.
	Precision string
	// Tokenizer is a directory to take the tokenizer from where the weights have none.
	Tokenizer string
	// Warn, where not nil, is given what is odd but no error.
	Warn func(message string)
}

// Model segments: a frozen vision encoder, a frozen text encoder, and a head or a read-out that brings them together. Its
// methods may be called by many goroutines at once.
type Model struct {
	name      string
	precision kernel.Precision
	vision    *encoder.Vision
	text      encoder.Text    // nil for the patch tokens of a VisionModel
	head      *align.Model    // nil without a head
	readout   encoder.Readout // without a head
}

// ErrNoModel says that no model was named and none comes with pacl whose encoders are at hand.
var ErrNoModel = errors.New("no model: name a PACL model with --model, a CLIP directory with --vision, or try --model builtin")

// ParsePrecision reads "bf16", "f32" or "".
func ParsePrecision(name string) (kernel.Precision, error) {
	switch name {
	case "":
		return kernel.Default(), nil
	case "f32":
		return kernel.Float32, nil
	case "bf16":
		return kernel.BFloat16, nil
	}
	return 0, fmt.Errorf("precision %q, expected bf16 or f32", name)
}

// Open opens a model.
func Open(_ context.Context, o Options) (*Model, error) {
	precision, err := ParsePrecision(o.Precision)
	if err != nil {
		return nil, err
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	m := &Model{precision: precision}
	if o.Model == builtin.Name && !exists(o.Model) {
		var clip string
		if o.Model, clip, err = builtin.Dir(); err != nil {
			return nil, err
		}
		o.Vision, o.Text = cmp.Or(o.Vision, clip), cmp.Or(o.Text, clip)
		// It is known by its name, not by that of the folder in the cache.
		err := m.openHead(os.DirFS(o.Model), o.Model, o)
		m.name = builtin.Name
		return m, err
	}
	switch {
	case o.Model != "":
		dir, err := hub.Resolve(o.Model)
		if files, shipped := models.Open(o.Model); err != nil && shipped {
			return m, m.openHead(files, o.Model, o)
		}
		if err != nil {
			return nil, err
		}
		if !exists(filepath.Join(dir, align.DescriptionName)) {
			if o.Vision != "" {
				return nil, fmt.Errorf("model %s: %s is missing, so it is no PACL model", dir, align.DescriptionName)
			}
			return m, m.openReadout(dir, o)
		}
		return m, m.openHead(os.DirFS(dir), dir, o)
	case o.Vision != "":
		dir, err := hub.Resolve(o.Vision)
		if err != nil {
			return nil, err
		}
		if err := m.openReadout(dir, o); !errors.Is(err, errNoProjection) || o.Readout != "" {
			return m, err
		}
		m = &Model{precision: precision}
	}
	files, _ := models.Open(models.Shipped)
	err = m.openHead(files, models.Shipped, o)
	if missing := (*hub.NotFoundError)(nil); errors.As(err, &missing) {
		return nil, fmt.Errorf("%w; the head that comes with pacl, %s, needs its encoders: %w", ErrNoModel, models.Shipped, err)
	}
	return m, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (m *Model) encoderOptions(o Options) encoder.Options {
	return encoder.Options{Precision: m.precision, Tokenizer: o.Tokenizer}
}

// NotApplicableError says what a model cannot do, and why.
type NotApplicableError struct{ Reason string }

func (e *NotApplicableError) Error() string { return e.Reason }

var errNoProjection = &NotApplicableError{"encoder without a projection to the space of texts: it needs a head, see pacl train --help"}

// openReadout opens a CLIP that segments by its own projection.
func (m *Model) openReadout(dir string, o Options) (err error) {
	m.name = filepath.Base(dir)
	m.readout = encoder.NACLIP
	if o.Readout != "" {
		if m.readout, err = encoder.ParseReadout(o.Readout); err != nil {
			return err
		}
	}
	textDir := dir
	if o.Text != "" {
		if textDir, err = hub.Resolve(o.Text); err != nil {
			return err
		}
	}
	m.vision, m.text, err = encoder.Open(dir, textDir, m.encoderOptions(o))
	if m.vision != nil && m.vision.Info().ProjectionDim == 0 {
		return fmt.Errorf("%s is a %s %w", dir, m.vision.Info().Family, errNoProjection)
	}
	if err != nil {
		return err
	}
	if m.text.Width() != m.vision.Info().ProjectionDim {
		return fmt.Errorf("%s gives vectors of width %d, %s of width %d: they do not belong together",
			m.text.Info().Dir, m.text.Width(), dir, m.vision.Info().ProjectionDim)
	}
	if m.text.Info().Hash != m.vision.Info().Hash {
		o.Warn(fmt.Sprintf("%s and %s have vectors of the same width, but nothing tells that they were trained together", dir, m.text.Info().Dir))
	}
	return nil
}

// openHead opens a PACL model and the encoders that it was trained with.
func (m *Model) openHead(files fs.FS, dir string, o Options) (err error) {
	m.name = filepath.Base(filepath.Clean(dir))
	if m.head, err = align.LoadModelFS(files, dir); err != nil {
		return err
	}
	d := m.head.Description
	visionDir, err := resolveEncoder(o.Vision, d.Vision)
	if err != nil {
		return fmt.Errorf("model %s, vision encoder: %w", dir, err)
	}
	textDir, err := resolveEncoder(o.Text, d.Text)
	if err != nil {
		return fmt.Errorf("model %s, text encoder: %w", dir, err)
	}
	if m.vision, m.text, err = encoder.Open(visionDir, textDir, m.encoderOptions(o)); err != nil {
		return err
	}
	if err := m.checkEncoders(dir, o.Warn); err != nil || o.Readout == "" {
		return err
	}
	bare, err := m.WithReadout(o.Readout)
	if err != nil {
		return fmt.Errorf("model %s without its head: %w", dir, err)
	}
	*m = *bare
	return nil
}

// WithReadout returns the model's encoders read out without a head: naclip, plain, maskclip, sclip or clearclip. It is a
// NotApplicableError where the vision encoder has no projection to the space of the model's texts.
func (m *Model) WithReadout(name string) (*Model, error) {
	kind, err := encoder.ParseReadout(name)
	if err != nil {
		return nil, err
	}
	switch vision := m.vision.Info(); {
	case vision.ProjectionDim == 0:
		return nil, &NotApplicableError{fmt.Sprintf("the vision encoder %s (%s) has no projection to the space of texts", filepath.Base(vision.Dir), vision.Family)}
	case vision.ProjectionDim != m.text.Width():
		return nil, &NotApplicableError{fmt.Sprintf("the vision encoder projects to vectors of width %d, the text encoder gives width %d", vision.ProjectionDim, m.text.Width())}
	}
	return &Model{name: m.name, precision: m.precision, vision: m.vision, text: m.text, readout: kind}, nil
}

// resolveEncoder finds an encoder: where the user says, else by the name and then the hub ids that the head holds.
func resolveEncoder(asked string, r align.EncoderReference) (string, error) {
	if asked != "" {
		return hub.Resolve(asked)
	}
	var firstErr error
	for _, reference := range slices.Concat([]string{r.Name}, r.HubIDs) {
		if reference == "" {
			continue
		}
		// A name alone is looked for in PACL_MODELS, not in the working directory.
		dir, err := hub.ResolveName(reference)
		if err == nil {
			return dir, nil
		}
		if firstErr == nil || hub.IsID(reference) {
			firstErr = err
		}
	}
	if firstErr == nil {
		firstErr = errors.New("the head names none")
	}
	return "", firstErr
}

// checkEncoders compares the encoders with those of the training.
func (m *Model) checkEncoders(dir string, warn func(string)) error {
	d := m.head.Description
	vision, text := m.vision.Info(), m.text.Info()
	if vision.Width != d.Vision.Width {
		return fmt.Errorf("model %s was trained with %s (tokens of width %d), %s has tokens of width %d: they do not belong together",
			dir, d.Vision.Name, d.Vision.Width, vision.Dir, vision.Width)
	}
	if m.text.Width() != d.Text.Width {
		return fmt.Errorf("model %s was trained with %s (vectors of width %d), %s has vectors of width %d: they do not belong together",
			dir, d.Text.Name, d.Text.Width, text.Dir, m.text.Width())
	}
	if vision.Hash != d.Vision.Hash {
		probe, err := ProbeVision(m.vision, d.Layer)
		if err != nil {
			return err
		}
		if err := compareProbe(dir, "vision encoder", vision.Dir, d.Vision, probe, warn); err != nil {
			return err
		}
	}
	if text.Hash != d.Text.Hash {
		probe, err := m.probeText()
		if unknown := (*encoder.UnknownNameError)(nil); errors.As(err, &unknown) {
			return fmt.Errorf("model %s was trained with the text encoder %s, %s is another table of names: they do not belong together",
				dir, d.Text.Name, text.Dir)
		}
		if err != nil {
			return err
		}
		return compareProbe(dir, "text encoder", text.Dir, d.Text, probe, warn)
	}
	return nil
}

// sameEncoder is the cosine of probes above which two copies of an encoder are believed to be the same one, rounded
// differently.
const sameEncoder = 0.98

func compareProbe(model, what, dir string, r align.EncoderReference, probe []float32, warn func(string)) error {
	if len(r.Probe) != len(probe) {
		warn(fmt.Sprintf("%s: %s %s has other tensors than %s, which the head was trained with", model, what, dir, r.Name))
		return nil
	}
	similarity := cosine(probe, r.Probe)
	if !(similarity >= sameEncoder) {
		return fmt.Errorf("model %s was trained with the %s %s, %s is another one (cosine of a probe's features %.3f): they do not belong together",
			model, what, r.Name, dir, similarity)
	}
	warn(fmt.Sprintf("%s: %s %s is another copy of %s than the head was trained with (cosine of a probe's features %.5f)",
		model, what, dir, r.Name, similarity))
	return nil
}

func cosine(a, b []float32) float64 {
	return float64(kernel.Dot(a, b)) / math.Sqrt(float64(kernel.Dot(a, a))*float64(kernel.Dot(b, b)))
}

// ProbeVision returns what a vision encoder makes of a fixed picture: the mean of its patch tokens at a layer (0 the
// last). It tells copies of an encoder from others.
func ProbeVision(v *encoder.Vision, layer int) ([]float32, error) {
	const patches = 4
	side := patches * v.Info().PatchSize
	im := imaging.New(side, side)
	for y := range side {
		for x := range side {
			p := im.Pix[3*(y*side+x):]
			p[0], p[1], p[2] = uint8(255*x/side), uint8(255*y/side), uint8(128+127*math.Sin(float64(x*y)/float64(side)))
		}
	}
	out, err := v.Encode(context.Background(), v.Pixels(im), 1, side, side, encoder.EncodeOptions{Layer: layer})
	if err != nil {
		return nil, err
	}
	mean := make([]float32, out.Width)
	for p := range out.GridH * out.GridW {
		kernel.Axpy(mean, 1/float32(out.GridH*out.GridW), out.Patches[p*out.Width:(p+1)*out.Width])
	}
	return mean, nil
}

// probeWord is a word that any encoder and most tables of names know.
const probeWord = "dog"

// ProbeText returns what a text encoder makes of a fixed word: "dog", or the first name of a names table that lacks it.
func ProbeText(t encoder.Text) (word string, probe []float32, err error) {
	word = probeWord
	if table, ok := t.(*encoder.Names); ok && len(table.Find(word)) == 0 {
		word = table.Name(0)
	}
	probe, err = t.Embed(context.Background(), []string{word})
	return word, probe, err
}

// probeText is ProbeText with what the head does to vectors of the encoder that its names table was made with.
func (m *Model) probeText() ([]float32, error) {
	word := cmp.Or(m.head.Description.Text.ProbeText, probeWord)
	if _, table := m.text.(*encoder.Names); table || m.head.NamesMean == nil {
		return m.text.Embed(context.Background(), []string{word})
	}
	vector, err := m.text.Embed(context.Background(), []string{caption.Fill(m.namesTemplate(), word)})
	if err != nil {
		return nil, err
	}
	m.centre(vector)
	return vector, nil
}

// namesTemplate is what the names of the head's table were put into.
func (m *Model) namesTemplate() string {
	if t := m.head.Description.Text.Template; t != "" {
		return t
	}
	return "{}"
}

// centre normalises sentence vectors of a text tower, subtracts the mean of the names table that the head was trained
// with, and normalises again: the tower then speaks as the table does.
func (m *Model) centre(vectors []float32) {
	mean := m.head.NamesMean
	rows := kernel.FromFloat32(vectors, len(vectors)/len(mean), len(mean))
	kernel.NormalizeRows(rows, rows, 1e-12)
	for i := range rows.Rows {
		kernel.Axpy(rows.Row(i), -1, mean)
	}
	kernel.NormalizeRows(rows, rows, 1e-12)
}

// Info says what a model is.
type Info struct {
	Name         string
	Vision, Text encoder.Info
	Method       string // "pacl", or the read-out
	Width        int    // of the space that patches and words share
	InputSize    int    // short side at which photos are encoded unless asked otherwise, pixels
	Stride       int
	Scales       int  // sizes that a photo is looked at
	Mirror       bool // as well
	LogitScale   float64
	TauPatch     float64
	ImagePrior   float64            // weight of the photo as a whole in what its pixels are
	Templates    string             // that words are put into unless asked otherwise
	Head         *align.Description // nil without a head
}

// defaultTauPatch is the temperature of heat maps of a CLIP without a head.
const defaultTauPatch = 0.01

// Info says what the model is.
func (m *Model) Info() Info {
	info := Info{Name: m.name, Scales: 1, Vision: m.vision.Info()}
	if m.text == nil {
		info.Method, info.Width = tokenVectors, info.Vision.Width
		info.InputSize, info.Stride = info.Vision.ImageSize, info.Vision.PatchSize
		return info
	}
	info.Text = m.text.Info()
	if m.head == nil {
		info.Method, info.Width = m.readout.String(), info.Vision.ImageDim
		info.InputSize, info.Stride = info.Vision.ImageSize, info.Vision.PatchSize
		info.LogitScale, info.TauPatch, info.Templates = 100, defaultTauPatch, "pacl7"
		if info.Vision.LogitScale > 0 {
			info.LogitScale = float64(info.Vision.LogitScale)
		}
		return info
	}
	d := m.head.Description
	info.Method, info.Width = string(d.Head.Pooling), d.Head.Width
	info.InputSize, info.Stride, info.Scales, info.Mirror = d.InputSize, d.Stride, max(d.Scales, 1), d.Mirror
	info.LogitScale, info.TauPatch, info.ImagePrior = m.head.Head.LogitScale(), d.Head.TauPatch, d.ImagePrior
	info.Templates = "pacl7"
	if m.head.NamesMean != nil {
		info.Templates = m.namesTemplate()
	}
	if _, table := m.text.(*encoder.Names); table {
		info.Templates = "table"
	}
	info.Head = &d
	return info
}

// ImageOptions say how a photo is encoded. Zeros are the model's own.
type ImageOptions struct {
	Size          int // short side of the encoder's input, pixels; rounded to a multiple of the patch size
	Width, Height int // or both sides
	Stride        int // of the patch embedding
	Window        int // side of sliding windows, pixels of the input; 0 = the whole input at once
	WindowStride  int // 0 = half a window
	// Scales is how many sizes a photo is looked at, each the root of 2 larger than the one before; what patches say at
	// each is averaged.
	Scales int
	// Mirror says whether the mirror image is looked at as well, and averaged.
	Mirror Switch
}

// Switch turns something on or off that models have a setting for.
type Switch int

// The positions of a Switch.
const (
	Own Switch = iota // as the model has it
	On
	Off
)

// Encoded is a photo's patch vectors, which any words are scored against.
type Encoded struct {
	Geometry readout.Geometry
	Width    int
	Patches  []float32 // [GridH*GridW, Width], unit vectors, or means of them where a patch is looked at several times
}

// Bytes is the memory that it holds.
func (e *Encoded) Bytes() int64 { return int64(4*len(e.Patches)) + 256 }

// encodeWindows encodes a photo by windows.
func (m *Model) encodeWindows(ctx context.Context, im *imaging.Image, plan readout.Plan) (*Encoded, error) {
	resized := imaging.Resize(im, plan.InputW, plan.InputH, m.vision.Info().Resample)
	lattice := readout.NewLattice(plan, m.Info().Width)
	const windowsAtOnce = 8
	for first := 0; first < len(plan.Windows); first += windowsAtOnce {
		windows := plan.Windows[first:min(first+windowsAtOnce, len(plan.Windows))]
		var pixels []float32
		for _, w := range windows {
			pixels = m.vision.AppendPixels(pixels, resized.Crop(w.X, w.Y, w.Width, w.Height))
		}
		// All windows of a plan have the same size.
		patches, err := m.patches(ctx, pixels, len(windows), windows[0].Height, windows[0].Width, plan.Stride)
		if err != nil {
			return nil, err
		}
		each := len(patches) / len(windows)
		for i, w := range windows {
			if err := lattice.Add(w, patches[i*each:(i+1)*each]); err != nil {
				return nil, err
			}
		}
	}
	mean, err := lattice.Mean()
	if err != nil {
		return nil, err
	}
	return &Encoded{plan.Geometry, lattice.Width, mean}, nil
}

// largestInput bounds the tokens of one forward pass: attention takes time by their square.
const largestInput = 1 << 17

func (m *Model) plan(im *imaging.Image, o ImageOptions) (readout.Plan, error) {
	info := m.Info()
	size := readout.InputSize{Short: o.Size, Width: o.Width, Height: o.Height}
	if size == (readout.InputSize{}) {
		size.Short = info.InputSize
	}
	if o.Stride == 0 {
		o.Stride = info.Stride
	}
	width, height, err := size.Fit(im.Width, im.Height, info.Vision.PatchSize)
	if err != nil {
		return readout.Plan{}, err
	}
	g, err := readout.NewGeometry(height, width, im.Height, im.Width, info.Vision.PatchSize, o.Stride)
	if err != nil {
		return readout.Plan{}, err
	}
	if g.Cells() > largestInput {
		return readout.Plan{}, fmt.Errorf("input of %dx%d has %d patches, at most %d are encoded: choose a smaller size or a larger stride",
			width, height, g.Cells(), largestInput)
	}
	return readout.NewPlan(g, o.Window, o.WindowStride)
}

// patches returns unit vectors in the shared space, [batch, patches, width].
func (m *Model) patches(ctx context.Context, pixels []float32, batch, height, width, stride int) ([]float32, error) {
	o := encoder.EncodeOptions{Stride: stride, Readout: m.readout}
	if m.head != nil {
		o.Layer = m.head.Description.Layer
	}
	out, err := m.vision.Encode(ctx, pixels, batch, height, width, o)
	if err != nil {
		return nil, err
	}
	if m.text == nil {
		return out.Patches, nil
	}
	tokens := kernel.FromFloat32(out.Patches, len(out.Patches)/out.Width, out.Width)
	if m.head == nil {
		kernel.NormalizeRows(tokens, tokens, 1e-12)
		return out.Patches, nil
	}
	u, err := m.head.Head.Patches(tokens, m.precision)
	if err != nil {
		return nil, err
	}
	return u.F, nil
}
