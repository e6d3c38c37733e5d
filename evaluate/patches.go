package evaluate

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/readout"
)

// PatchVectors are the vectors of a photo's patches.
type PatchVectors struct {
	readout.Geometry
	Width   int
	Vectors []float32 // [GridH, GridW, Width]
}

// PatchEncoder gives the vectors of a photo's patches. It is called from several goroutines at once.
type PatchEncoder interface {
	Patches(ctx context.Context, photo *imaging.Image) (*PatchVectors, error)
}

// PatchEncoderFunc is a function that encodes patches.
type PatchEncoderFunc func(ctx context.Context, photo *imaging.Image) (*PatchVectors, error)

// Patches calls the function.
func (f PatchEncoderFunc) Patches(ctx context.Context, photo *imaging.Image) (*PatchVectors, error) {
	return f(ctx, photo)
}

// PatchLabels returns the most frequent class of each patch's pixels, pixels that are not scored left out; of equally
// frequent classes the smaller. Ignored stands where no pixel is scored. A pixel belongs to the patches that its centre
// lies in.
func PatchLabels(mask *imaging.Mask, g readout.Geometry) ([]uint16, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	if mask.Width != g.ImageW || mask.Height != g.ImageH || len(mask.ID) != mask.Width*mask.Height {
		return nil, fmt.Errorf("patch labels: mask of %dx%d, expected %dx%d", mask.Width, mask.Height, g.ImageW, g.ImageH)
	}
	rows := patchSpans(g.ImageH, g.GridH, g.InputH, g.Patch, g.Stride)
	columns := patchSpans(g.ImageW, g.GridW, g.InputW, g.Patch, g.Stride)
	labels := make([]uint16, g.Cells())
	counts := make([]int32, Ignored)
	for r, row := range rows {
		for c, column := range columns {
			best := uint16(Ignored)
			for y := row[0]; y < row[1]; y++ {
				for _, id := range mask.ID[y*mask.Width+column[0] : y*mask.Width+column[1]] {
					if id != Ignored {
						counts[id]++
					}
				}
			}
			for y := row[0]; y < row[1]; y++ {
				for _, id := range mask.ID[y*mask.Width+column[0] : y*mask.Width+column[1]] {
					if id != Ignored && (best == Ignored || counts[id] > counts[best] || counts[id] == counts[best] && id < best) {
						best = id
					}
				}
			}
			for y := row[0]; y < row[1]; y++ {
				for _, id := range mask.ID[y*mask.Width+column[0] : y*mask.Width+column[1]] {
					if id != Ignored {
						counts[id] = 0
					}
				}
			}
			labels[r*g.GridW+c] = best
		}
	}
	return labels, nil
}

// patchSpans returns for each patch along one side the pixels whose centres lie in it; where the photo is so small that
// there is none, the pixel that the patch lies on.
func patchSpans(pixels, cells, input, patch, stride int) [][2]int {
	// Pixel p has its centre at (2p+1)*input / (2*pixels) of the input.
	first := func(edge int) int {
		numerator := 2*edge*pixels - input
		if numerator <= 0 {
			return 0
		}
		return min((numerator+2*input-1)/(2*input), pixels)
	}
	spans := make([][2]int, cells)
	for k := range spans {
		from, to := first(k*stride), first(k*stride+patch)
		if to <= from {
			from = min((2*k*stride+patch)*pixels/(2*input), pixels-1)
			to = from + 1
		}
		spans[k] = [2]int{from, to}
	}
	return spans
}

// Texts are the vectors of the words of a data set's classes.
type Texts struct {
	Width   int
	Vectors []float32 // [words, Width], unit vectors
	First   []int     // [classes+1] the words of class c are First[c]..First[c+1]; none where the class is not known
}

