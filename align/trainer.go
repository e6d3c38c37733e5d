package align

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/internal/filelock"
	"github.com/pacl/pacl/internal/kernel"
)

// TrainOptions say how a head is trained and where its files go.
type TrainOptions struct {
	Recipe Recipe
	// Dir gets the checkpoint and the log. A training that finds its checkpoint there goes on from it.
	Dir string
	// CheckpointEvery is how many steps lie between checkpoints; 0 stands for once an epoch. There is one at the end always.
	CheckpointEvery int
	// Memory bounds what a step keeps between its two passes, in bytes; 0 stands for DefaultMemory.
	Memory int64
	// Projection is the vision encoder's own map of tokens into the space of texts, for a recipe that starts there; nil otherwise.
	Projection *Linear[float32]
	// Progress, where not nil, is called after each step.
	Progress func(Progress)
}

// Progress says how far a training is and how the batch of the last step did.
type Progress struct {
	Step        int     `json:"step"` // steps done
	Steps       int     `json:"steps"`
	Epoch       int     `json:"epoch"` // 1 for the first
	Epochs      int     `json:"epochs"`
	Images      int     `json:"images"` // of the batch
	Texts       int     `json:"texts"`  // distinct ones
	Loss        float64 `json:"loss"`
	Bound       float64 `json:"bound"`         // log(B) - loss, at most the mutual information of image and caption
	ImageToText float64 `json:"image_to_text"` // retrieval at 1 within the batch
	TextToImage float64 `json:"text_to_image"`
	Rate        float64 `json:"rate"`
	LogitScale  float64 `json:"logit_scale"`

	ImagesPerSecond float64       `json:"images_per_second"`
	Left            time.Duration `json:"-"`
	Validation      *Validation   `json:"validation,omitempty"` // after the last step of an epoch
}

// Validation is how the images that were kept out of training did, compared with each other.
type Validation struct {
	Images      int     `json:"images"`
	Loss        float64 `json:"loss"`
	Bound       float64 `json:"bound"`
	ImageToText float64 `json:"image_to_text"`
	TextToImage float64 `json:"text_to_image"`
}

// TrainResult is what a training ends with.
type TrainResult struct {
	Head       *Head
	Steps      int
	Resumed    int // steps that were done before this run
	Training   int // images
	Validation *Validation
	Last       Progress
}

// Train trains a head on a cache. The result depends on the cache, the recipe and the instruction set alone: a training
// that was killed and taken up again ends with the same head, bit for bit.
func Train(ctx context.Context, cache *feature.Cache, o TrainOptions) (*TrainResult, error) {
	t, err := newTrainer(cache, o)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	result, err := t.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return result, nil
}

type trainer struct {
	options   TrainOptions
	sampler   *sampler
	objective *Objective
	state     *state
	gradient  *Parameters[float32]
	schedule  Schedule
	cacheHash string
	log       *trainLog
	started   time.Time
	resumed   int
	score     *Validation
	last      Progress
}

func newTrainer(cache *feature.Cache, o TrainOptions) (*trainer, error) {
	r := o.Recipe
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if r.Head.TokenWidth != cache.TokenWidth() || r.Head.TextWidth != cache.TextWidth() {
		return nil, fmt.Errorf("the features have token width %d and text width %d, the recipe expects %d and %d",
			cache.TokenWidth(), cache.TextWidth(), r.Head.TokenWidth, r.Head.TextWidth)
	}
	if p := o.Projection; r.Start == StartProjection {
		if p == nil || p.In != r.Head.TokenWidth || p.Out != r.Head.Width {
			return nil, fmt.Errorf("the head has width %d for tokens of width %d: the vision encoder has no such projection to start from", r.Head.Width, r.Head.TokenWidth)
		}
	} else if p != nil {
		return nil, errors.New("a projection to start from, which the recipe does not ask for")
	}
	precision, err := r.precision()
	if err != nil {
		return nil, err
	}
	t := &trainer{options: o, sampler: newSampler(cache, r), cacheHash: cache.Hash(), gradient: NewParameters[float32](r.Head)}
	if t.sampler.batch == 0 {
		return nil, fmt.Errorf("of %d images none is left for training beside a validation share of %g", cache.Len(), r.Validation)
	}
	if t.objective, err = NewObjective(r.Head, precision, o.Memory); err != nil {
		return nil, err
	}
	t.schedule = Schedule{Peak: r.Rate, Floor: r.RateFloor, Warmup: r.Warmup, Steps: t.sampler.steps()}
	if t.options.CheckpointEvery <= 0 {
		t.options.CheckpointEvery = t.sampler.stepsPerEpoch()
	}
	return t, nil
}

