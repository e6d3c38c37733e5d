package evaluate

import (
	"fmt"
	"math"
)

// Ignored marks pixels of the truth that are not scored.
const Ignored = math.MaxUint16

// NoClass marks pixels that a segmenter gave to no class; any id that is not a class does.
const NoClass = math.MaxUint16 - 1

// maxClasses bounds the square of a confusion matrix.
const maxClasses = 4096

// Confusion counts pixels by their true class and the class they were given.
type Confusion struct {
	Classes int
	Counts  []int64 // [Classes, Classes+1], the last column for pixels that were given to no class
}

// NewConfusion returns an empty matrix.
func NewConfusion(classes int) *Confusion {
	return &Confusion{Classes: classes, Counts: make([]int64, classes*(classes+1))}
}

// Add counts the pixels of an image; truth and predicted have the same length. True ids that are no class are left
// out, predicted ids that are no class are counted as wrong.
func (c *Confusion) Add(truth, predicted []uint16) error {
	if len(truth) != len(predicted) {
		return fmt.Errorf("confusion: %d predicted pixels, expected %d", len(predicted), len(truth))
	}
	classes, row := c.Classes, c.Classes+1
	// Neighbours mostly agree: a run is counted once, which spares waiting for the counter that was just written.
	for i := 0; i < len(truth); {
		t, p, start := truth[i], predicted[i], i
		for i++; i < len(truth) && truth[i] == t && predicted[i] == p; i++ {
		}
		if int(t) < classes {
			c.Counts[int(t)*row+min(int(p), classes)] += int64(i - start)
		}
	}
	return nil
}

// Merge adds another matrix.
func (c *Confusion) Merge(other *Confusion) error {
	if other.Classes != c.Classes {
		return fmt.Errorf("confusion: a matrix of %d classes is added to one of %d", other.Classes, c.Classes)
	}
	for i, n := range other.Counts {
		c.Counts[i] += n
	}
	return nil
}

// Entry is a count of a matrix that is mostly empty: [truth, predicted, pixels].
type Entry [3]int64

// Entries lists the counts above zero.
func (c *Confusion) Entries() []Entry {
	var entries []Entry
	for i, n := range c.Counts {
		if n != 0 {
			entries = append(entries, Entry{int64(i / (c.Classes + 1)), int64(i % (c.Classes + 1)), n})
		}
	}
	return entries
}

// AddEntries adds listed counts.
func (c *Confusion) AddEntries(entries []Entry) error {
	for _, e := range entries {
		if e[0] < 0 || e[0] >= int64(c.Classes) || e[1] < 0 || e[1] > int64(c.Classes) || e[2] < 0 {
			return fmt.Errorf("confusion: entry %v, expected classes below %d and a count", e, c.Classes)
		}
		c.Counts[int(e[0])*(c.Classes+1)+int(e[1])] += e[2]
	}
	return nil
}

// Metrics are the usual summaries of a confusion matrix, shares from 0 to 1. Classes that do not occur in the truth are
// left out of the means. Where nothing was scored the means are NaN.
type Metrics struct {
	MIoU, PixelAccuracy, MeanAccuracy float64
	IoU, Accuracy                     []float64 // [classes], NaN where the class does not occur in the truth
	Pixels                            []int64   // [classes] in the truth
}

// Metrics computes the summaries.
func (c *Confusion) Metrics() Metrics {
	m := Metrics{IoU: make([]float64, c.Classes), Accuracy: make([]float64, c.Classes), Pixels: make([]int64, c.Classes)}
	given := make([]int64, c.Classes+1)
	var total, right int64
	for t := range c.Classes {
		for p, n := range c.Counts[t*(c.Classes+1) : (t+1)*(c.Classes+1)] {
			given[p] += n
			m.Pixels[t] += n
			if p == t {
				right += n
			}
		}
		total += m.Pixels[t]
	}
	var sumIoU, sumAccuracy float64
	occurring := 0
	for t := range c.Classes {
		if m.Pixels[t] == 0 {
			m.IoU[t], m.Accuracy[t] = math.NaN(), math.NaN()
			continue
		}
		hits := c.Counts[t*(c.Classes+1)+t]
		m.IoU[t] = float64(hits) / float64(m.Pixels[t]+given[t]-hits)
		m.Accuracy[t] = float64(hits) / float64(m.Pixels[t])
		sumIoU += m.IoU[t]
		sumAccuracy += m.Accuracy[t]
		occurring++
	}
	m.MIoU = sumIoU / float64(occurring)
	m.MeanAccuracy = sumAccuracy / float64(occurring)
	m.PixelAccuracy = float64(right) / float64(total)
	return m
}
