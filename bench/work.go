package bench

import (
	"context"
	"fmt"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/readout"
)

// VisionOptions are those of a vision encoder. Zeros: the architecture's own size and stride, one image.
type VisionOptions struct {
	Options
	Arch         string
	Size, Stride int // pixels
	Batch        int
}

// limits of what is asked for, so that a mistyped number is told and not tried.
const (
	mostBatch  = 1 << 16
	mostPixels = 1 << 14 // a side
	mostTokens = 1 << 18
)

func within(name string, value, most int) error {
	if value < 1 || value > most {
		return fmt.Errorf("%s is %d, expected 1 to %d", name, value, most)
	}
	return nil
}

// open makes the encoder and fills in what the options leave open.
func (o *VisionOptions) open() (v *encoder.Vision, gh, gw int, err error) {
	arch, err := encoder.FindArchitecture(o.Arch)
	if err != nil {
		return nil, 0, 0, err
	}
	if v, err = encoder.RandomVision(arch, o.Precision); err != nil {
		return nil, 0, 0, err
	}
	info := v.Info()
	if o.Size == 0 {
		o.Size = info.ImageSize
	}
	if o.Stride == 0 {
		o.Stride = info.PatchSize
	}
	if o.Batch == 0 {
		o.Batch = 1
	}
	if err := within("batch", o.Batch, mostBatch); err != nil {
		return nil, 0, 0, err
	}
	if err := within("size", o.Size, mostPixels); err != nil {
		return nil, 0, 0, err
	}
	if gh, gw, err = v.Grid(o.Size, o.Size, o.Stride); err != nil {
		return nil, 0, 0, err
	}
	if gh*gw > mostTokens {
		return nil, 0, 0, fmt.Errorf("%d patches an image, at most %d are timed", gh*gw, mostTokens)
	}
	return v, gh, gw, nil
}

func (o *VisionOptions) shape(patches int) string {
	return fmt.Sprintf("%dx%d pixels, stride %d (%d patches), batch %d", o.Size, o.Size, o.Stride, patches, o.Batch)
}

// Encoder times a vision encoder from normalised pixels to patch tokens.
func Encoder(ctx context.Context, o VisionOptions) (Result, error) {
	return encode(ctx, "encoder", o)
}

// Dense times it with overlapping patches: a stride of a quarter of the patch size, or half, unless one is asked for.
func Dense(ctx context.Context, o VisionOptions) (Result, error) {
	if o.Stride == 0 {
		arch, err := encoder.FindArchitecture(o.Arch)
		if err != nil {
			return Result{}, err
		}
		o.Stride = arch.FineStride()
	}
	return encode(ctx, "dense", o)
}

func encode(ctx context.Context, work string, o VisionOptions) (Result, error) {
	v, gh, gw, err := o.open()
	if err != nil {
		return Result{}, err
	}
	pixels := noise(o.Batch*3*o.Size*o.Size, 1)
	r := Result{Work: work, Arch: o.Arch, Shape: o.shape(gh * gw), Batch: o.Batch}
	var out encoder.Output
	return o.measure(ctx, r, "image", o.Batch, v.Info().FLOPs(o.Size, o.Size, o.Stride), func(*stopwatch) error {
		out, err = v.Encode(ctx, pixels, o.Batch, o.Size, o.Size, encoder.EncodeOptions{Stride: o.Stride, Into: &out})
		return err
	})
}

// TextOptions are those of a text encoder: Batch texts of Tokens tokens in the mean, start and end included, whose
// lengths vary by as much as a third. Zeros: 1000 texts of 9 tokens.
type TextOptions struct {
	Options
	Arch          string
	Batch, Tokens int
}

