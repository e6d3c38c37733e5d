package pretrain

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pacl/pacl/internal/filelock"
	"github.com/pacl/pacl/internal/kernel"
)

// RunOptions say what a whole pre-training reads and writes.
type RunOptions struct {
	Config   Config
	Examples Examples
	// Features, where set, lock a vision encoder: they take the place of Examples, and Out becomes a text encoder.
	Features *Features
	// Out becomes the CLIP directory. While training it holds checkpoint and log.jsonl, from which a later run goes on.
	Out string
	// From, where not empty, is the checkpoint of an earlier recipe whose parameters are the start, and Until the step
	// after which a run ends early with a checkpoint and no directory, to be the start of another; 0: the last.
	From  string
	Until int
	// CheckpointEvery is the number of steps between checkpoints, 0: 100.
	CheckpointEvery int
	// SavePrecision of the tensors: bf16 (also for "") or f32.
	SavePrecision string
	// Progress, where not nil, is called after each step.
	Progress func(Record)
}

// errUntil ends a run at RunOptions.Until.
var errUntil = errors.New("the step to end at is reached")

const (
	checkpointName = "checkpoint"
	logName        = "log.jsonl"
)

// Run trains a dual encoder and writes its CLIP directory. It goes on from the checkpoint of an earlier run into the same
// directory, and refuses one of another recipe. When the context ends, it writes a checkpoint first.
func Run(ctx context.Context, o RunOptions) (*Trainer, error) {
	trainer, err := run(ctx, o)
	if err != nil {
		return trainer, fmt.Errorf("pre-train: %w", err)
	}
	return trainer, nil
}

func run(ctx context.Context, o RunOptions) (*Trainer, error) {
	if need, have := MemoryEstimate(o.Config), availableMemory(); have > 0 && need > have {
		return nil, fmt.Errorf("batch %d needs about %d MB, of which %d are free: set recompute, or a smaller micro_batch or batch",
			o.Config.Batch, need>>20, have>>20)
	}
	var trainer *Trainer
	var err error
	if o.Features != nil {
		trainer, err = NewLockedTrainer(o.Config, *o.Features)
	} else {
		trainer, err = NewTrainer(o.Config, o.Examples)
	}
	if err != nil {
		return nil, err
	}
	if o.From != "" {
		if err := trainer.Begin(o.From); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	release, err := filelock.Folder(o.Out)
	if err != nil {
		return nil, err
	}
	defer release()
	if o.CheckpointEvery <= 0 {
		o.CheckpointEvery = 100
	}
	checkpoint := filepath.Join(o.Out, checkpointName)
	if err := trainer.Resume(checkpoint); err != nil {
		return nil, err
	}
	if o.Until > 0 && trainer.Steps() >= o.Until {
		return trainer, trainer.Checkpoint(checkpoint)
	}
	log, err := openLog(filepath.Join(o.Out, logName), trainer.Steps())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	err = trainer.Run(ctx, func(r Record) error {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := log.Write(append(line, '\n')); err != nil {
			return err
		}
		if o.Progress != nil {
			o.Progress(r)
		}
		if r.Step%o.CheckpointEvery == 0 || r.Step == o.Config.Steps || r.Step == o.Until {
			err = trainer.Checkpoint(checkpoint)
		}
		if err == nil && r.Step == o.Until {
			err = errUntil
		}
		return err
	})
	if errors.Is(err, errUntil) {
		return trainer, nil
	}
	if err != nil {
		if ctx.Err() != nil {
			err = errors.Join(err, trainer.Checkpoint(checkpoint))
		}
		return trainer, err
	}
	return trainer, trainer.Save(o.Out, o.SavePrecision)
}

// openLog opens the log for appending after the lines of the first steps; later ones, of a run that was stopped after its
// last checkpoint, are cut off.
func openLog(path string, steps int) (*os.File, error) {
	var kept bytes.Buffer
	err := eachRecord(path, func(r Record, line []byte) {
		if r.Step <= steps {
			kept.Write(append(line, '\n'))
		}
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(kept.Bytes()); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// eachRecord calls f for the lines of a log. A line that a killed process left half-written is passed over.
func eachRecord(path string, f func(r Record, line []byte)) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for scanner.Scan() {
		var r Record
		if json.Unmarshal(scanner.Bytes(), &r) == nil {
			f(r, scanner.Bytes())
		}
	}
	return scanner.Err()
}

// ReadLog returns the steps that the log in a directory of a pre-training holds.
func ReadLog(dir string) ([]Record, error) {
	var log []Record
	if err := eachRecord(filepath.Join(dir, logName), func(r Record, _ []byte) { log = append(log, r) }); err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return log, nil
}

// MemoryEstimate is about how many bytes a training takes.
func MemoryEstimate(c Config) int64 {
	m := newDual(c)
	tower := func(rows, sequence, width, layers, heads int) int64 {
		perRow := int64(layers)*int64(7*width+3*width+2*4*width+heads*sequence) + int64(4*width)
		return 4 * int64(rows) * perRow
	}
	tokens := c.patches() + 1
	perExample := tower(tokens, tokens, c.Vision.Width, c.Vision.Layers, c.Vision.Heads) +
		tower(c.Text.Context/2, c.Text.Context/2, c.Text.Width, c.Text.Layers, c.Text.Heads) +
		4*int64(3*c.Vision.ImageSize*c.Vision.ImageSize) + 4*3*int64(c.patches())*int64(c.Projector)
	examples := c.Batch
	if c.Recompute {
		examples = min(c.Batch, lanes*c.Micro)
	}
	pairs := 24 * int64(c.Batch) * int64(c.Batch)
	if c.usesPACL() {
		pairs += 8*int64(c.Batch)*int64(c.patches())*int64(c.Projection) + lanes*8*int64(c.Batch)*int64(c.patches()+c.Projection)
	}
	return int64(examples)*perExample + pairs + 4*int64(m.layout.size)*(4+lanes)
}

// Describe says in one line what a recipe trains.
func (c Config) Describe() string {
	m := newDual(c)
	return fmt.Sprintf("ViT %dx%d/%d of %d layers, width %d; text of %d layers, width %d, %d tokens; %.1f M parameters; %s in %s on %s",
		c.Vision.ImageSize, c.Vision.ImageSize, c.Vision.PatchSize, c.Vision.Layers, c.Vision.Width, c.Text.Layers, c.Text.Width,
		c.Text.Context, float64(m.layout.size)/1e6, c.Objective, c.Precision, kernel.Name())
}
