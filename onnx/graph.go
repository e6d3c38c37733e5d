// Package onnx writes encoders and heads as ONNX models (https://onnx.ai, operator set 17), which ONNX Runtime runs on
// processors and GPUs that this program does not use itself: photos to patch vectors and scores of given text vectors, and
// token ids to text vectors, for any number and size of photos and any length of texts.
//
// The protocol buffers are written by hand, field by field: the format needs no more than a dozen of them.
package onnx

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	opset     = 17
	irVersion = 8
	// largest is what a protocol buffer may hold.
	largest = 1<<31 - 1
)

// Numbers of the format's enumeration of types.
const (
	typeFloat = 1
	typeInt64 = 7
)

// graph is a model in the making. Its methods add a node each and return the name of its output.
type graph struct {
	name         string
	nodes        [][]byte
	initializers [][]byte
	inputs       [][]byte
	outputs      [][]byte
	size         int
	names        int
}

// fresh is a name that no other value has.
func (g *graph) fresh(op string) string {
	g.names++
	return fmt.Sprintf("%s_%d", strings.ToLower(op), g.names)
}

func message(number protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
}

func appendMessage(b []byte, number protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), body)
}

func appendString(b []byte, number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), text)
}

func appendInt(b []byte, number protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(v))
}

// attribute is a node's constant: an int64, a float32, a string or a list of int64.
type attribute struct {
	name  string
	value any
}

func (a attribute) bytes() []byte {
	b := appendString(nil, 1, a.name)
	switch v := a.value.(type) {
	case float32:
		b = protowire.AppendFixed32(protowire.AppendTag(b, 2, protowire.Fixed32Type), math.Float32bits(v))
		return appendInt(b, 20, 1)
	case int64:
		return appendInt(appendInt(b, 3, v), 20, 2)
	case string:
		return appendInt(appendString(b, 4, v), 20, 3)
	case []int64:
		for _, n := range v {
			b = appendInt(b, 8, n)
		}
		return appendInt(b, 20, 7)
	}
	panic(fmt.Sprintf("onnx: attribute %s of type %T", a.name, a.value))
}

// nodeTo adds an operation with outputs of given names.
func (g *graph) nodeTo(op string, outputs, inputs []string, attributes ...attribute) {
	var b []byte
	for _, name := range inputs {
		b = appendString(b, 1, name)
	}
	for _, name := range outputs {
		b = appendString(b, 2, name)
	}
	b = appendString(b, 3, g.fresh("n"))
	b = appendString(b, 4, op)
	for _, a := range attributes {
		b = appendMessage(b, 5, a.bytes())
	}
	g.nodes = append(g.nodes, b)
	g.size += len(b) + 8
}

// node adds an operation with one output.
func (g *graph) node(op string, inputs []string, attributes ...attribute) string {
	output := g.fresh(op)
	g.nodeTo(op, []string{output}, inputs, attributes...)
	return output
}

func (g *graph) initializer(kind string, dataType int64, shape []int64, raw []byte) string {
	name := g.fresh(kind)
	var b []byte
	for _, d := range shape {
		b = appendInt(b, 1, d)
	}
	b = appendInt(b, 2, dataType)
	b = appendString(b, 8, name)
	b = appendMessage(b, 9, raw)
	g.initializers = append(g.initializers, b)
	g.size += len(b) + 8
	return name
}

// floats adds an array of numbers.
func (g *graph) floats(kind string, values []float32, shape ...int) string {
	count := 1
	dims := make([]int64, len(shape))
	for i, d := range shape {
		dims[i] = int64(d)
		count *= d
	}
	if count != len(values) {
		panic(fmt.Sprintf("onnx: %s has %d numbers, shape %v", kind, len(values), shape))
	}
	raw := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
	}
	return g.initializer(kind, typeFloat, dims, raw)
}

// scalar adds one number.
func (g *graph) scalar(v float32) string { return g.floats("c", []float32{v}) }

// ints adds a list of integers.
func (g *graph) ints(values ...int64) string {
	raw := make([]byte, 0, 8*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return g.initializer("i", typeInt64, []int64{int64(len(values))}, raw)
}

// integer adds one integer without a dimension.
func (g *graph) integer(v int64) string {
	return g.initializer("i", typeInt64, nil, binary.LittleEndian.AppendUint64(nil, uint64(v)))
}

// value describes an input or output; a dimension is a number or, where it may vary, a name.
func value(name string, dataType int64, shape ...any) []byte {
	var dims []byte
	for _, d := range shape {
		switch d := d.(type) {
		case int:
			dims = appendMessage(dims, 1, appendInt(nil, 1, int64(d)))
		case string:
			dims = appendMessage(dims, 1, appendString(nil, 2, d))
		default:
			panic(fmt.Sprintf("onnx: dimension %v", d))
		}
	}
	tensor := appendMessage(appendInt(nil, 1, dataType), 2, dims)
	return appendMessage(appendString(nil, 1, name), 2, message(1, tensor))
}

func (g *graph) input(name string, dataType int64, shape ...any) string {
	g.inputs = append(g.inputs, value(name, dataType, shape...))
	return name
}

// output gives a value the name under which it leaves the model.
func (g *graph) output(name, from string, dataType int64, shape ...any) {
	g.nodeTo("Identity", []string{name}, []string{from})
	g.outputs = append(g.outputs, value(name, dataType, shape...))
}

// write writes the model.
func (g *graph) write(w io.Writer, metadata [][2]string) error {
	if g.size > largest-1<<20 {
		return fmt.Errorf("onnx: the model has %d bytes, the format ends at %d", g.size, largest)
	}
	body := make([]byte, 0, g.size+1<<16)
	for _, n := range g.nodes {
		body = appendMessage(body, 1, n)
	}
	body = appendString(body, 2, g.name)
	for _, i := range g.initializers {
		body = appendMessage(body, 5, i)
	}
	for _, v := range g.inputs {
		body = appendMessage(body, 11, v)
	}
	for _, v := range g.outputs {
		body = appendMessage(body, 12, v)
	}
	head := appendInt(nil, 1, irVersion)
	head = appendString(head, 2, "pacl")
	head = appendMessage(head, 8, appendInt(nil, 2, opset))
	for _, pair := range metadata {
		head = appendMessage(head, 14, appendString(appendString(nil, 1, pair[0]), 2, pair[1]))
	}
	head = protowire.AppendVarint(protowire.AppendTag(head, 7, protowire.BytesType), uint64(len(body)))
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("onnx: %w", err)
	}
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("onnx: %w", err)
	}
	return nil
}
