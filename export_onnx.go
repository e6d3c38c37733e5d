package pacl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/onnx"
)

// Names of the files that ExportONNX writes.
const (
	ONNXPatches = "patches.onnx"
	ONNXTexts   = "texts.onnx"
)

// ExportONNX writes the model into a folder as ONNX: patches.onnx, from photos and text vectors to scores, and texts.onnx,
// from token ids to text vectors, unless the model's words come from a names table. It returns the paths written. The model
// must have been opened with the precision "f32". stride 0 is the model's own.
func (m *Model) ExportONNX(dir string, stride int) ([]string, error) {
	if m.precision != kernel.Float32 {
		return nil, errors.New("export: the model was opened with rounded weights, expected the precision f32")
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if stride == 0 {
		stride = m.Info().Stride
	}
	raw, err := m.vision.Raw()
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	vision := onnx.VisionOptions{Readout: m.readout, Stride: stride}
	var text onnx.TextOptions
	if m.head != nil {
		vision.Head, vision.Layer = m.head.Head, m.head.Description.Layer
		text.Head, text.Centre = m.head.Head, m.head.NamesMean
	}
	var paths []string
	write := func(name string, fill func(io.Writer) error) error {
		path := filepath.Join(dir, name)
		if err := atomicfile.Write(path, fill); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		paths = append(paths, path)
		return nil
	}
	if err := write(ONNXPatches, func(w io.Writer) error { return onnx.WriteVision(w, raw, vision) }); err != nil {
		return nil, err
	}
	if _, table := m.text.(*encoder.Names); table {
		return paths, nil
	}
	rawText, err := encoder.RawTextOf(m.text)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return paths, write(ONNXTexts, func(w io.Writer) error { return onnx.WriteText(w, rawText, text) })
}
