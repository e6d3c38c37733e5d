package feature

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/internal/filelock"
	"github.com/pacl/pacl/internal/kernel"
)

// VisionEncoder turns pixels into patch tokens; *encoder.Vision does.
type VisionEncoder interface {
	Info() encoder.Info
	// Pixels returns a picture as the encoder wants it, [3, H, W].
	Pixels(im *imaging.Image) []float32
	Encode(ctx context.Context, pixels []float32, batch, height, width int, o encoder.EncodeOptions) (encoder.Output, error)
}

// ExtractOptions says what is extracted, from what, and where it goes.
type ExtractOptions struct {
	Dir    string
	Vision VisionEncoder
	Text   encoder.Text
	Source caption.Source
	// VisionRecord and TextRecord are what the manifest says of the encoders beside family, name, hash and width.
	VisionRecord, TextRecord EncoderRecord

	Size   int // side of the square input; 0 = the encoder's own
	Stride int // of the patch embedding; 0 = the patch size
	Layer  int // block whose tokens are kept, 0 = the last
	Fit    Fit // "" = FitCrop
	Views  Views
	// Phrases says which extra texts each caption brings along.
	Phrases Phrases
	// Part splits the work over machines; the zero value is the whole.
	Part Part
	// FailureShare is the share of images that may be unreadable before the run stops; 0 stands for a tenth.
	FailureShare float64
	// Batch is how many images are encoded at once; 0 chooses.
	Batch int
	// Progress, where not nil, is called after each batch, from one goroutine at a time.
	Progress func(ExtractProgress)

	write writeFile // tests put a full disk here
}

// writeFile replaces a file by what fill writes, at once or not at all.
type writeFile func(path string, fill func(io.Writer) error) error

// ExtractProgress says how far an extraction is.
type ExtractProgress struct {
	Done      int // samples of this part that are dealt with, those of an earlier run included
	Total     int // samples of this part, -1 where the list's length is not known
	Failed    int
	Textless  int           // images without a usable caption
	PerSecond float64       // images in this run
	Left      time.Duration // -1 where it is not known
}

// shardBytes is about how large a shard's tokens become.
const shardBytes = 32 << 20

// ShardBytes is how large the tokens of a shard become where an image has perImage bytes of them.
func ShardBytes(perImage int64) int64 { return int64(shardSamples(int(perImage))) * perImage }

func shardSamples(perImage int) int { return min(1024, max(16, shardBytes/max(perImage, 1))) }

// BatchBytes is about what a batch of images takes that is being encoded: pictures decoded ahead, and the transformer's
// rows at their widest.
func BatchBytes(size int, patches int64, views, width, hidden int) int64 {
	batch := int64(batchImages(int(patches), views))
	pictures := 2*batch + 2*int64(runtime.GOMAXPROCS(0))
	return pictures*int64(views)*12*int64(size)*int64(size) + batch*int64(views)*patches*4*int64(4*width+hidden)
}

// batchImages is how many images are encoded at once: enough rows for the engine, few enough for the memory.
func batchImages(patches, views int) int { return min(32, max(1, 3200/(patches*views))) }

// failuresAtLeast is how many images must have failed before their share counts: two of the first three mean nothing.
const failuresAtLeast = 10

// Extract runs the frozen encoders over a source and writes the cache. It goes on where an earlier run into the same
// directory stopped, refuses a directory that holds another cache, and returns at once where all is done. Decoding and
// resizing, encoding, and writing overlap. Cancelling the context leaves whole shards behind.
func Extract(ctx context.Context, o ExtractOptions) (Report, error) {
	m, filter, err := o.manifest()
	if err != nil {
		return Report{}, err
	}
	report, err := newExtraction(o, m, filter).run(ctx)
	if err != nil {
		return report, fmt.Errorf("features: %w", err)
	}
	return report, nil
}

