package evaluate

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/pacl/pacl/imaging"
)

// Segmenter labels photos with the classes that it was made for. It is called from several goroutines at once.
type Segmenter interface {
	// Segment returns the class of each pixel of a photo, at the photo's size. An id that is no class stands for the
	// background.
	Segment(ctx context.Context, photo *imaging.Image) (*imaging.Mask, error)
}

// SegmenterFunc is a function that segments.
type SegmenterFunc func(ctx context.Context, photo *imaging.Image) (*imaging.Mask, error)

// Segment calls the function.
func (f SegmenterFunc) Segment(ctx context.Context, photo *imaging.Image) (*imaging.Mask, error) {
	return f(ctx, photo)
}

// RunOptions say how an experiment is run; none of them changes its numbers.
type RunOptions struct {
	Workers  int      // photos at a time; 0 is one more than the processor has cores
	Progress Progress // may be nil
	// Seen is given each photo with its truth and the prediction, in any order, one at a time; it may be nil.
	Seen func(item Item, photo *imaging.Image, truth, prediction *imaging.Mask)
}

func (o RunOptions) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0) + 1
}

// ClassScore is what one class got.
type ClassScore struct {
	Name     string   `json:"name"`
	IoU      *float64 `json:"iou"`      // null where the class is not in the truth
	Accuracy *float64 `json:"accuracy"` // share of its pixels that were given to it
	Pixels   int64    `json:"pixels"`   // in the truth
}

// ImageScore is what was found in one image.
type ImageScore struct {
	Key string `json:"key"`
	// Confusion lists [truth, predicted, pixels]; predicted = number of classes stands for none.
	Confusion []Entry `json:"confusion,omitempty"`
	// Right of Total patches, classes or pixels were right, in experiments that have no confusion matrix.
	Right float64 `json:"right,omitempty"`
	Total float64 `json:"total,omitempty"`
}

// SegmentationResult is the outcome of a segmentation experiment. Shares go from 0 to 1.
type SegmentationResult struct {
	Protocol      string       `json:"protocol"`
	MIoU          float64      `json:"miou"`
	PixelAccuracy float64      `json:"pixel_accuracy"`
	MeanAccuracy  float64      `json:"mean_accuracy"`
	PerClass      []ClassScore `json:"per_class"`
	Images        int          `json:"images"`
	Seconds       float64      `json:"seconds"`

	PerImage []ImageScore `json:"-"`
}

// Segmentation measures a segmenter on a data set: one confusion matrix over all images at the masks' own size.
func Segmentation(ctx context.Context, d *Dataset, s Segmenter, p Protocol, o RunOptions) (*SegmentationResult, error) {
	started := time.Now()
	total := NewConfusion(len(d.Classes))
	scores := make([]ImageScore, len(d.Items))
	var mutex sync.Mutex
	done := 0
	err := forEach(ctx, len(d.Items), o.workers(), func(ctx context.Context, i int) error {
		item := d.Items[i]
		photo, truth, err := d.Load(item)
		if err != nil {
			return err
		}
		prediction, err := s.Segment(ctx, photo)
		if err != nil {
			return fmt.Errorf("segment %s: %w", item.Key, err)
		}
		if prediction.Width != truth.Width || prediction.Height != truth.Height {
			return fmt.Errorf("segment %s: the label map is %dx%d, expected %dx%d", item.Key,
				prediction.Width, prediction.Height, truth.Width, truth.Height)
		}
		confusion, err := d.Score(truth, prediction)
		if err != nil {
			return fmt.Errorf("score %s: %w", item.Key, err)
		}
		scores[i] = ImageScore{Key: item.Key, Confusion: confusion.Entries()}
		mutex.Lock()
		defer mutex.Unlock()
		done++
		if o.Progress != nil {
			o.Progress(done, len(d.Items))
		}
		if o.Seen != nil {
			o.Seen(item, photo, truth, prediction)
		}
		return total.Merge(confusion)
	})
	if err != nil {
		return nil, err
	}
	p.Identify(d)
	result := newSegmentationResult(p.String(), d.Classes, total)
	result.PerImage = scores
	result.Images = len(scores)
	result.Seconds = time.Since(started).Seconds()
	return result, nil
}

