package onnx

import (
	"fmt"
	"math"

	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/internal/kernel"
)

func (g *graph) add(a, b string) string { return g.node("Add", []string{a, b}) }
func (g *graph) mul(a, b string) string { return g.node("Mul", []string{a, b}) }

func (g *graph) transpose(x string, order ...int64) string {
	return g.node("Transpose", []string{x}, attribute{"perm", order})
}

// reshape takes a shape in which 0 keeps a dimension and -1 takes what is left.
func (g *graph) reshape(x string, shape ...int64) string {
	return g.node("Reshape", []string{x, g.ints(shape...)})
}

func (g *graph) concat(axis int64, parts ...string) string {
	return g.node("Concat", parts, attribute{"axis", axis})
}

// slice takes [from, to) of one axis.
func (g *graph) slice(x string, axis, from, to int64) string {
	return g.node("Slice", []string{x, g.ints(from), g.ints(to), g.ints(axis)})
}

// dimension is one length of a value, as a list of one.
func (g *graph) dimension(x string, axis int64) string {
	return g.slice(g.node("Shape", []string{x}), 0, axis, axis+1)
}

// count is 0, 1, ... as float32, up to a length that is given as a list of one.
func (g *graph) count(length string) string {
	end := g.node("Squeeze", []string{length, g.ints(0)})
	numbers := g.node("Range", []string{g.integer(0), end, g.integer(1)})
	return g.node("Cast", []string{numbers}, attribute{"to", int64(typeFloat)})
}

func (g *graph) linear(x string, l encoder.RawLinear) string {
	y := g.node("MatMul", []string{x, g.floats("w", l.Weight, l.In, l.Out)})
	if l.Bias != nil {
		y = g.add(y, g.floats("b", l.Bias, l.Out))
	}
	return y
}

func (g *graph) norm(x string, n encoder.RawNorm) string {
	gamma, beta := g.floats("gamma", n.Gamma, len(n.Gamma)), g.floats("beta", n.Beta, len(n.Beta))
	return g.node("LayerNormalization", []string{x, gamma, beta}, attribute{"axis", int64(-1)}, attribute{"epsilon", n.Eps})
}

// normalise divides vectors along the last axis by their lengths.
func (g *graph) normalise(x string) string {
	length := g.node("ReduceL2", []string{x}, attribute{"axes", []int64{-1}}, attribute{"keepdims", int64(1)})
	return g.node("Div", []string{x, g.node("Max", []string{length, g.scalar(1e-12)})})
}

func (g *graph) activate(x string, a kernel.Activation) (string, error) {
	switch a {
	case kernel.None:
		return x, nil
	case kernel.ReLU:
		return g.node("Relu", []string{x}), nil
	case kernel.SiLU:
		return g.mul(x, g.node("Sigmoid", []string{x})), nil
	case kernel.QuickGELU:
		return g.mul(x, g.node("Sigmoid", []string{g.mul(x, g.scalar(1.702))})), nil
	case kernel.GELUTanh:
		inner := g.mul(x, g.add(g.mul(g.mul(x, x), g.scalar(0.044715)), g.scalar(1)))
		return g.mul(x, g.node("Sigmoid", []string{g.mul(inner, g.scalar(float32(2*math.Sqrt(2/math.Pi))))})), nil
	case kernel.GELU:
		erf := g.node("Erf", []string{g.mul(x, g.scalar(float32(math.Sqrt2/2)))})
		return g.mul(g.mul(x, g.add(erf, g.scalar(1))), g.scalar(0.5)), nil
	}
	return "", fmt.Errorf("onnx: activation %d is not known", a)
}

// attention is what a block's attention needs besides its weights.
type attention struct {
	bias    string // added to the scaled scores, or ""
	cos     string // [tokens, head] of rotary positions, or ""
	sin     string
	readout encoder.Readout
}

// heads cuts [B, N, width] into [B, heads, N, head].
func (g *graph) heads(x string, heads, head int) string {
	return g.transpose(g.reshape(x, 0, 0, int64(heads), int64(head)), 0, 2, 1, 3)
}