// manifest makes the manifest of an unfinished cache from the options.
func (o *ExtractOptions) manifest() (Manifest, imaging.Filter, error) {
	info := o.Vision.Info()
	if o.Size == 0 {
		o.Size = info.ImageSize
	}
	if o.Stride == 0 {
		o.Stride = info.PatchSize
	}
	if o.Fit == "" {
		o.Fit = FitCrop
	}
	if o.Part.Count == 0 {
		o.Part.Count = 1
	}
	if o.FailureShare == 0 {
		o.FailureShare = 0.1
	}
	if o.Views.Crops > 0 && o.Views.MinScale == 0 {
		o.Views.MinScale = 0.5
	}
	if o.write == nil {
		o.write = atomicfile.WriteSynced
	}
	bad := func(format string, args ...any) (Manifest, imaging.Filter, error) {
		return Manifest{}, 0, fmt.Errorf("features: "+format, args...)
	}
	switch {
	case o.Dir == "":
		return bad("no directory to write to")
	case info.PatchSize < 1:
		return bad("the vision encoder has patch size %d", info.PatchSize)
	case o.Size < info.PatchSize || o.Size%info.PatchSize != 0:
		return bad("input size is %d, expected a multiple of the patch size %d", o.Size, info.PatchSize)
	case o.Stride < 1 || info.PatchSize%o.Stride != 0:
		return bad("stride is %d, expected a divisor of the patch size %d", o.Stride, info.PatchSize)
	case o.Fit != FitCrop && o.Fit != FitSquash:
		return bad("fit is %q, expected crop or squash", o.Fit)
	case o.Part.Count < 1 || o.Part.Index < 0 || o.Part.Index >= o.Part.Count:
		return bad("part %d of %d does not exist", o.Part.Index+1, o.Part.Count)
	case o.Views.Crops < 0 || o.Views.Crops > 64:
		return bad("%d crops, expected 0 to 64", o.Views.Crops)
	case o.Views.Crops > 0 && !(o.Views.MinScale > 0 && o.Views.MinScale <= 1):
		return bad("the smallest crop has scale %g, expected more than 0 and at most 1", o.Views.MinScale)
	case !(o.FailureShare > 0 && o.FailureShare <= 1):
		return bad("share of failures allowed is %g, expected more than 0 and at most 1", o.FailureShare)
	}
	for _, t := range o.Phrases.Templates {
		if !strings.Contains(t, "{}") {
			return bad("template %q has no {}", t)
		}
	}
	side := (o.Size-info.PatchSize)/o.Stride + 1
	m := Manifest{
		Version: FormatVersion,
		Vision:  o.VisionRecord.of(info, info.Width),
		Text:    o.TextRecord.of(o.Text.Info(), o.Text.Width()),
		Preprocessing: Preprocessing{
			Size: o.Size, Stride: o.Stride, Layer: o.Layer, Fit: o.Fit,
			Filter: info.Resample.String(), Mean: info.Mean, Std: info.Std, Views: o.Views,
		},
		Phrases:  o.Phrases,
		DataHash: o.Source.Hash(),
		Patches:  side * side,
		Part:     o.Part,
	}
	imageBytes := o.Views.Count() * m.Patches * m.Vision.Width * 2
	m.ShardSamples = shardSamples(imageBytes)
	if o.Batch == 0 {
		o.Batch = batchImages(m.Patches, o.Views.Count())
	}
	return m, info.Resample, nil
}

// of fills in what the encoder itself says.
func (r EncoderRecord) of(info encoder.Info, width int) EncoderRecord {
	r.Family, r.Name, r.Hash, r.Width = info.Family, info.Name(), info.Hash, width
	return r
}

// extraction is a run of Extract.
type extraction struct {
	options  ExtractOptions
	manifest Manifest
	filter   imaging.Filter
	dir      string
	embedder embedder
	encoded  encoder.Output // a batch; its memory is used again
	report   Report
	total    int // samples of this part, -1 where it is not known
	started  time.Time
	fresh    int // samples dealt with in this run
}

