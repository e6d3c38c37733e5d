package pacl

import (
	"fmt"
	"maps"
	"strconv"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/evaluate"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/readout"
)

// Keys of a protocol line that say how the model was opened.
const (
	precisionKey = "precision"
	readoutKey   = "readout"
)

// Keys of a protocol line that say how photos were looked at beside sizes and windows; a line without them was made with
// one scale, no mirror image and no weight of the photo as a whole.
const (
	scalesKey = "scales"
	mirrorKey = "mirror"
	priorKey  = "prior"
)

// templateNames are the sets of templates by the number that a protocol prints for them.
var templateNames = map[string]string{"7": "pacl7", "80": "clip80"}

// protocol is the line that tells how a number was made.
func (m *Model) protocol(o EvaluateOptions) (evaluate.Protocol, error) {
	info := m.Info()
	p := evaluate.Protocol{
		Size:   readout.InputSize{Short: o.Image.Size, Width: o.Image.Width, Height: o.Image.Height},
		Stride: o.Image.Stride, Window: o.Image.Window, WindowStride: o.Image.WindowStride,
		Templates: m.templates(o.Templates), Synonyms: o.Synonyms, Threshold: o.Background,
		More: map[string]string{},
	}
	maps.Copy(p.More, o.More)
	p.More[precisionKey] = precisionName(m.precision)
	if m.head == nil {
		p.More[readoutKey] = info.Method
	}
	scales := o.Image.Scales
	if scales == 0 {
		scales = info.Scales
	}
	if scales > 1 {
		p.More[scalesKey] = strconv.Itoa(scales)
	}
	if m.mirrors(o.Image) {
		p.More[mirrorKey] = "on"
	}
	if weight := m.imagePrior(o.ImagePrior); weight > 0 {
		p.More[priorKey] = strconv.FormatFloat(weight, 'g', -1, 64)
	}
	if p.Size == (readout.InputSize{}) {
		p.Size.Short = info.InputSize
	}
	if p.Stride == 0 {
		p.Stride = info.Stride
	}
	if p.Window > 0 && p.WindowStride == 0 {
		p.WindowStride = max(p.Window/2/p.Stride, 1) * p.Stride
	}
	if o.Refine.Iterations > 0 {
		p.Refine = o.Refine.String()
	}
	if p.Templates != "table" {
		if _, err := caption.Templates(p.Templates); err != nil {
			return p, err
		}
	}
	for number, name := range templateNames {
		if p.Templates == name {
			p.Templates = number
		}
	}
	return p, nil
}

func precisionName(p kernel.Precision) string {
	if p == kernel.BFloat16 {
		return "bf16"
	}
	return "f32"
}

// FromProtocol returns the options that a protocol line stands for, so that the number behind it can be measured again.
func FromProtocol(p evaluate.Protocol) (EvaluateOptions, error) {
	o := EvaluateOptions{
		Image: ImageOptions{
			Size: p.Size.Short, Width: p.Size.Width, Height: p.Size.Height,
			Stride: p.Stride, Window: p.Window, WindowStride: p.WindowStride,
		},
		Templates: p.Templates, Synonyms: p.Synonyms, Background: p.Threshold, More: maps.Clone(p.More),
	}
	if name, ok := templateNames[p.Templates]; ok {
		o.Templates = name
	}
	if o.Templates == "table" {
		o.Templates = ""
	}
	o.Image.Scales, o.Image.Mirror, o.ImagePrior = 1, Off, -1
	if text, ok := p.More[scalesKey]; ok {
		var err error
		if o.Image.Scales, err = strconv.Atoi(text); err != nil || o.Image.Scales < 1 {
			return o, fmt.Errorf("protocol: %s=%s, expected a whole number above 0", scalesKey, text)
		}
	}
	if p.More[mirrorKey] == "on" {
		o.Image.Mirror = On
	}
	if text, ok := p.More[priorKey]; ok {
		var err error
		if o.ImagePrior, err = strconv.ParseFloat(text, 64); err != nil || !(o.ImagePrior > 0) {
			return o, fmt.Errorf("protocol: %s=%s, expected a number above 0", priorKey, text)
		}
	}
	if p.Refine != "" {
		var err error
		if o.Refine, err = readout.ParseRefinement(p.Refine); err != nil {
			return o, fmt.Errorf("protocol: %w", err)
		}
	}
	return o, nil
}

// OpenedAs changes the options of Open to what a protocol says of the model: the precision, and the read-out where the
// model has no head.
func (o Options) OpenedAs(p evaluate.Protocol) Options {
	if name := p.More[precisionKey]; name != "" {
		o.Precision = name
	}
	if name := p.More[readoutKey]; name != "" {
		o.Readout = name
	}
	return o
}
