package align

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/weights"
)

// The files of a model directory.
const (
	DescriptionName = "pacl.json"
	HeadName        = "head.safetensors"
	CardName        = "README.md"
)

// ModelVersion is the version of the model directory's layout.
const ModelVersion = 1

// EncoderReference says which frozen encoder a head was trained with: by the hash of its tensors, which decides, and by
// the hub ids that are believed to hold it.
type EncoderReference struct {
	Family   string   `json:"family"`
	Name     string   `json:"name"` // of the directory, for people and for PACL_MODELS
	Hash     string   `json:"sha256"`
	Width    int      `json:"width"`
	HubIDs   []string `json:"hub_ids,omitempty"`
	Template string   `json:"template,omitempty"` // of a names table: what its names were put into
	// Probe is what the encoder makes of a fixed picture or text; it tells another copy from another encoder. ProbeText is
	// that text where it is not the usual one, because a names table lacks it.
	Probe     []float32 `json:"probe,omitempty"`
	ProbeText string    `json:"probe_text,omitempty"`
}

// Data says what a head was trained on.
type Data struct {
	Name       string   `json:"name"`
	Hash       string   `json:"sha256"` // of the list of images and captions
	Images     int      `json:"images"` // usable ones
	Training   int      `json:"training_images"`
	Validation int      `json:"validation_images"`
	Licences   []string `json:"licences,omitempty"` // text for the card
}

// Description is pacl.json: what a head needs beside its numbers, and where it comes from.
type Description struct {
	Version   int              `json:"version"`
	Head      Config           `json:"head"`
	Vision    EncoderReference `json:"vision"`
	Text      EncoderReference `json:"text"`
	InputSize int              `json:"input_size"`       // short side, in pixels
	Stride    int              `json:"stride"`           // of the patch embedding
	Layer     int              `json:"layer"`            // block whose tokens are used, 0 = the last
	Scales    int              `json:"scales,omitempty"` // sizes that a photo is looked at, each the root of 2 larger; 0 = one
	Mirror    bool             `json:"mirror,omitempty"` // the mirror image is looked at as well
	// ImagePrior is the weight that the photo as a whole has in what its pixels are; see readout.Prior.
	ImagePrior float64            `json:"image_prior,omitempty"`
	Templates  []string           `json:"templates"` // prompts that names are put into; none: the name itself
	Data       Data               `json:"data"`
	Recipe     Recipe             `json:"recipe"`
	Scores     map[string]float64 `json:"scores,omitempty"`
	Notes      []string           `json:"notes,omitempty"` // text for the card: how the recipe was chosen, what is measured elsewhere
}

// Model is a head with its description.
type Model struct {
	Description Description
	Head        *Head
	// NamesMean is m, the mean of a names table's unit vectors, where the head was trained with one [D_t]; a text tower
	// used instead has it subtracted from its unit vectors.
	NamesMean []float32
}

const namesMeanTensor = "names_mean"

// Save writes a model directory. Each file is there whole or not at all; pacl.json, without which the directory is no
// model, comes last. card is the text of README.md; "" makes one from the description.
func (m *Model) Save(dir, card string) error {
	if err := m.save(dir, card); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	return nil
}

func (m *Model) save(dir, card string) error {
	d := m.Description
	d.Version, d.Head = ModelVersion, m.Head.Config
	if err := d.validate(); err != nil {
		return err
	}
	if m.NamesMean != nil && len(m.NamesMean) != d.Head.TextWidth {
		return fmt.Errorf("the mean of the names has width %d, expected %d", len(m.NamesMean), d.Head.TextWidth)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var tensors []weights.Tensor
	for _, t := range m.Head.Parameters.Tensors() {
		tensors = append(tensors, weights.NewFloat32(t.Name, t.Data, t.Shape...))
	}
	if m.NamesMean != nil {
		tensors = append(tensors, weights.NewFloat32(namesMeanTensor, m.NamesMean, len(m.NamesMean)))
	}
	if err := weights.Write(filepath.Join(dir, HeadName), tensors, map[string]string{"format": "pacl"}); err != nil {
		return err
	}
	if card == "" {
		card = d.Card()
	}
	if err := writeFile(filepath.Join(dir, CardName), []byte(card)); err != nil {
		return err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, DescriptionName), append(text, '\n'))
}