func newExtraction(o ExtractOptions, m Manifest, filter imaging.Filter) *extraction {
	return &extraction{
		options: o, manifest: m, filter: filter, dir: partDir(o.Dir, m.Part),
		embedder: embedder{text: o.Text, phrases: o.Phrases, known: map[string][]float32{}},
		total:    samplesOf(o.Source.Len(), m.Part),
		started:  time.Now(),
	}
}

// samplesOf returns how many of n samples a part has, -1 where n is not known.
func samplesOf(n int, part Part) int {
	if n < 0 {
		return -1
	}
	return (n - part.Index + part.Count - 1) / part.Count
}

func (x *extraction) run(ctx context.Context) (Report, error) {
	if err := os.MkdirAll(x.dir, 0o755); err != nil {
		return x.report, err
	}
	release, err := filelock.Folder(x.dir)
	if err != nil {
		return x.report, err
	}
	defer release()
	done, err := x.resume()
	if err != nil || done < 0 {
		return x.report, err
	}
	next, err := x.skip(done * x.manifest.ShardSamples)
	if err != nil {
		return x.report, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pictures := x.decode(ctx, next)
	defer drain(pictures)
	defer cancel(nil) // before drain: the decoders must see that nobody waits
	write := make(chan finishedShard, 1)
	written := make(chan error, 1)
	go func() { written <- x.writeShards(write, cancel) }()

	shards, err := x.encode(ctx, done, pictures, write)
	close(write)
	if writeErr := <-written; writeErr != nil {
		return x.report, writeErr
	}
	if err != nil {
		return x.report, err
	}
	return x.report, x.finish(shards)
}

// resume looks through the directory and returns how many shards are already there, -1 when the cache is complete.
func (x *extraction) resume() (int, error) {
	held, err := readManifest(x.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := atomicfile.RemoveUnfinished(x.dir); err != nil {
			return 0, err
		}
		return 0, x.manifest.write(x.dir, x.options.write)
	case err != nil:
		return 0, err
	}
	if d := held.difference(x.manifest); d != "" {
		return 0, fmt.Errorf("%s holds another cache: %s", x.dir, d)
	}
	if held.Part != x.manifest.Part {
		return 0, fmt.Errorf("%s holds another cache: part %d, not %d", x.dir, held.Part.Index+1, x.manifest.Part.Index+1)
	}
	if err := atomicfile.RemoveUnfinished(x.dir); err != nil {
		return 0, err
	}
	for number := 0; ; number++ {
		path := shardPath(x.dir, number)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if held.Complete && number < held.Shards {
				return 0, fmt.Errorf("%s is lost: remove %s and run again", path, filepath.Join(x.dir, manifestName))
			}
			if held.Complete {
				return -1, nil
			}
			return number, nil
		}
		s, err := openShard(path, held)
		if err != nil {
			return 0, err
		}
		x.report.add(s.report)
		if err := s.set.Close(); err != nil {
			return 0, err
		}
	}
}

// numbered is a sample with its number in the list.
type numbered struct {
	caption.Sample
	number int64
}

// skip passes over the samples that earlier runs dealt with and returns a function that gives the further ones of this
// part.
func (x *extraction) skip(count int) (func() (numbered, error), error) {
	number := int64(-1)
	next := func() (numbered, error) {
		for {
			sample, err := x.options.Source.Next()
			if err != nil {
				return numbered{}, err
			}
			number++
			if number%int64(x.manifest.Part.Count) == int64(x.manifest.Part.Index) {
				return numbered{sample, number}, nil
			}
		}
	}
	for range count {
		if _, err := next(); err != nil {
			if err == io.EOF {
				break // the last shard may be short
			}
			return nil, err
		}
	}
	return next, nil
}

// picture is a sample whose views are ready for the encoder, or what went wrong.
type picture struct {
	sample numbered
	pixels []float32 // [V, 3, size, size]
	err    error     // the image could not be read
	fatal  error     // the list could not be read
}