func (t *trainer) run(ctx context.Context) (result *TrainResult, err error) {
	o := t.options
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	release, err := filelock.Folder(o.Dir)
	if err != nil {
		return nil, err
	}
	defer release()
	if t.state, err = readState(o, t.cacheHash, t.sampler.steps()); err != nil {
		return nil, err
	}
	t.resumed = t.state.step
	if t.log, err = openLog(o.Dir, t.state.logBytes); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.log.close()) }()
	if t.last, err = lastLogged(o.Dir, t.state.step); err != nil {
		return nil, err
	}
	t.started = time.Now()
	steps, perEpoch := t.sampler.steps(), t.sampler.stepsPerEpoch()
	for t.state.step < steps {
		if err := t.step(ctx); err != nil {
			return nil, err
		}
		done := t.state.step
		if done%perEpoch == 0 {
			if err := t.validate(ctx); err != nil {
				return nil, err
			}
		}
		if err := t.log.add(t.last); err != nil {
			return nil, err
		}
		if o.Progress != nil {
			o.Progress(t.last)
		}
		if done%o.CheckpointEvery == 0 || done == steps {
			if err := t.checkpoint(); err != nil {
				return nil, err
			}
		}
	}
	if t.score == nil {
		if err := t.validate(ctx); err != nil {
			return nil, err
		}
	}
	return &TrainResult{
		Head:  &Head{Config: o.Recipe.Head, Parameters: t.state.parameters},
		Steps: steps, Resumed: t.resumed, Training: len(t.sampler.training), Validation: t.score, Last: t.last,
	}, nil
}

// lastLogged is what the log says of a step that an earlier run did; the zero value where it says nothing.
func lastLogged(dir string, step int) (Progress, error) {
	if step == 0 {
		return Progress{}, nil
	}
	log, err := ReadLog(dir)
	if err != nil || len(log) == 0 || log[len(log)-1].Step != step {
		return Progress{}, err
	}
	return log[len(log)-1], nil
}

// step draws a batch and moves the parameters along its gradient.
func (t *trainer) step(ctx context.Context) error {
	r, s := t.options.Recipe, t.state
	batch := t.sampler.draw(s.step)
	score, err := t.objective.Step(ctx, s.parameters, batch, t.gradient)
	if err != nil {
		return err
	}
	if math.IsNaN(score.Loss) || math.IsInf(score.Loss, 0) {
		return fmt.Errorf("the loss of step %d is %g: the features hold such numbers, or the learning rate %g is too high", s.step+1, score.Loss, r.Rate)
	}
	rate := t.schedule.Rate(s.step)
	s.step++
	r.Update(s.parameters, s.m, s.v, t.gradient, s.step, rate)
	t.last = Progress{
		Step: s.step, Steps: t.sampler.steps(),
		Epoch: (s.step-1)/t.sampler.stepsPerEpoch() + 1, Epochs: r.Epochs,
		Images: batch.Images, Texts: score.Texts,
		Loss: score.Loss, Bound: score.Bound(batch.Images), ImageToText: score.ImageToText, TextToImage: score.TextToImage,
		Rate: rate, LogitScale: math.Exp(float64(s.parameters.LogitScale[0])),
	}
	elapsed, done := time.Since(t.started).Seconds(), s.step-t.resumed
	if elapsed > 0 {
		t.last.ImagesPerSecond = float64(done*batch.Images) / elapsed
		t.last.Left = time.Duration(elapsed / float64(done) * float64(t.last.Steps-s.step) * float64(time.Second))
	}
	return nil
}

// Update moves parameters along the gradient by AdamW; m and v are its moments, step is 1 for the first. Parameters that
// the recipe does not train stay as they are.
func (r Recipe) Update(parameters, m, v, gradient *Parameters[float32], step int, rate float64) {
	first, second, slope := m.Tensors(), v.Tensors(), gradient.Tensors()
	for i, p := range parameters.Tensors() {
		switch p.Name {
		case "logit_scale":
			if !r.TrainLogitScale {
				continue
			}
		case "text.weight", "text.bias":
			if r.Head.Text == TextFrozen {
				continue
			}
		}
		a := kernel.AdamW{Rate: rate, Beta1: r.Beta1, Beta2: r.Beta2, Eps: r.Epsilon, Step: step}
		if decays(p.Name) {
			a.Decay = r.WeightDecay
		}
		a.Update(p.Data, first[i].Data, second[i].Data, slope[i].Data)
	}
	// As CLIP does, so that no pair is weighed down to nothing.
	parameters.LogitScale[0] = max(0, min(float32(MaxLogitScale), parameters.LogitScale[0]))
}

// validate compares the images that were kept out of training with each other.
func (t *trainer) validate(ctx context.Context) error {
	if len(t.sampler.validation) == 0 {
		return nil
	}
	batch := t.sampler.drawValidation()
	r, err := t.objective.Step(ctx, t.state.parameters, batch, nil)
	if err != nil {
		return err
	}
	t.score = &Validation{
		Images: batch.Images, Loss: r.Loss, Bound: r.Bound(batch.Images), ImageToText: r.ImageToText, TextToImage: r.TextToImage,
	}
	t.last.Validation = t.score
	return nil
}

func (t *trainer) checkpoint() error {
	if err := t.log.sync(); err != nil {
		return err
	}
	t.state.logBytes = t.log.bytes
	return t.state.write(t.options.Dir, t.options.Recipe, t.cacheHash)
}