// nearest returns the class with the nearest word for each patch, NoClass where no class is known or the patch has NaN.
func (t Texts) nearest(p *PatchVectors) ([]uint16, error) {
	words := 0
	if t.Width > 0 {
		words = len(t.Vectors) / t.Width
	}
	if p.Width != t.Width || len(p.Vectors) != p.Cells()*p.Width || words*t.Width != len(t.Vectors) || len(t.First) == 0 || t.First[len(t.First)-1] != words {
		return nil, fmt.Errorf("patches: %d numbers of width %d for %d cells, texts: %d numbers of width %d",
			len(p.Vectors), p.Width, p.Cells(), len(t.Vectors), t.Width)
	}
	result := make([]uint16, p.Cells())
	if words == 0 {
		for i := range result {
			result[i] = NoClass
		}
		return result, nil
	}
	scores := kernel.NewMat(kernel.Float32, p.Cells(), words)
	kernel.Gemm(scores, 1, kernel.FromFloat32(p.Vectors, p.Cells(), p.Width), false, kernel.FromFloat32(t.Vectors, words, t.Width), true, false, kernel.Float32)
	for cell := range result {
		row := scores.Row(cell)
		best, class := float32(math.Inf(-1)), NoClass
		for c := range len(t.First) - 1 {
			for _, v := range row[t.First[c]:t.First[c+1]] {
				if v > best {
					best, class = v, c
				}
			}
		}
		result[cell] = uint16(class)
	}
	return result, nil
}

// PatchResult is the outcome of patch classification. Shares go from 0 to 1.
type PatchResult struct {
	Protocol string       `json:"protocol"`
	Accuracy float64      `json:"accuracy"`
	Patches  int64        `json:"patches"` // that have a label
	PerClass []ClassScore `json:"per_class"`
	Images   int          `json:"images"`
	Seconds  float64      `json:"seconds"`

	PerImage []ImageScore `json:"-"`
}

// Patches measures how often the nearest text of a patch is its label: the label of a patch is the most frequent class
// of its pixels, void left out, and the share is over all patches of the data set.
func Patches(ctx context.Context, d *Dataset, encoder PatchEncoder, texts Texts, p Protocol, o RunOptions) (*PatchResult, error) {
	started := time.Now()
	if len(texts.First) != len(d.Classes)+1 {
		return nil, fmt.Errorf("patches: texts of %d classes, expected %d", len(texts.First)-1, len(d.Classes))
	}
	total := NewConfusion(len(d.Classes))
	scores := make([]ImageScore, len(d.Items))
	var mutex sync.Mutex
	done := 0
	err := forEach(ctx, len(d.Items), o.workers(), func(ctx context.Context, i int) error {
		item := d.Items[i]
		labels, vectors, err := labelled(ctx, d, item, encoder)
		if err != nil {
			return err
		}
		predictions, err := texts.nearest(vectors)
		if err != nil {
			return fmt.Errorf("%s: %w", item.Key, err)
		}
		confusion := NewConfusion(len(d.Classes))
		if err := confusion.Add(labels, predictions); err != nil {
			return err
		}
		score := ImageScore{Key: item.Key}
		for cell, label := range labels {
			if label != Ignored {
				score.Total++
				if predictions[cell] == label {
					score.Right++
				}
			}
		}
		scores[i] = score
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
	whole := newSegmentationResult(p.String(), d.Classes, total)
	result := &PatchResult{Protocol: whole.Protocol, Accuracy: whole.PixelAccuracy, PerClass: whole.PerClass, PerImage: scores,
		Images: len(scores), Seconds: time.Since(started).Seconds()}
	for _, c := range whole.PerClass {
		result.Patches += c.Pixels
	}
	return result, nil
}

// labelled loads an item and returns its patches with their labels.
func labelled(ctx context.Context, d *Dataset, item Item, encoder PatchEncoder) ([]uint16, *PatchVectors, error) {
	photo, mask, err := d.Load(item)
	if err != nil {
		return nil, nil, err
	}
	vectors, err := encoder.Patches(ctx, photo)
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", item.Key, err)
	}
	if len(vectors.Vectors) != vectors.Cells()*vectors.Width || vectors.Width < 1 {
		return nil, nil, fmt.Errorf("encode %s: %d numbers, expected %d patches of width %d", item.Key, len(vectors.Vectors), vectors.Cells(), vectors.Width)
	}
	labels, err := PatchLabels(mask, vectors.Geometry)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", item.Key, err)
	}
	return labels, vectors, nil
}

// Record returns what compare needs of the result.
func (r *PatchResult) Record(model string) *Record {
	return &Record{Protocol: r.Protocol, Model: model, Measure: "accuracy", Images: r.PerImage}
}
