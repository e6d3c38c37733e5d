// Package report runs a matrix of experiments that a TOML file describes and writes one page about them.
//
// Every combination of model, method, data set and options is a cell. The result of a cell is stored as soon as it is
// known, so a run that is stopped at any moment goes on where it was and ends with the same numbers. How a cell is
// measured is the caller's affair (Runner).
package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Experiments is what a TOML file describes. Text values may name environment variables as ${NAME}; paths are relative
// to the file.
type Experiments struct {
	Title     string      `toml:"title"`
	Notes     string      `toml:"notes"`
	Methods   []string    `toml:"methods"` // of models that name none
	Models    []Model     `toml:"model"`
	Datasets  []Dataset   `toml:"dataset"`
	Options   []Options   `toml:"options"`
	Published []Published `toml:"published"`

	folder string
}

// Model is a head with its encoders, or encoders alone.
type Model struct {
	Name      string `toml:"name" json:"name"`
	Model     string `toml:"model" json:"model,omitempty"`
	Vision    string `toml:"vision" json:"vision,omitempty"`
	Text      string `toml:"text" json:"text,omitempty"`
	Tokenizer string `toml:"tokenizer" json:"tokenizer,omitempty"`
	Precision string `toml:"precision" json:"precision,omitempty"` // "f32" or "bf16"
	// Methods are "pacl" or "mean" for a head that was trained so, the read-outs of a CLIP (plain, maskclip, …), and for
	// coherence "tokens", the vision encoder's own.
	Methods []string `toml:"methods" json:"-"`
}

// Dataset is a data set and the experiment that is made with it.
type Dataset struct {
	Name       string `toml:"name" json:"name"` // as evaluate.Open takes it, or any name for other experiments
	Title      string `toml:"title" json:"-"`   // of its tables; by default made of the other values
	Experiment string `toml:"experiment" json:"experiment"`
	Path       string `toml:"path" json:"path"`
	Split      string `toml:"split" json:"split,omitempty"`
	Masks      string `toml:"masks" json:"masks,omitempty"`
	Limit      int    `toml:"limit" json:"limit,omitempty"`
	Seed       uint64 `toml:"seed" json:"seed,omitempty"`
	// By is what classification goes by: "phi" or "class" for the class token. Limit is then a number of photos a class.
	By    string `toml:"by" json:"by,omitempty"`
	Crop  string `toml:"crop" json:"crop,omitempty"`   // "center" or "none", as Model.Classify has it
	Words string `toml:"words" json:"words,omitempty"` // of classes: a public data set's name or a file
	// Pictures names the methods whose best and worst pictures the Markdown shows, as files beside it; HTML shows all.
	Pictures []string `toml:"pictures" json:"-"`
	Options  []string `toml:"options" json:"-"` // names of the options that are tried; all where there are none
	Methods  []string `toml:"methods" json:"-"` // the methods that are tried; all where there are none
	Models   []string `toml:"models" json:"-"`  // names of the models that are tried; all where there are none
}

// Options are how photos are looked at.
type Options struct {
	Name         string  `toml:"name" json:"name"`
	Size         string  `toml:"size" json:"size,omitempty"`
	Stride       int     `toml:"stride" json:"stride,omitempty"`
	Window       int     `toml:"window" json:"window,omitempty"`
	WindowStride int     `toml:"window_stride" json:"window_stride,omitempty"`
	Templates    string  `toml:"templates" json:"templates,omitempty"`
	Synonyms     bool    `toml:"synonyms" json:"synonyms,omitempty"`
	Threshold    float64 `toml:"threshold" json:"threshold,omitempty"`
	Refine       string  `toml:"refine" json:"refine,omitempty"`
	// Scales, Mirror and ImagePrior are how often and how a photo is looked at (pacl.ImageOptions, pacl.SegmentOptions);
	// those that are left out are the model's own.
	Scales     int      `toml:"scales" json:"scales,omitempty"`
	Mirror     *bool    `toml:"mirror" json:"mirror,omitempty"`
	ImagePrior *float64 `toml:"image_prior" json:"image_prior,omitempty"`
	// Sweep names the training split on which the background threshold is chosen.
	Sweep string `toml:"sweep" json:"sweep,omitempty"`
}

// Published is a number from a paper, in per cent. It stands in a column of its own beside the cells of the same data
// set, experiment and method.
type Published struct {
	Dataset    string  `toml:"dataset"`
	Experiment string  `toml:"experiment"`
	Method     string  `toml:"method"`
	Value      float64 `toml:"value"`
	Source     string  `toml:"source"`
}

// The experiments that a data set can be used for.
var experiments = []string{"segmentation", "patches", "coherence", "classify", "retrieval", "mosaic"}

// published are the numbers of the papers with CLIP B/16, unless a file has its own for a data set and method.
var published = func() []Published {
	var list []Published
	for _, row := range []struct {
		method, source string
		values         [4]float64
	}{
		{"plain", "CLIP B/16 as the PACL paper measured it (Mukhoti et al. 2023)", [4]float64{8.4, 2.3, 2.6, 1.3}},
		{"pacl", "PACL, CLIP B/16 (Mukhoti et al. 2023)", [4]float64{72.3, 50.1, 38.8, 31.4}},
		{"maskclip", "MaskCLIP, CLIP B/16 (Zhou et al. 2022)", [4]float64{74.9, 26.4, 16.4, 9.8}},
		{"sclip", "SCLIP, CLIP B/16 (Wang et al. 2024)", [4]float64{81.5, 34.5, 22.8, 16.5}},
		{"naclip", "NACLIP with its refinement, CLIP B/16 (Hajimiri et al. 2025)", [4]float64{83.0, 38.4, 25.7, 19.1}},
	} {
		for i, dataset := range []string{"voc20", "context59", "coco-stuff", "ade20k"} {
			list = append(list, Published{dataset, "segmentation", row.method, row.values[i], row.source})
		}
	}
	return list
}()