// ScorePredictions scores label maps that lie in a folder as PNG files, KEY.png with class ids, against the masks of a
// data set. Ids that are no class stand for the background.
func ScorePredictions(ctx context.Context, d *Dataset, folder string, p Protocol, o RunOptions) (*SegmentationResult, error) {
	started := time.Now()
	scores := make([]ImageScore, len(d.Items))
	total := NewConfusion(len(d.Classes))
	var mutex sync.Mutex
	done := 0
	err := forEach(ctx, len(d.Items), o.workers(), func(ctx context.Context, i int) error {
		item := d.Items[i]
		truth, err := d.LoadMask(item)
		if err != nil {
			return err
		}
		path := filepath.Join(folder, filepath.FromSlash(item.Key)+".png")
		prediction, err := imaging.OpenMask(path)
		if err != nil {
			return fmt.Errorf("prediction: %w", err)
		}
		if prediction.Width != truth.Width || prediction.Height != truth.Height {
			return fmt.Errorf("prediction %s is %dx%d, expected the size of %s, %dx%d", path, prediction.Width, prediction.Height,
				item.Mask, truth.Width, truth.Height)
		}
		confusion, err := d.Score(truth, prediction)
		if err != nil {
			return fmt.Errorf("score %s: %w", item.Key, err)
		}
		scores[i] = ImageScore{Key: item.Key, Confusion: confusion.Entries()}
		mutex.Lock()
		defer mutex.Unlock()
		done++
		if o.Progress != nil {
			o.Progress(done, len(d.Items))
		}
		return total.Merge(confusion)
	})
	if err != nil {
		return nil, err
	}
	p.Identify(d)
	result := newSegmentationResult(p.String(), d.Classes, total)
	result.PerImage, result.Images, result.Seconds = scores, len(scores), time.Since(started).Seconds()
	return result, nil
}

// Score compares a label map with the truth. Predicted ids that are no class count for the background class where the
// data set has one.
func (d *Dataset) Score(truth, prediction *imaging.Mask) (*Confusion, error) {
	c := NewConfusion(len(d.Classes))
	if err := c.Add(truth.ID, prediction.ID); err != nil {
		return nil, err
	}
	if d.Background >= 0 {
		for t := range c.Classes {
			row := c.Counts[t*(c.Classes+1) : (t+1)*(c.Classes+1)]
			row[d.Background] += row[c.Classes]
			row[c.Classes] = 0
		}
	}
	return c, nil
}

func newSegmentationResult(protocol string, classes []Class, c *Confusion) *SegmentationResult {
	m := c.Metrics()
	r := &SegmentationResult{Protocol: protocol, MIoU: orZero(m.MIoU), PixelAccuracy: orZero(m.PixelAccuracy), MeanAccuracy: orZero(m.MeanAccuracy)}
	for i, class := range classes {
		score := ClassScore{Name: class.Name, Pixels: m.Pixels[i]}
		if m.Pixels[i] > 0 {
			score.IoU, score.Accuracy = &m.IoU[i], &m.Accuracy[i]
		}
		r.PerClass = append(r.PerClass, score)
	}
	return r
}

// orZero replaces the mean of nothing.
func orZero(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// forEach calls f for 0..n-1 on some goroutines and stops at the first error; of several errors the one with the
// lowest index that occurred is returned.
func forEach(ctx context.Context, n, workers int, f func(ctx context.Context, i int) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		group   sync.WaitGroup
		mutex   sync.Mutex
		next    int
		failed  = n
		failure error
	)
	for range min(workers, n) {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				mutex.Lock()
				i := next
				next++
				mutex.Unlock()
				if i >= n || inner.Err() != nil {
					return
				}
				if err := f(inner, i); err != nil {
					mutex.Lock()
					if i < failed && inner.Err() == nil || failure == nil {
						failed, failure = i, err
					}
					mutex.Unlock()
					cancel()
					return
				}
			}
		}()
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return failure
}
