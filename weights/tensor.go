// Package weights reads named tensors from files that nobody has to trust: safetensors and PyTorch archives. Nothing in a
// file is executed, and every length, offset, count and shape is checked before it is used.
package weights

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// DType is the type of a tensor's numbers.
type DType uint8

// The types of numbers that tensors are stored in.
const (
	F32 DType = iota + 1
	F16
	BF16
	F64
	I64
	I32
	I16
	I8
	U8
	Bool
)

var dtypes = map[DType]struct {
	name string // in a safetensors header
	size int    // bytes of a number
}{
	F32: {"F32", 4}, F16: {"F16", 2}, BF16: {"BF16", 2}, F64: {"F64", 8}, I64: {"I64", 8},
	I32: {"I32", 4}, I16: {"I16", 2}, I8: {"I8", 1}, U8: {"U8", 1}, Bool: {"BOOL", 1},
}

// String is the type's name in a safetensors header.
func (d DType) String() string {
	if t, ok := dtypes[d]; ok {
		return t.name
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// Size is the number of bytes of one number, 0 for an unknown type.
func (d DType) Size() int { return dtypes[d].size }

// Floating says whether numbers of the type have a fraction, as those of weights do.
func (d DType) Floating() bool { return d == F32 || d == F16 || d == BF16 || d == F64 }

func parseDType(name string) (DType, bool) {
	for d, t := range dtypes {
		if t.name == name {
			return d, true
		}
	}
	return 0, false
}

// Tensor is an array with a name. Data is little-endian and row-major, most often a view of a mapped file: it must not be
// written to, nor used after its Set is closed.
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	Data  []byte
}

// Len is the number of elements.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Float32 returns the numbers as a fresh slice of float32.
func (t Tensor) Float32() []float32 {
	result := make([]float32, t.Len())
	t.convert(result)
	return result
}

// CopyFloat32 converts the numbers into dst, whose length must be Len.
func (t Tensor) CopyFloat32(dst []float32) error {
	if len(dst) != t.Len() {
		return fmt.Errorf("tensor %s: %d elements do not fit a slice of %d", t.Name, t.Len(), len(dst))
	}
	t.convert(dst)
	return nil
}

// CopyRange converts the numbers from element first on into dst.
func (t Tensor) CopyRange(dst []float32, first int) error {
	if first < 0 || first+len(dst) > t.Len() {
		return fmt.Errorf("tensor %s: elements %d to %d of %d", t.Name, first, first+len(dst), t.Len())
	}
	t.Data = t.Data[first*t.DType.Size():]
	t.convert(dst)
	return nil
}

// Float64 returns the numbers as a fresh slice of float64.
func (t Tensor) Float64() []float64 {
	result := make([]float64, t.Len())
	if t.DType == F64 {
		for i := range result {
			result[i] = math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:]))
		}
		return result
	}
	if t.DType == I64 {
		for i := range result {
			result[i] = float64(int64(binary.LittleEndian.Uint64(t.Data[8*i:])))
		}
		return result
	}
	for i, v := range t.Float32() {
		result[i] = float64(v)
	}
	return result
}

func (t Tensor) convert(dst []float32) {
	data, le := t.Data, binary.LittleEndian
	switch t.DType {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(data[4*i:]))
		}
	case F16:
		kernel.FromF16(dst, data[:2*len(dst)])
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(le.Uint16(data[2*i:])) << 16)
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(data[8*i:])))
		}
	case I64:
		for i := range dst {
			dst[i] = float32(int64(le.Uint64(data[8*i:])))
		}
	case I32:
		for i := range dst {
			dst[i] = float32(int32(le.Uint32(data[4*i:])))
		}
	case I16:
		for i := range dst {
			dst[i] = float32(int16(le.Uint16(data[2*i:])))
		}
	case I8:
		for i := range dst {
			dst[i] = float32(int8(data[i]))
		}
	default:
		for i := range dst {
			dst[i] = float32(data[i])
		}
	}
}

// NewFloat32 makes a tensor of float32 numbers.
func NewFloat32(name string, data []float32, shape ...int) Tensor {
	bytes := make([]byte, 4*len(data))
	for i, v := range data {
		binary.LittleEndian.PutUint32(bytes[4*i:], math.Float32bits(v))
	}
	return Tensor{Name: name, DType: F32, Shape: shape, Data: bytes}
}

// NewBF16 makes a tensor of bfloat16 numbers, rounded to the nearest, ties to even.
func NewBF16(name string, data []float32, shape ...int) Tensor {
	bytes := make([]byte, 2*len(data))
	for i, v := range data {
		bits := math.Float32bits(v)
		if v != v {
			bits |= 1 << 22 // stays NaN when the low half is cut
		} else {
			bits += 0x7fff + bits>>16&1
		}
		binary.LittleEndian.PutUint16(bytes[2*i:], uint16(bits>>16))
	}
	return Tensor{Name: name, DType: BF16, Shape: shape, Data: bytes}
}
