package align

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/pacl/pacl/weights"
)

// CheckpointName is the file in the directory of a training that it can be taken up from.
const CheckpointName = "checkpoint.safetensors"

// state is all that a training carries from step to step.
type state struct {
	step       int // steps done
	parameters *Parameters[float32]
	m, v       *Parameters[float32] // moments of AdamW
	logBytes   int64                // how long the log was
}

func newState(o TrainOptions) (*state, error) {
	r := o.Recipe
	head, err := NewHead(r.Head, r.Seed, r.LogitScale)
	if err != nil {
		return nil, err
	}
	if r.Start == StartProjection {
		head.Parameters.startAt(*o.Projection)
	}
	return &state{
		parameters: head.Parameters,
		m:          NewParameters[float32](r.Head),
		v:          NewParameters[float32](r.Head),
	}, nil
}

func (s *state) parts() map[string]*Parameters[float32] {
	return map[string]*Parameters[float32]{"param.": s.parameters, "m.": s.m, "v.": s.v}
}

// write stores the checkpoint atomically.
func (s *state) write(dir string, r Recipe, cacheHash string) error {
	var tensors []weights.Tensor
	for _, prefix := range []string{"param.", "m.", "v."} {
		for _, t := range s.parts()[prefix].Tensors() {
			tensors = append(tensors, weights.NewFloat32(prefix+t.Name, t.Data, t.Shape...))
		}
	}
	err := weights.Write(filepath.Join(dir, CheckpointName), tensors, map[string]string{
		"step": strconv.Itoa(s.step), "log_bytes": strconv.FormatInt(s.logBytes, 10), "recipe": r.hash(), "features": cacheHash,
	})
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// readState returns the state of a checkpoint, or a fresh one where there is none. A checkpoint of another recipe or of
// other features is refused.
func readState(o TrainOptions, cacheHash string, steps int) (*state, error) {
	r := o.Recipe
	s, err := newState(o)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(o.Dir, CheckpointName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	set, err := weights.Open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	defer set.Close()
	metadata := set.Metadata()
	if metadata["recipe"] != r.hash() {
		return nil, fmt.Errorf("checkpoint: %s was made with another recipe; give the options that it was started with, or another directory", path)
	}
	if metadata["features"] != cacheHash {
		return nil, fmt.Errorf("checkpoint: %s was made from other features; give those that it was started with, or another directory", path)
	}
	if s.step, err = strconv.Atoi(metadata["step"]); err != nil || s.step < 0 || s.step > steps {
		return nil, fmt.Errorf("checkpoint: %s: step is %q, expected 0 to %d", path, metadata["step"], steps)
	}
	if s.logBytes, err = strconv.ParseInt(metadata["log_bytes"], 10, 64); err != nil || s.logBytes < 0 {
		return nil, fmt.Errorf("checkpoint: %s: length of the log is %q", path, metadata["log_bytes"])
	}
	for prefix, p := range s.parts() {
		if err := readParameters(set, prefix, p); err != nil {
			return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
		}
	}
	return s, nil
}

// readParameters fills parameters from tensors whose names begin with the prefix.
func readParameters(set *weights.Set, prefix string, p *Parameters[float32]) error {
	for _, t := range p.Tensors() {
		tensor, err := set.Need(prefix+t.Name, t.Shape...)
		if err != nil {
			return err
		}
		if err := tensor.CopyFloat32(t.Data); err != nil {
			return err
		}
	}
	return nil
}