// decode reads, decodes and resizes on all processors and returns the pictures in the order of the list. What is on its
// way is bounded by the number of workers.
func (x *extraction) decode(ctx context.Context, next func() (numbered, error)) <-chan chan picture {
	workers := runtime.GOMAXPROCS(0)
	ordered := make(chan chan picture, 2*workers+x.options.Batch)
	type job struct {
		sample numbered
		result chan picture
	}
	jobs := make(chan job)
	for range workers {
		go func() {
			for j := range jobs {
				j.result <- x.load(j.sample)
			}
		}()
	}
	go func() {
		defer close(ordered)
		defer close(jobs)
		for {
			sample, err := next()
			if err == io.EOF {
				return
			}
			result := make(chan picture, 1)
			select {
			case ordered <- result:
			case <-ctx.Done():
				return
			}
			if err != nil {
				result <- picture{fatal: err}
				return
			}
			select {
			case jobs <- job{sample, result}:
			case <-ctx.Done():
				result <- picture{fatal: context.Cause(ctx)}
				return
			}
		}
	}()
	return ordered
}

// drain waits for the decoders to stop, so that the source is no longer in use when Extract returns.
func drain(pictures <-chan chan picture) {
	for p := range pictures {
		<-p
	}
}

func (x *extraction) load(s numbered) picture {
	p := picture{sample: s}
	data, err := s.Read()
	if err != nil {
		p.err = err
		return p
	}
	im, err := imaging.Decode(data, imaging.Limits{})
	if err != nil {
		p.err = err
		return p
	}
	for _, view := range x.manifest.Preprocessing.pixelsOf(im, s.number, x.filter) {
		p.pixels = append(p.pixels, x.options.Vision.Pixels(view)...)
	}
	return p
}

// finishedShard is a shard on its way to the disk.
type finishedShard struct {
	number int
	*builder
}

