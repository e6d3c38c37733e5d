package pretrain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/internal/usage"
	"github.com/pacl/pacl/tokenizer"
)

// pixelMean and pixelStd are how pictures are normalised: v/255 minus the mean, over the deviation, for every channel.
const (
	pixelMean = 0.45
	pixelStd  = 0.25
)

// Record is one line of the log.
type Record struct {
	Step int `json:"step"`
	scores
	Bound       float64 `json:"information_bound"` // log(batch) - loss, in nats
	Rate        float64 `json:"learning_rate"`
	LogitScale  float64 `json:"logit_scale"`
	Norm        float64 `json:"gradient_norm"`
	Throughput  float64 `json:"examples_per_second"`
	SecondsLeft float64 `json:"seconds_left"`
	CPUSeconds  float64 `json:"cpu_seconds"` // of the process, all threads, since the recipe's first start
}

// Trainer runs a recipe step by step.
type Trainer struct {
	config     Config
	examples   namedExamples
	load       func(step int) ([][]int32, placement, error) // fills pixels
	tokenizer  *tokenizer.CLIP
	vocabulary *tokenizer.Trained
	m          *dual
	origin     string  // hash of the checkpoint it began from
	step       int     // steps done
	spent      float64 // processor seconds of earlier runs
	p, m1, m2  []float32
	batch      *batch[float32]
	pixels     []float32
}

// NewTrainer learns a tokenizer from the first captions and starts a model from the recipe's seed.
func NewTrainer(c Config, examples Examples) (*Trainer, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	t := &Trainer{config: c, examples: examples}
	t.load = func(step int) ([][]int32, placement, error) { return t.loadPictures(examples, step) }
	err := t.start(func(i, draw uint64) (string, error) { return captionOf(examples, i, draw) },
		func() ([]float32, error) { return t.firstPictures(examples) })
	return t, err
}

// namedExamples is what all examples have in common.
type namedExamples interface {
	Len() int
	Name() string
}

// start learns the tokenizer and draws the parameters.
func (t *Trainer) start(caption func(i, draw uint64) (string, error), pictures func() ([]float32, error)) error {
	c := t.config
	var failure error
	sample := tokenizerSample
	if n := t.examples.Len(); n > 0 {
		sample = min(sample, n)
	}
	trained, err := tokenizer.TrainBPE(func(yield func(string) bool) {
		for i := 0; i < sample; i++ {
			for draw := uint64(0); draw < 3; draw++ {
				text, err := caption(uint64(i), draw)
				if err != nil {
					failure = err
					return
				}
				if !yield(text) {
					return
				}
			}
		}
	}, c.Text.Vocabulary)
	if err := errors.Join(failure, err); err != nil {
		return err
	}
	t.vocabulary = trained
	if t.tokenizer, err = trained.Tokenizer(); err != nil {
		return err
	}
	t.config.Text.Vocabulary = trained.Size()
	t.m = newDual(t.config)
	first, err := pictures()
	if err != nil {
		return err
	}
	t.p = t.m.initial(c.Seed, first)
	t.m1, t.m2 = make([]float32, len(t.p)), make([]float32, len(t.p))
	t.batch = newBatch(t.m, func() engine[float32] { return &fast{precision: t.config.precision()} })
	return nil
}

// firstPictures are the pictures that the first layer starts adapted to.
func (t *Trainer) firstPictures(examples Examples) ([]float32, error) {
	size, count := t.config.sizeAt(0), 64
	if n := examples.Len(); n > 0 {
		count = min(count, n)
	}
	var pictures []float32
	for i := 0; i < count; i++ {
		rgb, _, err := examples.Load(uint64(i), size, 0)
		if err != nil {
			return nil, err
		}
		pictures = append(pictures, t.normalized(nil, rgb)...)
	}
	return pictures, nil
}

// tokenizerSample is how many examples' captions the tokenizer is learned from.
const tokenizerSample = 4000

// captioner is implemented by examples that can tell a caption without drawing the picture.
type captioner interface {
	Caption(i, draw uint64) (string, error)
}

func captionOf(examples Examples, i, draw uint64) (string, error) {
	if c, ok := examples.(captioner); ok {
		return c.Caption(i, draw)
	}
	_, caption, err := examples.Load(i, 8, draw)
	return caption, err
}

// Steps is the number of steps done.
func (t *Trainer) Steps() int { return t.step }

// Parameters is the number of trained numbers.
func (t *Trainer) Parameters() int { return len(t.p) }

// Recipe is a hash over everything that decides the result: recipe, examples, vocabulary and instruction set.
func (t *Trainer) Recipe() string {
	described, err := json.Marshal(t.config)
	if err != nil {
		panic(err) // a struct of numbers and strings
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%s\n%s", described, t.examples.Name(), t.vocabulary.Size(), kernel.Name(), t.origin))
	return hex.EncodeToString(sum[:8])
}

// rate is the learning rate of a step, counted from 0: linear warm-up, then a cosine down to zero.
func (t *Trainer) rate(step int) float64 {
	c := t.config
	if step < c.WarmUp {
		return c.Rate * float64(step+1) / float64(c.WarmUp)
	}
	return c.Rate * 0.5 * (1 + math.Cos(math.Pi*float64(step-c.WarmUp)/float64(max(1, c.Steps-c.WarmUp))))
}

// Run trains until the recipe's last step or until the context ends. report is called after every step.
func (t *Trainer) Run(ctx context.Context, report func(Record) error) error {
	started, first := time.Now(), t.step
	for t.step < t.config.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		record, err := t.one()
		if err != nil {
			return fmt.Errorf("step %d: %w", t.step+1, err)
		}
		elapsed := time.Since(started).Seconds() / float64(t.step-first)
		record.Throughput = float64(t.config.Batch) / elapsed
		record.SecondsLeft = elapsed * float64(t.config.Steps-t.step)
		record.CPUSeconds = t.spent + usage.Processor().Seconds()
		if err := report(record); err != nil {
			return err
		}
	}
	return nil
}

