package encoder

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pacl/pacl/hub"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/tokenizer"
	"github.com/pacl/pacl/weights"
)

// Names is a table of names with vectors that some text encoder made once: a fixed vocabulary without the encoder. The
// vector of a text is the normalised mean over the distinct names found in it of c_n = normalise(v_n/|v_n| - m), m being
// the mean of all v/|v|.
type Names struct {
	info    Info
	names   []string
	matcher *tokenizer.Matcher
	set     *weights.Set // stays open: few of the vectors are needed at a time
	vectors weights.Tensor
	mean    []float32 // [width]: m
}

// UnknownNameError says that a names table has no vector for a text.
type UnknownNameError struct {
	Text        string
	Suggestions []string // the nearest spellings
	Encoder     string   // the hub id, or the name, of the encoder that the table was made with
}

func (e *UnknownNameError) Error() string {
	text := e.Text
	if runes := []rune(text); len(runes) > 60 {
		text = string(runes[:60]) + "…"
	}
	message := fmt.Sprintf("the names table has no name in %q", text)
	if len(e.Suggestions) > 0 {
		message += fmt.Sprintf(" (near: %s)", strings.Join(e.Suggestions, ", "))
	}
	return message + e.Advice()
}

// Advice ends a message with the encoder that knows any word, empty where the table names none.
func (e *UnknownNameError) Advice() string {
	switch {
	case hub.IsID(e.Encoder):
		return fmt.Sprintf("; for any words get the text encoder: pacl pull %s", e.Encoder)
	case e.Encoder != "":
		return fmt.Sprintf("; for any words use the text encoder that made the table, %s", e.Encoder)
	}
	return ""
}

// namesConfig is the config.json of a names table.
type namesConfig struct {
	Width    int               `json:"hidden_size"`
	Encoder  string            `json:"encoder"`
	Template string            `json:"template"`
	Names    []string          `json:"names"`
	Aliases  map[string]string `json:"aliases"`
}

func (s *source) names() (*Names, error) {
	var config namesConfig
	if _, err := readJSON(filepath.Join(s.dir, "config.json"), &config); err != nil {
		return nil, err
	}
	n, d := len(config.Names), config.Width
	if n == 0 || d < 1 {
		return nil, fmt.Errorf("names table with %d names of width %d, expected at least one of each", n, d)
	}
	name := "vectors"
	if all := s.set.Names(); !s.has(name) && len(all) == 1 {
		name = all[0]
	}
	table, err := s.set.Need(name, n, d)
	if err != nil {
		return nil, err
	}
	if !table.DType.Floating() {
		return nil, fmt.Errorf("weights %s: tensor %s has type %v, expected F32, F16, BF16 or F64", s.set.Path(), name, table.DType)
	}
	t := &Names{names: config.Names, set: s.set, vectors: table, mean: make([]float32, d)}
	if t.matcher, err = tokenizer.NewMatcher(config.Names, config.Aliases); err != nil {
		return nil, err
	}
	row := kernel.NewMat(kernel.Float32, 1, d)
	for i := range n {
		t.unit(row, i)
		kernel.Axpy(t.mean, 1/float32(n), row.F)
	}
	t.info = Info{Family: "names", Dir: s.dir, Hash: s.set.Hash(), Source: config.Encoder, Template: config.Template, Width: d, Vocabulary: n, Params: int64(n * d)}
	return t, nil
}

// Info says what the table is.
func (t *Names) Info() Info { return t.info }

// Width is the length of the vectors.
func (t *Names) Width() int { return t.info.Width }

// Mean is m, the vector of length Width that is subtracted from normalised vectors of the encoder itself before they are
// compared with those of the table.
func (t *Names) Mean() []float32 { return t.mean }

// Find returns the distinct names in a text, in the order of their first place.
func (t *Names) Find(text string) []int {
	found := t.matcher.Find(text)
	seen := make(map[int]bool, len(found))
	distinct := found[:0]
	for _, n := range found {
		if !seen[n] {
			seen[n] = true
			distinct = append(distinct, n)
		}
	}
	return distinct
}

// Name returns a name of the table.
func (t *Names) Name(i int) string { return t.names[i] }

// unit sets row [1, width] to v_i/|v_i|.
func (t *Names) unit(row kernel.Mat, i int) {
	_ = t.vectors.CopyRange(row.F, i*row.Cols) // fails outside of the table only
	kernel.NormalizeRows(row, row, 1e-12)
}

// NameVector returns c_i.
func (t *Names) NameVector(i int) []float32 {
	row := kernel.NewMat(kernel.Float32, 1, t.info.Width)
	t.unit(row, i)
	kernel.Axpy(row.F, -1, t.mean)
	kernel.NormalizeRows(row, row, 1e-12)
	return row.F
}

// Embed returns the vectors of texts. A text without a known name is an *UnknownNameError.
func (t *Names) Embed(_ context.Context, texts []string) ([]float32, error) {
	d := t.info.Width
	result := make([]float32, len(texts)*d)
	for i, text := range texts {
		found := t.Find(text)
		if len(found) == 0 {
			return nil, &UnknownNameError{Text: text, Suggestions: t.matcher.Suggest(text, 3), Encoder: t.info.Source}
		}
		row := result[i*d : (i+1)*d]
		for _, n := range found {
			kernel.Axpy(row, 1/float32(len(found)), t.NameVector(n))
		}
	}
	rows := kernel.FromFloat32(result, len(texts), d)
	kernel.NormalizeRows(rows, rows, 1e-12)
	return result, nil
}