// rotate turns queries or keys by their places: x cos + (-second half, first half) sin.
func (g *graph) rotate(x string, head int, a attention) string {
	first, second := g.slice(x, 3, 0, int64(head/2)), g.slice(x, 3, int64(head/2), int64(head))
	turned := g.concat(3, g.node("Neg", []string{second}), first)
	return g.add(g.mul(x, a.cos), g.mul(turned, a.sin))
}

// weights are softmax(a b / sqrt(head) + bias).
func (g *graph) weights(x, y string, head int, bias string) string {
	scores := g.mul(g.node("MatMul", []string{x, g.transpose(y, 0, 1, 3, 2)}), g.scalar(float32(1/math.Sqrt(float64(head)))))
	if bias != "" {
		scores = g.add(scores, bias)
	}
	return g.node("Softmax", []string{scores}, attribute{"axis", int64(-1)})
}

// attend is a block's attention on normed tokens, before the residual sum.
func (g *graph) attend(x string, t encoder.RawTransformer, b encoder.RawBlock, a attention) string {
	w := int64(t.Width)
	head := t.Width / t.Heads
	qkv := g.linear(x, b.QKV)
	q := g.heads(g.slice(qkv, 2, 0, w), t.Heads, head)
	k := g.heads(g.slice(qkv, 2, w, 2*w), t.Heads, head)
	v := g.heads(g.slice(qkv, 2, 2*w, 3*w), t.Heads, head)
	if a.cos != "" {
		q, k = g.rotate(q, head, a), g.rotate(k, head, a)
	}
	var attended string
	switch a.readout {
	case encoder.MaskCLIP:
		attended = v
	case encoder.SCLIP:
		attended = g.node("MatMul", []string{g.add(g.weights(q, q, head, ""), g.weights(k, k, head, "")), v})
	case encoder.ClearCLIP:
		attended = g.node("MatMul", []string{g.weights(q, q, head, ""), v})
	case encoder.NACLIP:
		attended = g.node("MatMul", []string{g.weights(k, k, head, a.bias), v})
	default:
		attended = g.node("MatMul", []string{g.weights(q, k, head, a.bias), v})
	}
	joined := g.reshape(g.transpose(attended, 0, 2, 1, 3), 0, 0, w)
	y := g.linear(joined, b.Out)
	if b.Scale1 != nil {
		y = g.mul(y, g.floats("scale", b.Scale1, t.Width))
	}
	return y
}

// feedForward is a block's MLP on normed tokens, before the residual sum.
func (g *graph) feedForward(x string, t encoder.RawTransformer, b encoder.RawBlock) (string, error) {
	hidden := g.linear(x, b.FC1)
	if b.Gate == nil {
		activated, err := g.activate(hidden, b.Activation)
		if err != nil {
			return "", err
		}
		hidden = activated
	} else {
		gate, err := g.activate(g.linear(x, *b.Gate), b.Activation)
		if err != nil {
			return "", err
		}
		hidden = g.mul(hidden, gate)
	}
	y := g.linear(hidden, b.FC2)
	if b.Scale2 != nil {
		y = g.mul(y, g.floats("scale", b.Scale2, t.Width))
	}
	return y, nil
}

// block is one whole layer. A read-out that drops the residual sum and the MLP ends with the attention.
func (g *graph) block(x string, t encoder.RawTransformer, b encoder.RawBlock, a attention) (string, error) {
	normed := x
	if !t.PostNorm {
		normed = g.norm(x, b.Norm1)
	}
	attended := g.attend(normed, t, b, a)
	switch a.readout {
	case encoder.MaskCLIP, encoder.ClearCLIP, encoder.NACLIP:
		return attended, nil
	}
	x = g.add(x, attended)
	if t.PostNorm {
		x = g.norm(x, b.Norm1)
		normed = x
	} else {
		normed = g.norm(x, b.Norm2)
	}
	y, err := g.feedForward(normed, t, b)
	if err != nil {
		return "", err
	}
	x = g.add(x, y)
	if t.PostNorm {
		x = g.norm(x, b.Norm2)
	}
	return x, nil
}
