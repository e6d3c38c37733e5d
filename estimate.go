package pacl

import (
	"fmt"
	"time"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/internal/kernel"
)

// Estimate is what a long run is expected to take, from its arithmetic and a short measurement of this machine as it is.
type Estimate struct {
	Work   string        // what is done
	FLOPs  float64       // floating-point operations, 0 where the number of images is not known
	Time   time.Duration // 0 where the number of images is not known
	Memory int64         // bytes, files that are mapped not counted
	Disk   int64         // bytes that will be written
}

// String is a line for people.
func (e Estimate) String() string {
	line := e.Work + ":"
	if e.Time > 0 {
		line += fmt.Sprintf(" about %v,", max(e.Time.Round(time.Second), time.Second))
	}
	line += fmt.Sprintf(" %s of memory", bytesText(e.Memory))
	if e.Disk > 0 {
		line += fmt.Sprintf(", %s of disk", bytesText(e.Disk))
	}
	return line
}

func bytesText(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MB", max(n>>20, 1))
	}
	return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
}

// efficiency is the share of the rate of a large product that whole forward and backward passes reach.
const efficiency = 0.6

// expectedTime is how long an amount of arithmetic takes here: it times a product for a few milliseconds.
func expectedTime(flops float64, p kernel.Precision) time.Duration {
	const n, least = 512, 20 * time.Millisecond
	a, b, c := kernel.NewMat(p, n, n), kernel.NewMat(p, n, n), kernel.NewMat(kernel.Float32, n, n)
	kernel.Gemm(c, 1, a, false, b, true, false, p)
	started, products := time.Now(), 0
	for time.Since(started) < least {
		kernel.Gemm(c, 1, a, false, b, true, false, p)
		products++
	}
	perSecond := efficiency * float64(products) * 2 * n * n * n / time.Since(started).Seconds()
	return time.Duration(flops / perSecond * float64(time.Second))
}

// estimateFeatures is what an extraction takes; images is their number, -1 where it is not known.
func estimateFeatures(vision encoder.Info, text int, o feature.ExtractOptions, images int, p kernel.Precision) Estimate {
	size, stride, views := o.Size, o.Stride, o.Views.Count()
	if size == 0 {
		size = vision.ImageSize
	}
	if stride == 0 {
		stride = vision.PatchSize
	}
	side := int64((size-vision.PatchSize)/max(stride, 1) + 1)
	perImage := int64(views) * side * side * int64(vision.Width) * 2
	e := Estimate{
		Work: fmt.Sprintf("encoding images in %d views of %d pixels", views, size),
		// The weights as the engine has them, two shards on their way to the disk, and what one batch is worked on with.
		Memory: 4*vision.Params + 2*feature.ShardBytes(perImage) + feature.BatchBytes(size, side*side, views, vision.Width, vision.Hidden),
	}
	if images >= 0 {
		images /= max(o.Part.Count, 1)
		e.Work = fmt.Sprintf("encoding %d images in %d views of %d pixels", images, views, size)
		e.FLOPs = float64(images) * float64(views) * vision.FLOPs(size, size, stride)
		e.Time = expectedTime(e.FLOPs, p)
		const captions = 5 // an image has about so many
		e.Disk = int64(images) * (perImage + captions*4*int64(text))
	}
	return e
}

// estimateTraining is what a training on a cache takes.
func estimateTraining(cache *feature.Cache, r align.Recipe) Estimate {
	batch := min(r.Batch, cache.Len())
	steps := r.Epochs * int((1-r.Validation)*float64(cache.Len())) / max(batch, 1)
	precision, err := ParsePrecision(r.Precision)
	if err != nil {
		precision = kernel.Default() // the training itself will refuse it
	}
	e := Estimate{
		Work:   fmt.Sprintf("training %d steps of %d images", steps, batch),
		FLOPs:  float64(steps) * align.StepFLOPs(r.Head, batch, cache.Patches()),
		Memory: align.StepMemory(r.Head, batch, cache.Patches(), precision, 0),
		Disk:   4 * 4 * int64(align.ParameterCount(r.Head)), // the head, and with the optimiser's moments the checkpoint
	}
	e.Time = expectedTime(e.FLOPs, precision)
	return e
}
