package main

import "github.com/pacl/pacl"

// open opens the model that the flags name; warnings go to standard error.
func (f modelFlags) open(s *session) (*pacl.Model, error) {
	return pacl.Open(s, f.options(s))
}

func (f modelFlags) options(s *session) pacl.Options {
	return pacl.Options{
		Model: f.Model, Vision: f.Vision, Text: f.Text, Readout: f.Readout, Precision: f.Precision, Tokenizer: f.Tokenizer,
		Warn: func(message string) { s.logf("warning: %s", message) },
	}
}

func (f imageFlags) options() pacl.ImageOptions {
	o := pacl.ImageOptions{Size: f.Size, Stride: f.Stride, Window: f.Window, WindowStride: f.WindowStride, Scales: f.Scales}
	switch {
	case f.Mirror == nil:
	case *f.Mirror:
		o.Mirror = pacl.On
	default:
		o.Mirror = pacl.Off
	}
	return o
}
