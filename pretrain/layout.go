package pretrain

// span is where a parameter lies in the flat parameter vector.
type span struct{ from, to int }

func at[T real](p []T, s span) []T { return p[s.from:s.to:s.to] }

// parameter is one named tensor of the flat vector.
type parameter struct {
	name  string
	shape []int
	span  span
	decay bool    // weight decay applies: matrices, not biases and norms
	std   float64 // of the normal numbers it starts from; fill where 0
	fill  float64
}

// layout is the order of all parameters in the flat vector.
type layout struct {
	parameters []parameter
	size       int
}

func (l *layout) add(name string, std, fill float64, shape ...int) span {
	n := 1
	for _, d := range shape {
		n *= d
	}
	s := span{l.size, l.size + n}
	l.size = s.to
	l.parameters = append(l.parameters, parameter{name: name, shape: shape, span: s, decay: len(shape) > 1, std: std, fill: fill})
	return s
}