// encode takes pictures in order and hands on shards; it returns their number.
func (x *extraction) encode(ctx context.Context, number int, pictures <-chan chan picture, write chan<- finishedShard) (int, error) {
	b := newBuilder(x.manifest.Text.Width)
	var batch []picture
	flush := func() error {
		if err := x.encodeBatch(ctx, b, batch); err != nil {
			return err
		}
		batch = batch[:0]
		x.progress(b)
		return nil
	}
	closeShard := func() error {
		if err := flush(); err != nil {
			return err
		}
		select {
		case write <- finishedShard{number, b}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		x.report.add(b.report)
		number++
		b = newBuilder(x.manifest.Text.Width)
		return nil
	}
	for pending := range pictures {
		p := <-pending
		if err := ctx.Err(); err != nil {
			return number, context.Cause(ctx)
		}
		if p.fatal != nil {
			return number, p.fatal
		}
		b.report.Samples++
		x.fresh++
		if p.err != nil {
			b.report.Failures = append(b.report.Failures, Failure{p.sample.Key, p.err.Error()})
			if err := x.tooManyFailures(b, false); err != nil {
				return number, err
			}
		} else if batch = append(batch, p); len(batch) == x.options.Batch {
			if err := flush(); err != nil {
				return number, err
			}
		}
		if b.report.Samples == x.manifest.ShardSamples {
			if err := closeShard(); err != nil {
				return number, err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return number, context.Cause(ctx)
	}
	if b.report.Samples > 0 {
		if err := closeShard(); err != nil {
			return number, err
		}
	}
	return number, x.tooManyFailures(b, true)
}

// encodeBatch embeds some pictures and their captions and adds them to the shard.
func (x *extraction) encodeBatch(ctx context.Context, b *builder, batch []picture) error {
	if len(batch) == 0 {
		return nil
	}
	texts := make([][]string, len(batch))
	for i, p := range batch {
		texts[i] = p.sample.Texts
	}
	captions, err := x.embedder.captions(ctx, texts)
	if err != nil {
		return err
	}
	var pixels []float32
	var usable []int
	for i, p := range batch {
		b.report.TextlessCaptions += len(p.sample.Texts) - len(captions[i])
		if len(captions[i]) == 0 {
			b.report.TextlessImages++
			continue
		}
		usable = append(usable, i)
		pixels = append(pixels, p.pixels...)
	}
	if len(usable) == 0 {
		return nil
	}
	pre, views := x.manifest.Preprocessing, x.manifest.Preprocessing.Views.Count()
	out, err := x.options.Vision.Encode(ctx, pixels, len(usable)*views, pre.Size, pre.Size,
		encoder.EncodeOptions{Stride: pre.Stride, Layer: pre.Layer, Into: &x.encoded})
	if err != nil {
		return err
	}
	x.encoded = out
	size := views * x.manifest.Patches * x.manifest.Vision.Width // [V, T, D_in]
	if len(out.Patches) != len(usable)*size {
		return fmt.Errorf("the vision encoder gave %d numbers for %d images, expected %d", len(out.Patches), len(usable), len(usable)*size)
	}
	tokens := make([]uint16, size)
	for k, i := range usable {
		kernel.ToBF16(tokens, out.Patches[k*size:(k+1)*size])
		b.add(batch[i].sample.number, batch[i].sample.Key, tokens, captions[i])
	}
	return nil
}

// writeShards stores shards as they come; when one cannot be written it cancels the rest.
func (x *extraction) writeShards(shards <-chan finishedShard, cancel context.CancelCauseFunc) error {
	var failed error
	for s := range shards {
		if failed != nil {
			continue
		}
		m := x.manifest
		if failed = s.write(shardPath(x.dir, s.number), x.options.write, m.Preprocessing.Views.Count(), m.Patches, m.Vision.Width); failed != nil {
			cancel(failed)
		}
	}
	return failed
}

// tooManyFailures stops a run of which more images fail than may.
func (x *extraction) tooManyFailures(b *builder, end bool) error {
	failures := append(append([]Failure(nil), x.report.Failures...), b.report.Failures...)
	seen := x.report.Samples + b.report.Samples
	if x.total > 0 && !end {
		seen = max(seen, x.total)
	} else if !end && seen < 100 {
		return nil
	}
	failed := len(failures)
	if float64(failed) <= x.options.FailureShare*float64(seen) || failed < failuresAtLeast && !end {
		return nil
	}
	last := failures[failed-1]
	return fmt.Errorf("%d of %d images could not be read, more than the share of %g allowed; the last: %s: %s",
		failed, x.report.Samples+b.report.Samples, x.options.FailureShare, last.Key, last.Error)
}

func (x *extraction) progress(b *builder) {
	if x.options.Progress == nil {
		return
	}
	p := ExtractProgress{
		Done:     x.report.Samples + b.report.Samples,
		Total:    x.total,
		Failed:   len(x.report.Failures) + len(b.report.Failures),
		Textless: x.report.TextlessImages + b.report.TextlessImages,
		Left:     -1,
	}
	if seconds := time.Since(x.started).Seconds(); seconds > 0 {
		p.PerSecond = float64(x.fresh) / seconds
	}
	if p.Total >= 0 && p.PerSecond > 0 {
		p.Left = time.Duration(float64(p.Total-p.Done) / p.PerSecond * float64(time.Second))
	}
	x.options.Progress(p)
}

// finish writes the report of failures and declares the cache complete.
func (x *extraction) finish(shards int) error {
	if x.report.Samples == 0 {
		return errors.New("the list has no images")
	}
	if x.report.Images == 0 && x.manifest.Part.Count == 1 {
		return fmt.Errorf("none of %d images can be used: %d could not be read, %d have no caption with a known name",
			x.report.Samples, len(x.report.Failures), x.report.TextlessImages)
	}
	if len(x.report.Failures) > 0 {
		err := x.options.write(filepath.Join(x.dir, ReportName), func(w io.Writer) error {
			for _, f := range x.report.Failures {
				if _, err := fmt.Fprintf(w, "%s\t%s\n", f.Key, f.Error); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	m := x.manifest
	m.Complete, m.Shards, m.Images = true, shards, x.report.Images
	return m.write(x.dir, x.options.write)
}

// ReportName is the file in a cache directory that names the images that could not be read.
const ReportName = "report.txt"
