package evaluate

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/pacl/pacl/imaging"
)

// ShareSegmenter labels photos and tells how sure it is.
type ShareSegmenter interface {
	// SegmentShares returns the class of each pixel without any threshold, and the share of that class in the softmax
	// over classes [Height, Width].
	SegmentShares(ctx context.Context, photo *imaging.Image) (*imaging.Mask, []float32, error)
}

// SweepPoint is what a threshold gives.
type SweepPoint struct {
	Threshold float64 `json:"threshold"`
	MIoU      float64 `json:"miou"`
}

// Sweep measures the mIoU for each of some background thresholds in one pass and returns the points in rising order and
// the best of them, the smallest of equally good ones. A threshold is to be chosen on a training split and printed with
// every score that uses it.
func Sweep(ctx context.Context, d *Dataset, s ShareSegmenter, thresholds []float64, o RunOptions) (points []SweepPoint, best SweepPoint, err error) {
	thresholds = slices.Clone(thresholds)
	slices.Sort(thresholds)
	thresholds = slices.Compact(thresholds)
	if len(thresholds) == 0 || len(thresholds) > 1000 || !(thresholds[0] >= 0 && thresholds[len(thresholds)-1] <= 1) {
		return nil, best, fmt.Errorf("sweep: thresholds %v, expected 1 to 1000 shares from 0 to 1", thresholds)
	}
	if d.Background < 0 {
		return nil, best, fmt.Errorf("sweep: %s has no background class, so no threshold can help", d.Title)
	}
	// A pixel is kept by the thresholds up to its share: counts of pixels by how many thresholds keep them.
	kept := make([]*Confusion, len(thresholds)+1)
	for k := range kept {
		kept[k] = NewConfusion(len(d.Classes))
	}
	var mutex sync.Mutex
	done := 0
	err = forEach(ctx, len(d.Items), o.workers(), func(ctx context.Context, i int) error {
		item := d.Items[i]
		photo, truth, err := d.Load(item)
		if err != nil {
			return err
		}
		mask, shares, err := s.SegmentShares(ctx, photo)
		if err != nil {
			return fmt.Errorf("segment %s: %w", item.Key, err)
		}
		if mask.Width != truth.Width || mask.Height != truth.Height || len(shares) != len(mask.ID) {
			return fmt.Errorf("segment %s: label map of %dx%d with %d shares, expected %dx%d", item.Key,
				mask.Width, mask.Height, len(shares), truth.Width, truth.Height)
		}
		mutex.Lock()
		defer mutex.Unlock()
		for p, t := range truth.ID {
			if int(t) >= len(d.Classes) {
				continue
			}
			c := kept[keptBy(thresholds, float64(shares[p]))]
			given := min(int(mask.ID[p]), len(d.Classes))
			c.Counts[int(t)*(len(d.Classes)+1)+given]++
		}
		if done++; o.Progress != nil {
			o.Progress(done, len(d.Items))
		}
		return nil
	})
	if err != nil {
		return nil, best, err
	}
	for k, threshold := range thresholds {
		total := NewConfusion(len(d.Classes))
		for n, c := range kept {
			for i, count := range c.Counts {
				t, given := i/(c.Classes+1), i%(c.Classes+1)
				if n <= k || given == c.Classes { // below this threshold
					given = d.Background
				}
				total.Counts[t*(c.Classes+1)+given] += count
			}
		}
		point := SweepPoint{threshold, orZero(total.Metrics().MIoU)}
		points = append(points, point)
		if k == 0 || point.MIoU > best.MIoU {
			best = point
		}
	}
	return points, best, nil
}

// keptBy returns how many of the rising thresholds are at most the share.
func keptBy(thresholds []float64, share float64) int {
	n, _ := slices.BinarySearchFunc(thresholds, share, func(threshold, share float64) int {
		if threshold <= share {
			return -1
		}
		return 1
	})
	return n
}
