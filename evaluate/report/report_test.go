package report

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const experimentsFile = `
title = "Test of <the> report"
methods = ["pacl", "naclip"]

[[model]]
name = "head"
model = "models/head"

[[model]]
name = "clip"
vision = "${PACL_TEST_CLIP}"
methods = ["naclip"]

[[dataset]]
name = "voc20"
path = "data"

[[dataset]]
name = "voc20"
experiment = "coherence"
path = "data"
options = ["small"]
methods = ["pacl"]

[[options]]
name = "small"
size = "224 short"

[[options]]
name = "large"
size = "448 short"
refine = "pamr"
`

// fakeRunner gives numbers that follow from the cell.
type fakeRunner struct {
	runs    []string
	stop    int // cancel after so many runs
	cancel  context.CancelFunc
	fail    string
	version string
}

func (f *fakeRunner) Version(context.Context, Cell) (string, error) { return f.version, nil }

func (f *fakeRunner) Command(c Cell, protocol string) string {
	return strings.Join([]string{"pacl eval", c.Dataset.Experiment, c.Dataset.Path, c.Model.Vision, protocol}, " ")
}

func (f *fakeRunner) Run(ctx context.Context, c Cell) (*Result, error) {
	if f.cancel != nil && len(f.runs) == f.stop {
		f.cancel()
		return nil, ctx.Err()
	}
	what := strings.Join([]string{c.Dataset.Experiment, c.Model.Name, c.Method, c.Options.Name}, "/")
	f.runs = append(f.runs, what)
	if f.fail == what {
		return nil, errors.New("the disk is full")
	}
	if c.Method == "naclip" && c.Model.Name == "head" {
		return nil, NotApplicable{"the vision encoder has no projection"}
	}
	r := &Result{Measure: "mIoU", Value: float64(len(what)) / 100, Protocol: "VOC20 n=3 options=" + c.Options.Name,
		More: map[string]float64{"pixel accuracy": 0.5}, Pictures: []Picture{{Title: "a photo", Kind: "worst", JPEG: []byte("png")}}}
	if c.Dataset.Experiment == "coherence" {
		low, high := 0.6, 0.7
		r.Measure, r.Low, r.High, r.Curve = "AUC", &low, &high, [][2]float64{{0, 0}, {0.2, 0.7}, {1, 1}}
	}
	return r, nil
}

func load(t *testing.T) *Experiments {
	t.Helper()
	path := filepath.Join(t.TempDir(), "EXPERIMENTS.toml")
	if err := os.WriteFile(path, []byte(experimentsFile), 0o644); err != nil {
		t.Fatal(err)
	}
	e, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var timing = regexp.MustCompile(`<td class="n">[0-9.]+</td>\s*<td>`)

func readPages(t *testing.T, folder string) string {
	t.Helper()
	var both string
	for _, name := range []string{"report.md", "report.html"} {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		both += string(data)
	}
	return timing.ReplaceAllString(both, "")
}

// A run that is stopped after any number of cells goes on where it was and writes the same pages.
func TestRunGoesOnWhereItStopped(t *testing.T) {
	t.Setenv("PACL_TEST_CLIP", "/models/clip")
	e := load(t)
	cells := len(e.Cells())
	if cells != 7 {
		t.Fatalf("%d cells, expected 2 models with 2 and 1 methods, 2 sets of options, and 1 of coherence", cells)
	}
	whole := t.TempDir()
	if _, err := Run(t.Context(), e, &fakeRunner{}, RunOptions{Folder: whole}); err != nil {
		t.Fatal(err)
	}
	want := readPages(t, whole)
	for stop := range cells {
		folder := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		first := &fakeRunner{stop: stop, cancel: cancel}
		if _, err := Run(ctx, e, first, RunOptions{Folder: folder}); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped after %d: %v", stop, err)
		}
		second := &fakeRunner{}
		if _, err := Run(t.Context(), e, second, RunOptions{Folder: folder}); err != nil {
			t.Fatal(err)
		}
		if len(first.runs)+len(second.runs) != cells {
			t.Errorf("stopped after %d: %d and %d cells were measured, expected %d in all", stop, len(first.runs), len(second.runs), cells)
		}
		if got := readPages(t, folder); got != want {
			t.Errorf("stopped after %d: the pages differ", stop)
		}
	}
	// Nothing is measured again, unless the weights are others.
	again := &fakeRunner{}
	if _, err := Run(t.Context(), e, again, RunOptions{Folder: whole}); err != nil || len(again.runs) != 0 {
		t.Errorf("%d cells were measured again (%v)", len(again.runs), err)
	}
	other := &fakeRunner{version: "new weights"}
	if _, err := Run(t.Context(), e, other, RunOptions{Folder: whole}); err != nil || len(other.runs) != cells {
		t.Errorf("%d cells were measured with new weights (%v), expected %d", len(other.runs), err, cells)
	}
}