// one makes one step.
func (t *Trainer) one() (Record, error) {
	c := t.config
	ids, placed, err := t.load(t.step)
	if err != nil {
		return Record{}, err
	}
	s := t.batch.run(t.p, t.pixels, placed, ids)
	g := t.batch.gradient
	norm := lengthOf(g)
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return Record{}, fmt.Errorf("the gradient is not finite (loss %g): try a lower learning_rate", s.Loss)
	}
	if c.Clip > 0 && norm > c.Clip {
		factor := float32(c.Clip / norm)
		for i := range g {
			g[i] *= factor
		}
	}
	rate := t.rate(t.step)
	t.step++
	kernel.Parallel(len(t.m.layout.parameters), func(_, i int) {
		tensor := t.m.layout.parameters[i]
		optimizer := kernel.AdamW{Rate: rate, Beta1: 0.9, Beta2: c.Beta2, Eps: 1e-8, Step: t.step}
		if tensor.decay {
			optimizer.Decay = c.Decay
		}
		optimizer.Update(at(t.p, tensor.span), at(t.m1, tensor.span), at(t.m2, tensor.span), at(g, tensor.span))
	})
	t.p[t.m.logitScale.from] = float32(math.Min(float64(t.p[t.m.logitScale.from]), largestScale))
	if c.usesPACL() {
		t.p[t.m.patchScale.from] = float32(math.Min(float64(t.p[t.m.patchScale.from]), largestScale))
	}
	bound := s.Loss
	if c.usesCLIP() && placed.together == 1 {
		bound = s.CLIPLoss
	}
	return Record{Step: t.step, scores: s, Bound: math.Log(float64(c.Batch)) - bound, Rate: rate, Norm: norm,
		LogitScale: math.Exp(float64(t.p[t.m.logitScale.from]))}, nil
}

func lengthOf(g []float32) float64 {
	sum := 0.0
	for _, v := range g {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// loadPictures fills the pixels of a step and returns its token ids and the pictures' places.
func (t *Trainer) loadPictures(examples Examples, step int) ([][]int32, placement, error) {
	c := t.config
	size := c.sizeAt(step)
	side, whole := size/c.Vision.PatchSize, c.Vision.ImageSize/c.Vision.PatchSize
	placed := placement{size: size, together: 1, corners: make([]corner, c.Batch)}
	if c.mosaicAt(step) {
		placed.together = 4
	}
	t.pixels = grow(&t.pixels, c.Batch*3*size*size)
	ids := make([][]int32, c.Batch)
	var mutex sync.Mutex
	var failure error
	kernel.Parallel(c.Batch, func(_, i int) {
		number := uint64(step)*uint64(c.Batch) + uint64(i)
		random := rand.New(rand.NewPCG(c.Seed, number))
		draw := random.Uint64() >> 1
		placed.corners[i] = corner{random.IntN(whole - side + 1), random.IntN(whole - side + 1)}
		if placed.together == 4 {
			// The mosaic is moved around the edges by as much as its first picture says.
			first := rand.New(rand.NewPCG(^c.Seed, number-number%4))
			placed.corners[i] = corner{first.IntN(whole) + i/2%2*side, first.IntN(whole) + i%2*side}
		}
		rgb, caption, err := examples.Load(t.pick(number), size, draw)
		if err != nil {
			mutex.Lock()
			failure = err
			mutex.Unlock()
			return
		}
		ids[i] = t.encode(caption)
		t.normalized(t.pixels[i*3*size*size:(i+1)*3*size*size], rgb)
	})
	return ids, placed, failure
}

// normalized sets planes [3, S, S], made where nil, from rgb [S, S, 3].
func (t *Trainer) normalized(planes []float32, rgb []uint8) []float32 {
	if planes == nil {
		planes = make([]float32, len(rgb))
	}
	plane := len(rgb) / 3
	for k, v := range rgb {
		planes[k%3*plane+k/3] = (float32(v)/255 - pixelMean) / pixelStd
	}
	return planes
}

// pick is the picture of the number-th example: each epoch is a permutation of its own.
func (t *Trainer) pick(number uint64) uint64 {
	n := uint64(t.examples.Len())
	if n == 0 {
		return number
	}
	return shuffled(number%n, n, t.config.Seed, number/n)
}

// shuffled is where a keyed permutation of 0 to n-1 sends i: a small Feistel network over the next power of four, walked
// until it lands below n.
func shuffled(i, n, seed, epoch uint64) uint64 {
	half := uint(1)
	for 1<<(2*half) < n {
		half++
	}
	mask := uint64(1)<<half - 1
	for {
		left, right := i>>half, i&mask
		for round := uint64(0); round < 4; round++ {
			h := (right+1)*0x9e3779b97f4a7c15 ^ (seed+round*0x632be59bd9b4e019)*0xbf58476d1ce4e5b9 ^ (epoch+1)*0x94d049bb133111eb
			h ^= h >> 31
			h *= 0xff51afd7ed558ccd
			left, right = right, left^(h>>33)&mask
		}
		if i = left<<half | right; i < n {
			return i
		}
	}
}

// encode makes token ids with start and end, cut to the context.
func (t *Trainer) encode(caption string) []int32 {
	ids := append([]int32{t.tokenizer.Start()}, t.tokenizer.Encode(caption)...)
	ids = ids[:min(len(ids), t.config.Text.Context-1)]
	return append(ids, t.tokenizer.End())
}
