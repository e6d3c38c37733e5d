package pacl

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/pretrain"
	"github.com/pacl/pacl/render"
)

// CurvesName is the picture of a training's curves beside its log.
const CurvesName = "curves.png"

// drawCurves draws the log of a training.
func drawCurves(dir string) error {
	log, err := align.ReadLog(dir)
	if err != nil || len(log) == 0 {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, CurvesName), func(w io.Writer) error { return render.Curves(w, trainingPanels(log)) })
}

// DrawPretraining draws the log in the directory of a pre-training, as CurvesName beside it. Nothing is drawn of an empty log.
func DrawPretraining(dir string) error {
	log, err := pretrain.ReadLog(dir)
	if err != nil || len(log) == 0 {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, CurvesName), func(w io.Writer) error { return render.Curves(w, pretrainingPanels(log)) })
}

// pretrainingWindow is over how many steps the curves of a pre-training are averaged, as it has no epochs.
const pretrainingWindow = 50

// pretrainingPanels are the curves of a pre-training. A loss of 0 is one that the step did not have: those of mosaics lack CLIP's.
func pretrainingPanels(log []pretrain.Record) []render.Panel {
	series := func(name string, value func(pretrain.Record) float64) render.Series {
		return gather(log, name, func(r pretrain.Record) (int, float64, bool) { return r.Step, value(r), true })
	}
	smooth := func(name string, value func(pretrain.Record) float64) render.Series {
		return runningMean(series(name, value), pretrainingWindow)
	}
	loss := func(name string, value func(pretrain.Record) float64) render.Series {
		return runningMean(gather(log, name, func(r pretrain.Record) (int, float64, bool) { return r.Step, value(r), value(r) != 0 }), pretrainingWindow)
	}
	return []render.Panel{
		{Title: fmt.Sprintf("loss, mean over %d steps", pretrainingWindow), XLabel: "step", Series: []render.Series{
			loss("CLIP", func(r pretrain.Record) float64 { return r.CLIPLoss }),
			loss("PACL", func(r pretrain.Record) float64 { return r.PairLoss }),
		}},
		{Title: "mutual information, at least (nats)", XLabel: "step", Series: []render.Series{
			series("batches", func(r pretrain.Record) float64 { return r.Bound }),
			smooth("mean", func(r pretrain.Record) float64 { return r.Bound }),
		}},
		{Title: "retrieval at 1", XLabel: "step", Series: []render.Series{
			smooth("image to text", func(r pretrain.Record) float64 { return r.ImageToText }),
			smooth("text to image", func(r pretrain.Record) float64 { return r.TextToImage }),
		}},
		{Title: "length of the gradient", XLabel: "step", Series: []render.Series{series("batches", func(r pretrain.Record) float64 { return r.Norm })}},
		{Title: "learning rate", XLabel: "step", Series: []render.Series{series("rate", func(r pretrain.Record) float64 { return r.Rate })}},
		{Title: "logit scale", XLabel: "step", Series: []render.Series{series("scale", func(r pretrain.Record) float64 { return r.LogitScale })}},
	}
}

// gather makes a series of those records of a log that have the value.
func gather[R any](log []R, name string, point func(R) (step int, value float64, ok bool)) render.Series {
	s := render.Series{Name: name}
	for _, r := range log {
		if step, value, ok := point(r); ok {
			s.X, s.Y = append(s.X, float64(step)), append(s.Y, value)
		}
	}
	return s
}

// runningMean is the mean of each value of a series and those before it, window in all.
func runningMean(s render.Series, window int) render.Series {
	mean := render.Series{Name: s.Name, X: s.X, Y: make([]float64, len(s.Y)), Strong: true}
	sum := 0.0
	for i, y := range s.Y {
		if sum += y; i >= window {
			sum -= s.Y[i-window]
		}
		mean.Y[i] = sum / float64(min(i+1, window))
	}
	return mean
}

// trainingPanels are the curves that are worth a look. Batches differ from one to the next more than a head does, so
// what is measured on them is drawn with its running mean over an epoch.
func trainingPanels(log []align.Progress) []render.Panel {
	perEpoch := max(log[0].Steps/max(log[0].Epochs, 1), 1)
	series := func(name string, value func(align.Progress) float64) render.Series {
		return gather(log, name, func(p align.Progress) (int, float64, bool) { return p.Step, value(p), true })
	}
	smooth := func(s render.Series) render.Series { return runningMean(s, perEpoch) }
	validation := func(name string, value func(*align.Validation) float64) render.Series {
		s := gather(log, name, func(p align.Progress) (int, float64, bool) {
			if p.Validation == nil {
				return 0, 0, false
			}
			return p.Step, value(p.Validation), true
		})
		s.Strong = true
		return s
	}
	loss := series("batches", func(p align.Progress) float64 { return p.Loss })
	bound := series("batches", func(p align.Progress) float64 { return p.Bound })
	return []render.Panel{
		{Title: "loss", XLabel: "step", Series: []render.Series{
			loss, smooth(render.Series{Name: "mean over an epoch", X: loss.X, Y: loss.Y}),
			validation("validation", func(v *align.Validation) float64 { return v.Loss }),
		}},
		{Title: "mutual information, at least (nats)", XLabel: "step", Series: []render.Series{
			bound, smooth(render.Series{Name: "mean over an epoch", X: bound.X, Y: bound.Y}),
			validation("validation", func(v *align.Validation) float64 { return v.Bound }),
		}},
		{Title: "retrieval at 1", XLabel: "step", Series: []render.Series{
			smooth(series("image to text", func(p align.Progress) float64 { return p.ImageToText })),
			smooth(series("text to image", func(p align.Progress) float64 { return p.TextToImage })),
			validation("image to text, validation", func(v *align.Validation) float64 { return v.ImageToText }),
			validation("text to image, validation", func(v *align.Validation) float64 { return v.TextToImage }),
		}},
		{Title: "learning rate", XLabel: "step", Series: []render.Series{series("rate", func(p align.Progress) float64 { return p.Rate })}},
		{Title: "logit scale", XLabel: "step", Series: []render.Series{series("scale", func(p align.Progress) float64 { return p.LogitScale })}},
	}
}
