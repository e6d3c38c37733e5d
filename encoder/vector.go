package encoder

import (
	"fmt"

	"github.com/pacl/pacl/weights"
)

// vector is numbers of an encoder that stand beside its matrices, such as a bias, the scale of a norm or positions; nil where there are
// none. What it is made of was checked when it was declared; its numbers come with pack: there are hundreds of small ones, and each in
// a page of its own of a large file takes longer to find than to read.
type vector struct {
	numbers []float32
	size    int
	source  string // what it is made of
	read    func(dst []float32) error
	backing any // what must live as long as the numbers are used
}

// all returns the numbers, nil of a nil vector.
func (v *vector) all() []float32 {
	if v == nil {
		return nil
	}
	return v.numbers
}

// given is a vector of numbers that are there already.
func given(numbers []float32) *vector { return &vector{numbers: numbers, size: len(numbers)} }

// then makes a vector's numbers pass through change after they are read.
func (v *vector) then(source string, change func(numbers []float32) error) {
	read := v.read
	v.source += " " + source
	v.read = func(dst []float32) error {
		if err := read(dst); err != nil {
			return err
		}
		return change(dst)
	}
}

// late declares a vector of a whole tensor.
func (l *loader) late(t weights.Tensor) *vector {
	return l.declare(&vector{size: t.Len(), source: t.Name, read: func(dst []float32) error { return t.CopyRange(dst, 0) }})
}

func (l *loader) declare(v *vector) *vector {
	l.vectors = append(l.vectors, v)
	return v
}

// needed declares a vector of a tensor of n numbers.
func (l *loader) needed(name string, n int) *vector {
	if t, ok := l.flat(name, n); ok {
		return l.late(t)
	}
	return new(vector) // the loader has failed
}

// optional declares a vector that not every model has.
func (l *loader) optional(name string, n int) *vector {
	if name == "" || !l.has(name) {
		return nil
	}
	return l.needed(name, n)
}

// bias declares the bias of a layer made of parts, nil where none of them has one.
func (l *loader) bias(out int, parts []part) *vector {
	type piece struct {
		tensor           weights.Tensor
		first, row, rows int
	}
	var pieces []piece
	source, row := "", 0
	for _, p := range parts {
		if t, ok := l.set.Get(p.bias); ok {
			if t, ok = l.flat(p.bias, max(t.Len(), p.first+p.rows)); ok {
				pieces = append(pieces, piece{t, p.first, row, p.rows})
				source += fmt.Sprint(p.bias, " ", p.first, " ", row, " ")
			}
		}
		row += p.rows
	}
	if len(pieces) == 0 {
		return nil
	}
	return l.declare(&vector{size: out, source: source, read: func(dst []float32) error {
		for _, p := range pieces {
			if err := p.tensor.CopyRange(dst[p.row:p.row+p.rows], p.first); err != nil {
				return err
			}
		}
		return nil
	}})
}