// Load reads a file of experiments.
func Load(path string) (*Experiments, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("experiments: %w", err)
	}
	e, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	e.folder = filepath.Dir(path)
	return e, nil
}

// Parse reads the text of a file of experiments.
func Parse(data []byte) (*Experiments, error) {
	var e Experiments
	meta, err := toml.Decode(string(data), &e)
	if err != nil {
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("unknown key %s", unknown[0])
	}
	return &e, e.check()
}

func (e *Experiments) check() error {
	if len(e.Models) == 0 || len(e.Datasets) == 0 {
		return fmt.Errorf("%d models and %d data sets, expected [[model]] and [[dataset]] at least once", len(e.Models), len(e.Datasets))
	}
	if len(e.Options) == 0 {
		e.Options = []Options{{Name: "default"}}
	}
	if e.Title == "" {
		e.Title = "PACL experiments"
	}
	if len(e.Methods) == 0 {
		e.Methods = []string{"pacl"}
	}
	names := map[string]bool{}
	unique := func(kind, name string) error {
		if name == "" {
			return fmt.Errorf("a %s has no name", kind)
		}
		if names[kind+name] {
			return fmt.Errorf("two times the %s %q", kind, name)
		}
		names[kind+name] = true
		return nil
	}
	for i := range e.Models {
		if err := unique("model", e.Models[i].Name); err != nil {
			return err
		}
		if len(e.Models[i].Methods) == 0 {
			e.Models[i].Methods = e.Methods
		}
	}
	for i := range e.Options {
		if err := unique("set of options", e.Options[i].Name); err != nil {
			return err
		}
	}
	for i := range e.Datasets {
		d := &e.Datasets[i]
		if d.Experiment == "" {
			d.Experiment = "segmentation"
		}
		if !slices.Contains(experiments, d.Experiment) {
			return fmt.Errorf("data set %q: experiment %q, expected one of %s", d.Name, d.Experiment, strings.Join(experiments, ", "))
		}
		if err := unique("data set", strings.Join([]string{d.Name, d.Experiment, d.By, d.Split, d.Path, d.Title}, " ")); err != nil {
			return err
		}
		for _, name := range d.Options {
			if !names["set of options"+name] {
				return fmt.Errorf("data set %q: unknown options %q", d.Name, name)
			}
		}
		for _, name := range d.Models {
			if !names["model"+name] {
				return fmt.Errorf("data set %q: unknown model %q", d.Name, name)
			}
		}
	}
	if cells := len(e.Models) * len(e.Datasets) * len(e.Options) * 8; cells > 1e6 {
		return errors.New("more than a million cells")
	}
	return nil
}

// Cell is one number of the matrix.
type Cell struct {
	Model   Model   `json:"model"`
	Method  string  `json:"method"`
	Dataset Dataset `json:"dataset"`
	Options Options `json:"options"`
	// Version tells apart what the names do not: the hash of the weights, for one. Runner.Version gives it.
	Version string `json:"version,omitempty"`
}

// Cells lists the matrix in the order of the file, data sets outermost.
func (e *Experiments) Cells() []Cell {
	var cells []Cell
	for _, d := range e.Datasets {
		for _, m := range e.Models {
			if len(d.Models) > 0 && !slices.Contains(d.Models, m.Name) {
				continue
			}
			for _, method := range m.Methods {
				if len(d.Methods) > 0 && !slices.Contains(d.Methods, method) {
					continue
				}
				for _, o := range e.Options {
					if len(d.Options) > 0 && !slices.Contains(d.Options, o.Name) {
						continue
					}
					cells = append(cells, Cell{Model: m, Method: method, Dataset: d, Options: o})
				}
			}
		}
	}
	return cells
}

// id names the file of a cell's result: words for people and a hash of all that it is made of.
func (c Cell) id() string {
	data, err := json.Marshal(c)
	if err != nil {
		panic(err) // text and numbers only
	}
	sum := sha256.Sum256(data)
	words := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(strings.Join([]string{c.Dataset.Name, c.Dataset.Experiment, c.Model.Name, c.Method, c.Options.Name}, "-")))
	return words[:min(len(words), 80)] + "-" + hex.EncodeToString(sum[:8])
}

// paths are the texts of a cell that may name environment variables and files.
func (c *Cell) paths() []*string {
	return []*string{&c.Model.Model, &c.Model.Vision, &c.Model.Text, &c.Model.Tokenizer, &c.Dataset.Path, &c.Dataset.Words}
}

// located returns the cell with paths made relative to the working directory that are relative to the file of experiments.
// What does not exist there is a name, a hub id, or begins with an environment variable.
func (e *Experiments) located(c Cell) Cell {
	for _, text := range c.paths() {
		if *text == "" || filepath.IsAbs(*text) {
			continue
		}
		path := filepath.Join(e.folder, filepath.FromSlash(*text))
		if _, err := os.Stat(path); err == nil {
			*text = path
		}
	}
	return c
}

// resolved returns a located cell with environment variables put in. A variable that is not set is a reason why the cell
// cannot be measured.
func (e *Experiments) resolved(c Cell) (Cell, error) {
	var missing []string
	expand := func(text *string) {
		*text = os.Expand(*text, func(name string) string {
			value, ok := os.LookupEnv(name)
			if !ok {
				missing = append(missing, name)
			}
			return value
		})
	}
	for _, text := range c.paths() {
		expand(text)
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return c, NotApplicable{fmt.Sprintf("the environment variable %s is not set", strings.Join(slices.Compact(missing), " and "))}
	}
	return c, nil
}
