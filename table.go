package pacl

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/hub"
	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/weights"
)

// TableOptions say how a names table is made.
type TableOptions struct {
	Text      string // encoder: directory, hub id or name in PACL_MODELS
	Tokenizer string // directory of a tokenizer where the weights have none
	Precision string // "bf16", "f32" or "" for the fastest
	// Names are those of the table; the further words of a label become aliases, which stand for the same vector.
	Names    []Label
	Template string // that names are put into, "" = "a {}"
	Progress func(done, total int)
}

// Table is a fixed vocabulary that a text encoder made once: heads are trained and photos segmented with it where the
// encoder itself is not at hand. A head trained with it also runs with the encoder.
type Table struct {
	Encoder  string // hub id of the text encoder, or the name of its directory
	Template string
	Names    []string
	Aliases  map[string]string // to names
	Width    int
	Vectors  []float32 // [names, Width] as the encoder gives them, not normalised
}

// MakeTable embeds names.
func MakeTable(ctx context.Context, o TableOptions) (*Table, error) {
	if o.Template == "" {
		o.Template = "a {}"
	}
	if !strings.Contains(o.Template, "{}") {
		return nil, fmt.Errorf("template %q has no {}", o.Template)
	}
	if len(o.Names) == 0 {
		return nil, errors.New("a names table without names")
	}
	precision, err := ParsePrecision(o.Precision)
	if err != nil {
		return nil, err
	}
	dir, err := hub.Resolve(o.Text)
	if err != nil {
		return nil, fmt.Errorf("text encoder: %w", err)
	}
	text, err := encoder.OpenText(dir, encoder.Options{Precision: precision, Tokenizer: o.Tokenizer})
	if err != nil {
		return nil, err
	}
	if _, table := text.(*encoder.Names); table {
		return nil, fmt.Errorf("%s is a names table itself, expected a text encoder", dir)
	}
	t := &Table{Encoder: text.Info().Name(), Template: o.Template, Aliases: map[string]string{}, Width: text.Width()}
	if hub.IsID(o.Text) && !exists(o.Text) {
		t.Encoder = o.Text
	}
	for _, label := range o.Names {
		t.Names = append(t.Names, label.Name)
		for _, alias := range label.Words[1:] {
			if other, taken := t.Aliases[alias]; taken && other != label.Name {
				return nil, fmt.Errorf("%q stands for %q and for %q", alias, other, label.Name)
			}
			t.Aliases[alias] = label.Name
		}
	}
	const namesAtOnce = 128
	for first := 0; first < len(t.Names); first += namesAtOnce {
		var prompts []string
		for _, name := range t.Names[first:min(first+namesAtOnce, len(t.Names))] {
			prompts = append(prompts, caption.Fill(o.Template, name))
		}
		vectors, err := text.Embed(ctx, prompts)
		if err != nil {
			return nil, err
		}
		t.Vectors = append(t.Vectors, vectors...)
		if o.Progress != nil {
			o.Progress(first+len(prompts), len(t.Names))
		}
	}
	return t, nil
}

// SaveDir writes the directory that commands take for a text encoder: config.json and model.safetensors.
func (t *Table) SaveDir(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	vectors := weights.NewFloat32("vectors", t.Vectors, len(t.Names), t.Width)
	if err := weights.Write(filepath.Join(dir, "model.safetensors"), []weights.Tensor{vectors}, nil); err != nil {
		return err
	}
	config := struct {
		ModelType string            `json:"model_type"`
		Width     int               `json:"hidden_size"`
		Encoder   string            `json:"encoder"`
		Template  string            `json:"template"`
		Names     []string          `json:"names"`
		Aliases   map[string]string `json:"aliases,omitempty"`
	}{"names", t.Width, t.Encoder, t.Template, t.Names, t.Aliases}
	return atomicfile.WriteSynced(filepath.Join(dir, "config.json"), func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", " ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(config)
	})
}

// SaveNPY writes the vectors as a NumPy array of float32, [names, Width], and the names beside it, one a line, under the
// same name with .txt for .npy.
func (t *Table) SaveNPY(path string) error {
	stem, ok := strings.CutSuffix(path, ".npy")
	if !ok {
		return fmt.Errorf("%s: expected a name that ends in .npy", path)
	}
	err := atomicfile.WriteSynced(stem+".txt", func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(t.Names, "\n")+"\n")
		return err
	})
	if err != nil {
		return err
	}
	return atomicfile.WriteSynced(path, func(w io.Writer) error {
		// Format 1.0: the header ends in a newline and fills a multiple of 64 bytes.
		header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", len(t.Names), t.Width)
		const before = len("\x93NUMPY\x01\x00") + 2
		header += strings.Repeat(" ", (64-(before+len(header)+1)%64)%64) + "\n"
		start := binary.LittleEndian.AppendUint16([]byte("\x93NUMPY\x01\x00"), uint16(len(header)))
		if _, err := w.Write(append(start, header...)); err != nil {
			return err
		}
		return binary.Write(w, binary.LittleEndian, t.Vectors)
	})
}