// Text times a text encoder from token ids to sentence vectors.
func Text(ctx context.Context, o TextOptions) (Result, error) {
	arch, err := encoder.FindArchitecture(o.Arch)
	if err != nil {
		return Result{}, err
	}
	e, err := encoder.RandomText(arch, o.Precision)
	if err != nil {
		return Result{}, err
	}
	if o.Batch == 0 {
		o.Batch = 1000
	}
	if o.Tokens == 0 {
		o.Tokens = 9
	}
	info := e.Info()
	if err := within("batch", o.Batch, mostBatch); err != nil {
		return Result{}, err
	}
	if o.Tokens < 3 || o.Tokens > info.Positions {
		return Result{}, fmt.Errorf("texts of %d tokens, expected 3 to %d", o.Tokens, info.Positions)
	}
	spread := min(o.Tokens/3, o.Tokens-2, info.Positions-o.Tokens)
	sequences, flops, total := make([][]int32, o.Batch), 0.0, 0
	for i := range sequences {
		length := o.Tokens - spread + i%(2*spread+1)
		ids := make([]int32, length)
		for k := range ids {
			ids[k] = int32((i*7919 + k*104729) % (info.Vocabulary - 2))
		}
		ids[0], ids[length-1] = int32(info.Vocabulary-2), int32(info.Vocabulary-1)
		sequences[i] = ids
		flops += info.TextFLOPs(length)
		total += length
	}
	r := Result{Work: "text", Arch: o.Arch, Batch: o.Batch, Shape: fmt.Sprintf("%d texts of %.1f tokens in the mean", o.Batch, float64(total)/float64(o.Batch))}
	return o.measure(ctx, r, "text", o.Batch, flops/float64(o.Batch), func(*stopwatch) error {
		_, err := e.EmbedIDs(ctx, sequences)
		return err
	})
}

// SegmentOptions are those of the way from a decoded photo to its mask.
type SegmentOptions struct {
	VisionOptions
	Output int // side of the photo and its mask, pixels; 0 = Size
	Labels int // 0 = 20
}

// Segment times resizing, encoding and read-out of a square photo, for labels that are vectors already. Its operations
// are those of the encoder and of the scores.
func Segment(ctx context.Context, o SegmentOptions) (Result, error) {
	o.Batch = 1
	v, gh, gw, err := o.open()
	if err != nil {
		return Result{}, err
	}
	if o.Output == 0 {
		o.Output = o.Size
	}
	if o.Labels == 0 {
		o.Labels = 20
	}
	if err := within("output", o.Output, mostPixels); err != nil {
		return Result{}, err
	}
	if err := within("number of labels", o.Labels, 60000); err != nil {
		return Result{}, err
	}
	geometry, err := readout.NewGeometry(o.Size, o.Size, o.Output, o.Output, v.Info().PatchSize, o.Stride)
	if err != nil {
		return Result{}, err
	}
	encode := encoder.EncodeOptions{Stride: o.Stride}
	width := v.Info().Width
	if v.Info().ProjectionDim > 0 {
		encode.Readout, width = encoder.NACLIP, v.Info().ProjectionDim
	}
	photo := imaging.New(o.Output, o.Output)
	for i, n := range noise(len(photo.Pix), 2) {
		photo.Pix[i] = uint8(min(max(128+50*n, 0), 255))
	}
	vectors := kernel.FromFloat32(noise(o.Labels*width, 3), o.Labels, width)
	kernel.NormalizeRows(vectors, vectors, 1e-12)

	cells := gh * gw
	flops := v.Info().FLOPs(o.Size, o.Size, o.Stride) + 2*float64(cells)*float64(width)*float64(o.Labels+v.Info().Width)
	shape := fmt.Sprintf("%s, %d labels, mask of %dx%d pixels", o.shape(cells), o.Labels, o.Output, o.Output)
	return o.measure(ctx, Result{Work: "segment", Arch: o.Arch, Shape: shape, Batch: 1}, "image", 1, flops, func(w *stopwatch) error {
		var pixels []float32
		var out encoder.Output
		if err := w.time("resize", func() error {
			pixels = v.Pixels(imaging.Resize(photo, o.Size, o.Size, v.Info().Resample))
			return nil
		}); err != nil {
			return err
		}
		if err := w.time("encoder", func() (err error) {
			out, err = v.Encode(ctx, pixels, 1, o.Size, o.Size, encode)
			return err
		}); err != nil {
			return err
		}
		return w.time("read-out", func() error {
			patches := kernel.FromFloat32(out.Patches, cells, width)
			kernel.NormalizeRows(patches, patches, 1e-12)
			scores := kernel.NewMat(kernel.Float32, cells, o.Labels)
			kernel.Gemm(scores, 1, patches, false, vectors, true, false, kernel.Float32)
			_, err := readout.Segment(ctx, readout.Scores{Geometry: geometry, Labels: o.Labels, Data: scores.F}, readout.Options{LogitScale: 100})
			return err
		})
	})
}