func TestPages(t *testing.T) {
	e := load(t)
	os.Unsetenv("PACL_TEST_CLIP")
	folder := t.TempDir()
	runner := &fakeRunner{fail: "segmentation/head/pacl/large"}
	outcomes, err := Run(t.Context(), e, runner, RunOptions{Folder: folder, Environment: []string{"engine: avx512"}, Command: "pacl report x.toml"})
	if err == nil || !strings.Contains(err.Error(), "1 of 7 cells failed") || len(outcomes) != 7 {
		t.Fatalf("%d outcomes, %v", len(outcomes), err)
	}
	text := readPages(t, folder)
	for _, part := range []string{
		"Test of <the> report", "Test of &lt;the&gt; report", // Markdown, HTML
		"PACL_TEST_CLIP is not set", "no projection", "the disk is full", "72.3", "published", "engine: avx512", "pacl report x.toml",
		"`VOC20 n=3 options=small`", "60.00 to 70.00", "<polyline points=\"0.0,200.0 40.0,60.0 200.0,0.0\"", "data:image/jpeg;base64,cG5n",
		"pacl eval coherence data  VOC20 n=3 options=small",
		"![ROC curves of voc20, coherence](pictures/roc-2.png)",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the pages lack %q", part)
		}
	}
	// A failed cell is tried again, a cell that cannot be done is not.
	second := &fakeRunner{}
	if _, err := Run(t.Context(), e, second, RunOptions{Folder: folder}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(second.runs); got != "[segmentation/head/pacl/large]" {
		t.Errorf("the second run measured %s", got)
	}
	// A damaged file is an error, not a number.
	files, _ := filepath.Glob(filepath.Join(folder, "cells", "*.json"))
	if err := os.WriteFile(files[0], []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), e, second, RunOptions{Folder: folder}); err == nil || !strings.Contains(err.Error(), files[0]) {
		t.Errorf("a damaged result: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	const model, data = "[[model]]\nname='a'\n", "[[dataset]]\nname='voc20'\n"
	for name, text := range map[string]string{
		"no data set":     model,
		"no model":        data,
		"unknown key":     model + data + "colour='red'\n",
		"same model":      model + model + data,
		"same data set":   model + data + data,
		"no name":         "[[model]]\n" + data,
		"experiment":      model + data + "experiment='guess'\n",
		"unknown options": model + data + "options=['x']\n",
		"unknown model":   model + data + "models=['x']\n",
		"no TOML":         "[[",
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	e, err := Parse([]byte(model + data))
	if err != nil || len(e.Cells()) != 1 || e.Cells()[0].Dataset.Experiment != "segmentation" || e.Cells()[0].Method != "pacl" {
		t.Errorf("the least file: %+v, %v", e, err)
	}
}

func TestCommittedExperiments(t *testing.T) {
	for file, cells := range map[string]int{"paper.toml": 4*6*4 + 3*6*5 + 2 + 3 + 12*2 + 1, "mini.toml": 3 + 2 + 1 + 2 + 2 + 1 + 6 + 6 + 2 + 3 + 2 + 3 + 3 + 2 + 2 + 2} {
		e, err := Load(filepath.Join("..", "..", "experiments", file))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(e.Cells()); got != cells {
			t.Errorf("%s has %d cells, expected %d", file, got, cells)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(experimentsFile))
	f.Add([]byte("[[model]]\nname='a'\n[[dataset]]\nname='b'\nexperiment='mosaic'\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Parse(data)
		if err != nil {
			return
		}
		for _, c := range e.Cells() {
			if c.id() == "" || c.Dataset.Experiment == "" || c.Method == "" && len(e.Methods) == 0 {
				t.Errorf("cell %+v", c)
			}
		}
	})
}
