package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sort"

	"github.com/pacl/pacl/internal/atomicfile"
)

const (
	// maxHeader bounds the JSON of a safetensors header, as the format's own reader does.
	maxHeader = 100 << 20
	// maxDimensions bounds a tensor's rank.
	maxDimensions = 16
)

// parseSafetensors reads the tensors of a whole file; their data are views of it.
func parseSafetensors(data []byte) ([]Tensor, map[string]string, error) {
	if len(data) < 8 {
		return nil, nil, fmt.Errorf("safetensors: %d bytes, expected at least the 8 of the header's length", len(data))
	}
	length := binary.LittleEndian.Uint64(data)
	body := data[8:]
	if length > uint64(len(body)) || length > maxHeader {
		return nil, nil, fmt.Errorf("safetensors: header of %d bytes in a file of %d: truncated, or not safetensors", length, len(data))
	}
	header, body := json.NewDecoder(bytes.NewReader(body[:length])), body[length:]
	var metadata map[string]string
	var tensors []Tensor
	var ends [][2]uint64
	err := eachMember(header, func(name string) error {
		if name == "__metadata__" {
			if err := header.Decode(&metadata); err != nil {
				return fmt.Errorf("safetensors metadata: %w", err)
			}
			return nil
		}
		var entry struct {
			DType   string    `json:"dtype"`
			Shape   []int64   `json:"shape"`
			Offsets [2]uint64 `json:"data_offsets"`
		}
		if err := header.Decode(&entry); err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
		dtype, ok := parseDType(entry.DType)
		if !ok {
			return fmt.Errorf("tensor %s: unknown type %q", name, entry.DType)
		}
		shape, count, err := checkShape(entry.Shape)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
		start, end := entry.Offsets[0], entry.Offsets[1]
		if start > end || end > uint64(len(body)) {
			return fmt.Errorf("tensor %s: bytes %d to %d lie outside the %d that the file holds: truncated?", name, start, end, len(body))
		}
		if count > math.MaxInt/int64(dtype.Size()) || uint64(count)*uint64(dtype.Size()) != end-start {
			return fmt.Errorf("tensor %s: %d bytes, expected %s%v", name, end-start, dtype, shape)
		}
		tensors = append(tensors, Tensor{Name: name, DType: dtype, Shape: shape, Data: body[start:end:end]})
		ends = append(ends, entry.Offsets)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	sort.Slice(ends, func(i, j int) bool {
		return ends[i][0] < ends[j][0] || ends[i][0] == ends[j][0] && ends[i][1] < ends[j][1]
	})
	for i := 1; i < len(ends); i++ {
		if ends[i][0] < ends[i-1][1] {
			return nil, nil, fmt.Errorf("safetensors: tensors overlap at byte %d", ends[i][0])
		}
	}
	return tensors, metadata, nil
}

// eachMember calls visit for the members of the one object that the header is; visit decodes the value. So each byte is read twice, by
// way of a map of raw messages it would be four times.
func eachMember(header *json.Decoder, visit func(name string) error) error {
	open, err := header.Token()
	if err == nil && open != json.Delim('{') {
		err = fmt.Errorf("begins with %v, expected an object", open)
	}
	if err != nil {
		return fmt.Errorf("safetensors header: %w", err)
	}
	for header.More() {
		name, err := header.Token()
		if err != nil {
			return fmt.Errorf("safetensors header: %w", err)
		}
		if err := visit(name.(string)); err != nil { // the decoder refuses other names
			return err
		}
	}
	if _, err := header.Token(); err != nil {
		return fmt.Errorf("safetensors header: %w", err)
	}
	if more, err := header.Token(); err != io.EOF {
		return fmt.Errorf("safetensors header: %v behind its end", more)
	}
	return nil
}

// checkShape returns the shape as ints and the number of elements.
func checkShape(dimensions []int64) (shape []int, count int64, err error) {
	if len(dimensions) > maxDimensions {
		return nil, 0, fmt.Errorf("%d dimensions, at most %d are allowed", len(dimensions), maxDimensions)
	}
	count = 1
	shape = make([]int, len(dimensions))
	for i, d := range dimensions {
		if d < 0 || d > math.MaxInt32 {
			return nil, 0, fmt.Errorf("dimension %d is %d", i, d)
		}
		if d > 0 && count > math.MaxInt/d {
			return nil, 0, fmt.Errorf("shape %v has too many elements", dimensions)
		}
		count *= d
		shape[i] = int(d)
	}
	return shape, count, nil
}

// Write writes tensors as a safetensors file under a temporary name and renames it when it is whole and on disk.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	return atomicfile.WriteSynced(path, func(w io.Writer) error { return Encode(w, tensors, metadata) })
}

// Encode writes tensors in the safetensors format, in the order given.
func Encode(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	header := make(map[string]any, len(tensors)+1)
	if len(metadata) > 0 {
		header["__metadata__"] = metadata
	}
	offset := 0
	for _, t := range tensors {
		if _, twice := header[t.Name]; twice {
			return fmt.Errorf("tensor %s stands twice", t.Name)
		}
		if len(t.Data) != t.Len()*t.DType.Size() {
			return fmt.Errorf("tensor %s: %d bytes, expected %s%v", t.Name, len(t.Data), t.DType, t.Shape)
		}
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		header[t.Name] = entry{t.DType.String(), shape, [2]int{offset, offset + len(t.Data)}}
		offset += len(t.Data)
	}
	text, err := json.Marshal(header)
	if err != nil {
		return err
	}
	for len(text)%8 != 0 { // data start at a multiple of 8, as the format's own writer places them
		text = append(text, ' ')
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(text)))); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	for _, t := range tensors {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}