// TrainOptions are those of a step of training. Zeros: 64 images of 196 patches, 768 -> 768 -> 512.
type TrainOptions struct {
	Options
	Batch, Patches       int
	Input, Hidden, Width int
	TextEmbedder         string // none, frozen or linear; "" = none
}

// Train times a step: forward, loss over all pairs, gradient, AdamW. The patch tokens are in memory; they are part of
// what is resident.
func Train(ctx context.Context, o TrainOptions) (Result, error) {
	for _, v := range []struct {
		name   string
		value  *int
		usual  int
		larges int
	}{
		{"batch", &o.Batch, 64, mostBatch}, {"number of patches", &o.Patches, 196, mostTokens},
		{"width of tokens", &o.Input, 768, 1 << 14}, {"hidden width", &o.Hidden, 768, 1 << 14}, {"width", &o.Width, 512, 1 << 14},
	} {
		if *v.value == 0 {
			*v.value = v.usual
		}
		if err := within(v.name, *v.value, v.larges); err != nil {
			return Result{}, err
		}
	}
	if o.TextEmbedder == "" {
		o.TextEmbedder = string(align.TextNone)
	}
	recipe := align.DefaultRecipe(o.Input, o.Width)
	recipe.Head.Hidden, recipe.Head.Width, recipe.Head.Text = o.Hidden, o.Width, align.TextEmbedder(o.TextEmbedder)
	if err := recipe.Validate(); err != nil {
		return Result{}, err
	}
	if bytes := 2 * int64(o.Batch) * int64(o.Patches) * int64(o.Input); bytes > 64<<30 {
		return Result{}, fmt.Errorf("batch of %d images: their tokens take %d GiB, at most 64 are timed", o.Batch, bytes>>30)
	}
	head, err := align.NewHead(recipe.Head, 1, 1/0.07)
	if err != nil {
		return Result{}, err
	}
	objective, err := align.NewObjective(recipe.Head, o.Precision, 0)
	if err != nil {
		return Result{}, err
	}
	tokens := make([]uint16, o.Batch*o.Patches*o.Input)
	row := make([]float32, 1<<16)
	for first := 0; first < len(tokens); first += len(row) {
		// The same numbers again at other places would make images alike; a seed for each row does not.
		part := tokens[first:min(first+len(row), len(tokens))]
		fill(row, uint64(first)+1)
		kernel.ToBF16(part, row[:len(part)])
	}
	texts := make([][]float32, o.Batch)
	for i := range texts {
		texts[i] = noise(o.Width, uint64(i))
	}
	batch := align.Batch{
		Images: o.Batch, Patches: o.Patches, Texts: texts,
		Tokens: func(i int) kernel.Mat {
			size := o.Patches * o.Input
			return kernel.FromBFloat16(tokens[i*size:(i+1)*size], o.Patches, o.Input)
		},
	}
	gradient, m, v := align.NewParameters[float32](recipe.Head), align.NewParameters[float32](recipe.Head), align.NewParameters[float32](recipe.Head)
	step := 0
	shape := fmt.Sprintf("%d images of %d patches, %d -> %d -> %d, text embedder %s", o.Batch, o.Patches, o.Input, o.Hidden, o.Width, o.TextEmbedder)
	r := Result{Work: "train", Shape: shape, Batch: o.Batch}
	return o.measure(ctx, r, "step", 1, align.StepFLOPs(recipe.Head, o.Batch, o.Patches), func(*stopwatch) error {
		if _, err := objective.Step(ctx, head.Parameters, batch, gradient); err != nil {
			return err
		}
		step++
		recipe.Update(head.Parameters, m, v, gradient, step, recipe.Rate)
		return nil
	})
}

