package readout

import (
	"fmt"
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// Scores are the scores of labels at the cells of a grid.
type Scores struct {
	Geometry
	Labels int
	Data   []float32 // [GridH, GridW, Labels]
}

// Scores from floor to -floor are numbers; where a mean is taken over cells that are none, lowest stands for NaN and
// minus infinity, -lowest for infinity.
const (
	lowest = -1e30
	floor  = -1e20
)

// Check reports scores whose array does not fit the geometry.
func (s Scores) Check() error {
	if err := s.Geometry.Check(); err != nil {
		return err
	}
	if s.Labels < 1 || s.Labels > math.MaxUint16 {
		return fmt.Errorf("read-out: %d labels, expected 1 to %d", s.Labels, math.MaxUint16)
	}
	if len(s.Data) != s.Cells()*s.Labels {
		return fmt.Errorf("read-out: %d scores, expected %dx%d cells times %d labels", len(s.Data), s.GridH, s.GridW, s.Labels)
	}
	return nil
}

// MaxOverWords reduces the scores of words to those of labels: words is [cells, words of all labels], the words of
// label l being first[l]..first[l+1]; the result is [cells, labels]. A word that scores NaN is passed over.
func MaxOverWords(words []float32, cells int, first []int) ([]float32, error) {
	labels := len(first) - 1
	if labels < 1 || first[0] != 0 || len(words) != cells*first[labels] {
		return nil, fmt.Errorf("read-out: %d scores of words, expected %d cells times the words of %d labels", len(words), cells, labels)
	}
	for l := range labels {
		if first[l+1] <= first[l] {
			return nil, fmt.Errorf("read-out: label %d has no word", l)
		}
	}
	result := make([]float32, cells*labels)
	kernel.Parallel(cells, func(_, c int) {
		from := words[c*first[labels] : (c+1)*first[labels]]
		to := result[c*labels : (c+1)*labels]
		for l := range to {
			best := float32(math.NaN())
			for _, v := range from[first[l]:first[l+1]] {
				if v > best || best != best {
					best = v
				}
			}
			to[l] = best
		}
	})
	return result, nil
}

// finite returns the scores with NaN and infinities replaced by numbers; the array itself where there are none.
func finite(data []float32) []float32 {
	clean := true
	for _, v := range data {
		if !(v > floor && v < -floor) {
			clean = false
			break
		}
	}
	if clean {
		return data
	}
	mended := make([]float32, len(data))
	for i, v := range data {
		switch {
		case v >= -floor:
			mended[i] = -lowest
		case v > floor:
			mended[i] = v
		default:
			mended[i] = lowest
		}
	}
	return mended
}