// writeFile replaces a small file.
func writeFile(path string, data []byte) error {
	return atomicfile.WriteSynced(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// descriptionLimit bounds what is read of a pacl.json.
const descriptionLimit = 1 << 22

// ReadDescription reads the pacl.json of a model directory.
func ReadDescription(dir string) (Description, error) { return readDescription(os.DirFS(dir), dir) }

func readDescription(files fs.FS, dir string) (Description, error) {
	path := filepath.Join(dir, DescriptionName)
	text, err := readLimited(files, DescriptionName, descriptionLimit)
	if err != nil {
		return Description{}, fmt.Errorf("model %s: %w", dir, err)
	}
	d, err := parseDescription(text)
	if err != nil {
		return Description{}, fmt.Errorf("model: %s: %w", path, err)
	}
	return d, nil
}

// readLimited reads a file of at most limit bytes.
func readLimited(files fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, expected at most %d", name, info.Size(), limit)
	}
	return fs.ReadFile(files, name)
}

func parseDescription(text []byte) (Description, error) {
	var d Description
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&d); err != nil {
		return d, fmt.Errorf("not a model's description: %w", err)
	}
	if d.Version != ModelVersion {
		return d, fmt.Errorf("version is %d, expected %d", d.Version, ModelVersion)
	}
	return d, d.validate()
}

func (d Description) validate() error {
	if err := d.Head.Validate(); err != nil {
		return err
	}
	if d.InputSize < 1 || d.InputSize > widthLimit {
		return fmt.Errorf("input size is %d, expected 1 to %d", d.InputSize, widthLimit)
	}
	if d.Stride < 1 || d.Stride > d.InputSize {
		return fmt.Errorf("stride is %d, expected 1 to the input size %d", d.Stride, d.InputSize)
	}
	if d.Scales < 0 || d.Scales > 6 {
		return fmt.Errorf("scales is %d, expected 0 to 6", d.Scales)
	}
	if !(d.ImagePrior >= 0 && d.ImagePrior <= 100) {
		return fmt.Errorf("image prior is %g, expected 0 to 100", d.ImagePrior)
	}
	if d.Layer < 0 || d.Layer > widthLimit {
		return fmt.Errorf("layer is %d, expected 0 to %d", d.Layer, widthLimit)
	}
	return nil
}

// headLimit bounds the file of a head's numbers.
const headLimit = 1 << 31

// LoadModel reads a model directory.
func LoadModel(dir string) (*Model, error) { return LoadModelFS(os.DirFS(dir), dir) }

// LoadModelFS reads a model directory from a file system; dir names it in messages.
func LoadModelFS(files fs.FS, dir string) (*Model, error) {
	d, err := readDescription(files, dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, HeadName)
	data, err := readLimited(files, HeadName, headLimit)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", dir, err)
	}
	set, err := weights.Parse(path, data)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	m := &Model{Description: d, Head: &Head{Config: d.Head}}
	for _, name := range []string{"fc1.weight", "fc2.weight", "skip.weight"} {
		if _, err := set.Need(name, -1, -1); err != nil {
			return nil, fmt.Errorf("model: %s: %w", path, err)
		}
	}
	// The description's widths are believed only as far as the file has numbers for them.
	total := 0
	for _, name := range set.Names() {
		t, _ := set.Get(name)
		total += t.Len()
	}
	if need := ParameterCount(d.Head); need > total {
		return nil, fmt.Errorf("model: %s holds %d numbers, %s asks for %d", path, total, DescriptionName, need)
	}
	m.Head.Parameters = NewParameters[float32](d.Head)
	if err := readParameters(set, "", m.Head.Parameters); err != nil {
		return nil, fmt.Errorf("model: %s: %w", path, err)
	}
	if scale := m.Head.LogitScale(); !(scale > 0) || math.IsInf(scale, 0) {
		return nil, fmt.Errorf("model: %s: logit_scale is %g, expected a finite number", path, m.Head.Parameters.LogitScale[0])
	}
	if t, ok := set.Get(namesMeanTensor); ok {
		if t.Len() != d.Head.TextWidth {
			return nil, fmt.Errorf("model: %s: tensor %s has %d numbers, expected %d", path, namesMeanTensor, t.Len(), d.Head.TextWidth)
		}
		m.NamesMean = make([]float32, t.Len())
		if err := t.CopyFloat32(m.NamesMean); err != nil {
			return nil, fmt.Errorf("model: %s: %w", path, err)
		}
	}
	return m, nil
}
