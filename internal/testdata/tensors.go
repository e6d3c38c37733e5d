package testdata

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"
)

// Tensor is an array of a golden file, its numbers as float64 whatever they were stored as.
type Tensor struct {
	Shape []int
	Data  []float64
}

// Float32 returns the numbers as float32.
func (t Tensor) Float32() []float32 {
	result := make([]float32, len(t.Data))
	for i, v := range t.Data {
		result[i] = float32(v)
	}
	return result
}

// Tensors reads a golden safetensors file. It is written apart from the product's reader and trusts its input.
func Tensors(t testing.TB, path string) map[string]Tensor {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	length := binary.LittleEndian.Uint64(data)
	header := map[string]json.RawMessage{}
	if err := json.Unmarshal(data[8:8+length], &header); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	tensors := map[string]Tensor{}
	for name, raw := range header {
		if name == "__metadata__" {
			continue
		}
		var entry struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &entry); err != nil {
			t.Fatalf("%s: %s: %v", path, name, err)
		}
		bytes := data[8+int(length)+entry.Offsets[0] : 8+int(length)+entry.Offsets[1]]
		tensor := Tensor{Shape: entry.Shape}
		for len(bytes) > 0 {
			var v float64
			var size int
			switch entry.DType {
			case "F64":
				v, size = math.Float64frombits(binary.LittleEndian.Uint64(bytes)), 8
			case "F32":
				v, size = float64(math.Float32frombits(binary.LittleEndian.Uint32(bytes))), 4
			case "I64":
				v, size = float64(int64(binary.LittleEndian.Uint64(bytes))), 8
			case "I32":
				v, size = float64(int32(binary.LittleEndian.Uint32(bytes))), 4
			case "U8":
				v, size = float64(bytes[0]), 1
			default:
				t.Fatalf("%s: %s has type %s", path, name, entry.DType)
			}
			tensor.Data = append(tensor.Data, v)
			bytes = bytes[size:]
		}
		tensors[name] = tensor
	}
	return tensors
}

// JSON reads a golden JSON file into v.
func JSON(t testing.TB, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
