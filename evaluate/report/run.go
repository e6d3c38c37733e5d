package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/pacl/pacl/internal/atomicfile"
)

// Result is what a cell gave.
type Result struct {
	Measure  string             `json:"measure"` // "mIoU", "accuracy", "AUC", "recall@1"
	Value    float64            `json:"value"`   // from 0 to 1
	Low      *float64           `json:"low,omitempty"`
	High     *float64           `json:"high,omitempty"`
	More     map[string]float64 `json:"more,omitempty"` // other measures, from 0 to 1
	Protocol string             `json:"protocol"`
	Images   int                `json:"images"`
	Seconds  float64            `json:"seconds"`
	Curve    [][2]float64       `json:"curve,omitempty"` // a ROC curve
	Pictures []Picture          `json:"pictures,omitempty"`
}

// Picture is a picture that the page shows.
type Picture struct {
	Title string `json:"title"`
	Kind  string `json:"kind"` // "best" or "worst"
	JPEG  []byte `json:"jpeg"`
}

// NotApplicable is the error of a cell that a model cannot do; the page prints the reason.
type NotApplicable struct{ Reason string }

func (n NotApplicable) Error() string { return "n/a: " + n.Reason }

// Runner measures cells.
type Runner interface {
	// Run measures a cell, whose paths are resolved. NotApplicable says that it cannot be done.
	Run(ctx context.Context, c Cell) (*Result, error)
	// Version returns what makes a stored result of the cell out of date when it changes, as the hash of the weights;
	// NotApplicable where the model cannot be opened at all.
	Version(ctx context.Context, c Cell) (string, error)
	// Command is the command line that measures a cell again, given the protocol of its result. Environment variables are
	// left as the file of experiments has them.
	Command(c Cell, protocol string) string
}

// stored is the file of a cell.
type stored struct {
	Cell   Cell    `json:"cell"`
	Result *Result `json:"result,omitempty"`
	NA     string  `json:"na,omitempty"`
}

// Outcome is a cell with its result, the reason why there is none, or an error.
type Outcome struct {
	Cell    Cell
	Result  *Result
	Command string // that repeats the cell
	NA      string
	Failed  string
}

// RunOptions say how a matrix is run.
type RunOptions struct {
	Folder string // where results are kept and the page is written
	// Environment is printed on the page beside what the Go runtime tells, "name: value" a line.
	Environment []string
	Command     string // that made the report
	Log         func(format string, args ...any)
}

// Run measures the cells that have no stored result, stores each as soon as it is known, and writes report.html and
// report.md after all. A cell that fails is tried again by the next run; the others are measured all the same. The error
// says how many failed.
func Run(ctx context.Context, e *Experiments, runner Runner, o RunOptions) ([]Outcome, error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	folder := filepath.Join(o.Folder, "cells")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	cells := e.Cells()
	var outcomes []Outcome
	failed := 0
	for i, cell := range cells {
		if err := ctx.Err(); err != nil {
			return outcomes, err
		}
		outcome, fresh, err := e.cell(ctx, cell, runner, folder)
		if err != nil {
			return outcomes, err
		}
		if outcome.Result != nil {
			outcome.Command = runner.Command(e.located(cell), outcome.Result.Protocol)
		}
		what := fmt.Sprintf("%d/%d %s %s, %s, %s, %s", i+1, len(cells), cell.Dataset.Name, cell.Dataset.Experiment, cell.Model.Name, cell.Method, cell.Options.Name)
		switch {
		case outcome.Failed != "":
			failed++
			o.Log("%s: failed: %s", what, outcome.Failed)
		case outcome.NA != "":
			o.Log("%s: n/a (%s)", what, outcome.NA)
		case fresh:
			o.Log("%s: %s %.2f in %.1f s", what, outcome.Result.Measure, 100*outcome.Result.Value, outcome.Result.Seconds)
		default:
			o.Log("%s: %s %.2f, stored", what, outcome.Result.Measure, 100*outcome.Result.Value)
		}
		outcomes = append(outcomes, outcome)
	}
	page := newPage(e, outcomes, o)
	if err := page.writePictures(o.Folder); err != nil {
		return outcomes, fmt.Errorf("report: %w", err)
	}
	for name, write := range map[string]func(io.Writer) error{"report.html": page.writeHTML, "report.md": page.writeMarkdown} {
		if err := atomicfile.Write(filepath.Join(o.Folder, name), write); err != nil {
			return outcomes, fmt.Errorf("report: %w", err)
		}
	}
	if failed > 0 {
		return outcomes, fmt.Errorf("report: %d of %d cells failed, the first: %s", failed, len(cells), firstFailure(outcomes))
	}
	return outcomes, nil
}

func firstFailure(outcomes []Outcome) string {
	i := slices.IndexFunc(outcomes, func(o Outcome) bool { return o.Failed != "" })
	return outcomes[i].Failed
}

// cell returns the stored outcome of a cell or measures it. Its error is for what stops the whole run.
func (e *Experiments) cell(ctx context.Context, cell Cell, runner Runner, folder string) (o Outcome, fresh bool, err error) {
	o.Cell = cell
	resolved, err := e.resolved(e.located(cell))
	if err == nil {
		resolved.Version, err = runner.Version(ctx, resolved)
		cell.Version = resolved.Version
	}
	var na NotApplicable
	switch {
	case errors.As(err, &na):
		// What is missing now may be there later: not stored.
		o.NA = na.Reason
		return o, false, nil
	case ctx.Err() != nil:
		return o, false, ctx.Err()
	case err != nil:
		o.Failed = err.Error()
		return o, false, nil
	}
	path := filepath.Join(folder, cell.id()+".json")
	if s, err := readStored(path); err == nil {
		o.Result, o.NA = s.Result, s.NA
		return o, false, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return o, false, err
	}
	started := time.Now()
	result, err := runner.Run(ctx, resolved)
	s := stored{Cell: cell, Result: result}
	switch {
	case errors.As(err, &na):
		s.Result, s.NA = nil, na.Reason
	case ctx.Err() != nil:
		return o, false, ctx.Err()
	case err != nil:
		o.Failed = err.Error()
		return o, false, nil
	case result.Seconds == 0:
		result.Seconds = time.Since(started).Seconds()
	}
	err = atomicfile.Write(path, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", " ")
		return encoder.Encode(s)
	})
	if err != nil {
		return o, false, fmt.Errorf("report: store %s: %w", path, err)
	}
	o.Result, o.NA = s.Result, s.NA
	return o, true, nil
}

func readStored(path string) (*stored, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("stored result %s: %w, expected what an earlier run wrote: remove the file to measure the cell again", path, err)
	}
	if (s.Result == nil) == (s.NA == "") {
		return nil, fmt.Errorf("stored result %s holds neither a result nor a reason: remove the file to measure the cell again", path)
	}
	return &s, nil
}

// environment says what the numbers were made with.
func environment(extra []string) []string {
	return append([]string{
		fmt.Sprintf("system: %s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0)),
		"go: " + runtime.Version(),
	}, extra...)
}
