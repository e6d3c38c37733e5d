package readout

import (
	"fmt"
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// Prior says how much the photo as a whole has a say in what its pixels are. A label's scores are raised everywhere by
// Weight times its compatibility with the photo, the mean of its scores over the cells weighed by their softmax at the
// temperature Tau: PACL's own pooling, which looks where the label is. A label that fits no part of the photo well then
// has to be better by that much to win a pixel from one that does. Heat maps do not change by it, nor do mean scores,
// which are given without what was added. The zero value is none.
type Prior struct {
	Weight float64
	Tau    float64 // above 0 where Weight is not 0
}

// Check reports a prior that cannot be.
func (p Prior) Check() error {
	if !(p.Weight >= 0 && p.Weight <= 100) {
		return fmt.Errorf("read-out: weight %v of the photo as a whole, expected 0 to 100", p.Weight)
	}
	if p.Weight > 0 && !(p.Tau > 0 && !math.IsInf(p.Tau, 0)) {
		return fmt.Errorf("read-out: temperature %v of the softmax over cells, expected above 0", p.Tau)
	}
	return nil
}

// Added is what the prior adds to each label's scores, for those who compare scores themselves; nil for none.
func (p Prior) Added(s Scores) []float64 {
	_, added := s.raise(p)
	return added
}

// raise returns scores with the prior added, and what was added to each label; scores that are no numbers stay as they are.
func (s Scores) raise(p Prior) (Scores, []float64) {
	if p.Weight == 0 {
		return s, nil
	}
	const labelsAtOnce = 64
	raised := make([]float32, len(s.Data))
	added := make([]float64, s.Labels)
	kernel.Parallel((s.Labels+labelsAtOnce-1)/labelsAtOnce, func(_, block int) {
		from, to := block*labelsAtOnce, min((block+1)*labelsAtOnce, s.Labels)
		n := to - from
		best, sum, weights := make([]float32, n), make([]float64, n), make([]float64, n)
		for i := range best {
			best[i] = lowest
		}
		for cell := range s.Cells() {
			for i, v := range s.Data[cell*s.Labels+from : cell*s.Labels+to] {
				if v > best[i] && v < -floor {
					best[i] = v
				}
			}
		}
		for cell := range s.Cells() {
			for i, v := range s.Data[cell*s.Labels+from : cell*s.Labels+to] {
				if v > floor && v < -floor {
					w := math.Exp((float64(v) - float64(best[i])) / p.Tau)
					sum[i] += w * float64(v)
					weights[i] += w
				}
			}
		}
		for i := range n {
			if weights[i] > 0 {
				added[from+i] = float64(float32(p.Weight * sum[i] / weights[i]))
			}
		}
		for cell := range s.Cells() {
			row := raised[cell*s.Labels+from : cell*s.Labels+to]
			for i, v := range s.Data[cell*s.Labels+from : cell*s.Labels+to] {
				row[i] = v + float32(added[from+i])
			}
		}
	})
	s.Data = raised
	return s, added
}
