package pretrain

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/internal/usage"
	"github.com/pacl/pacl/tokenizer"
)

// checkpointHeader is the first line of a checkpoint; parameters and both moments follow as little-endian float32.
type checkpointHeader struct {
	Format     string  `json:"format"`
	Recipe     string  `json:"recipe"` // see Trainer.Recipe
	Config     Config  `json:"config"`
	Examples   string  `json:"examples"`
	Step       int     `json:"step"`
	Parameters int     `json:"parameters"`
	CPUSeconds float64 `json:"cpu_seconds"`
	// Vocabulary is what the ids of the token table mean.
	Vocabulary *tokenizer.Trained `json:"vocabulary"`
}

const checkpointFormat = "pacl-pretrain-1"

// Checkpoint writes everything that further training depends on, replacing the file at once or not at all.
func (t *Trainer) Checkpoint(path string) error {
	if err := atomicfile.WriteSynced(path, t.writeCheckpoint); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

func (t *Trainer) writeCheckpoint(w io.Writer) error {
	header, err := json.Marshal(checkpointHeader{checkpointFormat, t.Recipe(), t.config, t.examples.Name(), t.step, len(t.p), t.spent + usage.Processor().Seconds(), t.vocabulary})
	if err != nil {
		return err
	}
	if _, err := w.Write(append(header, '\n')); err != nil {
		return err
	}
	for _, numbers := range [][]float32{t.p, t.m1, t.m2} {
		if err := binary.Write(w, binary.LittleEndian, numbers); err != nil {
			return err
		}
	}
	return nil
}

// Resume continues from a checkpoint of the same recipe; without a file it does nothing.
func (t *Trainer) Resume(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, 1<<20)
	line, err := reader.ReadSlice('\n')
	var header checkpointHeader
	if err == nil {
		err = json.Unmarshal(line, &header)
	}
	if err != nil || header.Format != checkpointFormat {
		return fmt.Errorf("resume: %s is no checkpoint of pacl pretrain", path)
	}
	if header.Recipe != t.Recipe() || header.Parameters != len(t.p) {
		return fmt.Errorf("resume: %s was made by another recipe (%s, here %s): choose another --out, or delete it to start anew", path, header.Recipe, t.Recipe())
	}
	want := int64(len(line)) + 3*4*int64(len(t.p))
	if info, err := file.Stat(); err != nil || info.Size() != want {
		return fmt.Errorf("resume: %s is cut off or too long, expected %d bytes: delete it to start anew", path, want)
	}
	for _, numbers := range [][]float32{t.p, t.m1, t.m2} {
		if err := binary.Read(reader, binary.LittleEndian, numbers); err != nil {
			return fmt.Errorf("resume: read %s: %w", path, err)
		}
	}
	t.step, t.spent = header.Step, header.CPUSeconds-usage.Processor().Seconds()
	return nil
}

// Begin takes parameters and vocabulary of another recipe's checkpoint as the starting point. Sizes must be the same; steps,
// moments and schedule begin anew.
func (t *Trainer) Begin(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("begin from checkpoint: %w", err)
	}
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	var header checkpointHeader
	if err := json.Unmarshal(line, &header); err != nil || header.Format != checkpointFormat {
		return fmt.Errorf("begin: %s is no checkpoint of pacl pretrain", path)
	}
	c, d := t.config, header.Config
	if header.Vocabulary == nil {
		return fmt.Errorf("begin: %s holds no vocabulary: make it again with this version", path)
	}
	if c.Vision != d.Vision || c.Text != d.Text || c.Projection != d.Projection || c.Objective != d.Objective || len(rest) != 12*len(t.p) {
		return fmt.Errorf("begin: %s holds a model of other sizes, vocabulary or objective", path)
	}
	if err := binary.Read(bytes.NewReader(rest), binary.LittleEndian, t.p); err != nil {
		return fmt.Errorf("begin: read %s: %w", path, err)
	}
	words, err := header.Vocabulary.Tokenizer()
	if err != nil {
		return fmt.Errorf("begin: vocabulary of %s: %w", path, err)
	}
	t.vocabulary, t.tokenizer = header.Vocabulary, words
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %x", header.Recipe, header.Step, sha256.Sum256(rest)))
	t.origin = hex.EncodeToString(sum[:8])
	t.spent = header.CPUSeconds - usage.Processor().Seconds()
	return nil
}