// Gemm times a product [m, k] by [k, n], the right operand packed before as a weight is.
func Gemm(ctx context.Context, m, n, k int, o Options) (Result, error) {
	for _, v := range []struct {
		name  string
		value int
	}{{"number of rows", m}, {"number of columns", n}, {"depth", k}} {
		if err := within(v.name, v.value, 1<<20); err != nil {
			return Result{}, err
		}
	}
	if largest := max(m*n, m*k, n*k); largest > 1<<31 {
		return Result{}, fmt.Errorf("a matrix of %d numbers, at most %d are timed", largest, 1<<31)
	}
	random := func(rows, cols int, seed uint64) kernel.Mat {
		x := kernel.NewMat(kernel.Float32, rows, cols)
		fill(x.F, seed)
		return x
	}
	x, dst := kernel.NewMat(o.Precision, m, k), kernel.NewMat(o.Precision, m, n)
	kernel.Convert(x, random(m, k, 1))
	w := kernel.PackWeight(random(n, k, 2), o.Precision)
	flops := 2 * float64(m) * float64(n) * float64(k)
	// Short products are repeated within a run, for the clock's sake.
	count := max(1, int(2e9/flops))
	r := Result{Work: "gemm", Shape: fmt.Sprintf("%dx%dx%d (rows, columns, depth)", m, n, k)}
	return o.measure(ctx, r, "product", count, flops, func(*stopwatch) error {
		for range count {
			kernel.Linear(dst, x, w, kernel.Epilogue{})
		}
		return nil
	})
}

// fill draws numbers from -1 to 1 quickly.
func fill(v []float32, seed uint64) {
	state := seed*0x9e3779b97f4a7c15 | 1
	for i := range v {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		v[i] = float32(int64(state)>>40) / (1 << 23)
	}
}

// CPU says what the engine runs on.
type CPU struct {
	Set       string   `json:"instruction_set"`
	Precision string   `json:"default_dtype"`
	Workers   int      `json:"workers"`
	Reasons   []string `json:"reasons"`
	F32       float64  `json:"peak_gflops_f32"`
	BF16      float64  `json:"peak_gflops_bf16"`
	CoreF32   float64  `json:"core_gflops_f32"`
	CoreBF16  float64  `json:"core_gflops_bf16"`
}

// Processor measures the peaks, of all workers and of one core.
func Processor() CPU {
	return CPU{
		Set: kernel.Name(), Precision: kernel.Default().String(), Workers: kernel.Workers(), Reasons: kernel.Features(),
		F32: kernel.Peak(kernel.Float32) / 1e9, BF16: kernel.Peak(kernel.BFloat16) / 1e9,
		CoreF32: kernel.PeakOf(kernel.Float32, 1) / 1e9, CoreBF16: kernel.PeakOf(kernel.BFloat16, 1) / 1e9,
	}
}

// Lines describe it to people.
func (c CPU) Lines() []string {
	return append(c.Reasons,
		fmt.Sprintf("products in %s by default, %d workers", c.Precision, c.Workers),
		fmt.Sprintf("measured peak: f32 %.1f GFLOP/s on all workers, %.1f on one; bf16 %.1f and %.1f", c.F32, c.CoreF32, c.BF16, c.CoreBF16))
}
