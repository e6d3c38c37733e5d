package readout

import "math"

// softmax sums exp(scale*(score - reference)) over labels for the pixels between four cells. A score is linear along a
// row and along a column, so that its exponential is a geometric sequence: four exponentials a label and then one
// multiplication a pixel, in float64.
//
// Where the scores between the four cells differ so much that float64 would overflow or underflow, each exponential is taken alone.
type softmax struct {
	scale, reference float64
	first            []float64 // [labels] exponential (direct: exponent) at the first pixel of the current row
	firstStep        []float64 // [labels] its factor (summand) from row to row
	ratio            []float64 // [labels] factor (summand) from pixel to pixel of the current row
	ratioStep        []float64 // [labels] its factor (summand) from row to row
	direct           bool
	sums             []float64 // [pixels]
}

// largestExponent keeps sums of 65536 terms within float64.
const largestExponent = 600

// start takes the labels' scores at the four cells, and where the pixels lie between them. reference is a score that
// the best label of no pixel falls below.
func (s *softmax) start(scale, reference float64, topLeft, topRight, bottomLeft, bottomRight []float32, rows, columns spread) {
	n := len(topLeft)
	if cap(s.first) < n {
		all := make([]float64, 4*n)
		s.first, s.firstStep, s.ratio, s.ratioStep = all[:n:n], all[n:2*n:2*n], all[2*n:3*n:3*n], all[3*n:]
	}
	s.first, s.firstStep, s.ratio, s.ratioStep = s.first[:n], s.firstStep[:n], s.ratio[:n], s.ratioStep[:n]
	s.scale, s.reference = scale, reference
	lowest, highest := math.Inf(1), math.Inf(-1)
	for i := range topLeft {
		lowest = min(lowest, float64(min(topLeft[i], topRight[i], bottomLeft[i], bottomRight[i])))
		highest = max(highest, float64(max(topLeft[i], topRight[i], bottomLeft[i], bottomRight[i])))
	}
	// One that begins as zero, for being too small, would stay so however far its label rises.
	s.direct = !(scale*(highest-reference) < largestExponent && scale*(lowest-reference) > -largestExponent)
	for i := range topLeft {
		tl, tr, bl, br := float64(topLeft[i])-reference, float64(topRight[i])-reference, float64(bottomLeft[i])-reference, float64(bottomRight[i])-reference
		// value(y, x) = a + y*down + x*(across + y*twist), y and x from 0 to 1
		down, across, twist := bl-tl, tr-tl, br-bl-tr+tl
		atFirst := tl + rows.first*down + columns.first*(across+rows.first*twist)
		alongRow := columns.step * (across + rows.first*twist)
		s.first[i] = scale * atFirst
		s.firstStep[i] = scale * rows.step * (down + columns.first*twist)
		s.ratio[i] = scale * alongRow
		s.ratioStep[i] = scale * columns.step * rows.step * twist
		if !s.direct {
			s.first[i], s.firstStep[i] = math.Exp(s.first[i]), math.Exp(s.firstStep[i])
			s.ratio[i], s.ratioStep[i] = math.Exp(s.ratio[i]), math.Exp(s.ratioStep[i])
		}
	}
}

// row returns the denominators of the next row's pixels; the slice is valid until the next call.
func (s *softmax) row(pixels int) []float64 {
	if cap(s.sums) < pixels {
		s.sums = make([]float64, pixels)
	}
	sums := s.sums[:pixels]
	clear(sums)
	if s.direct {
		s.directRow(sums)
		return sums
	}
	i := 0
	for ; i+4 <= len(s.first); i += 4 {
		e0, e1, e2, e3 := s.first[i], s.first[i+1], s.first[i+2], s.first[i+3]
		q0, q1, q2, q3 := s.ratio[i], s.ratio[i+1], s.ratio[i+2], s.ratio[i+3]
		for x := range sums {
			sums[x] += (e0 + e1) + (e2 + e3)
			e0 *= q0
			e1 *= q1
			e2 *= q2
			e3 *= q3
		}
	}
	for ; i < len(s.first); i++ {
		e, q := s.first[i], s.ratio[i]
		for x := range sums {
			sums[x] += e
			e *= q
		}
	}
	for i := range s.first {
		s.first[i] *= s.firstStep[i]
		s.ratio[i] *= s.ratioStep[i]
	}
	return sums
}

// directRow fills sums with the logarithms of the denominators, which themselves may be beyond float64.
func (s *softmax) directRow(sums []float64) {
	for x := range sums {
		highest := math.Inf(-1)
		for i := range s.first {
			highest = max(highest, s.first[i]+float64(x)*s.ratio[i])
		}
		var sum float64
		for i := range s.first {
			sum += math.Exp(s.first[i] + float64(x)*s.ratio[i] - highest)
		}
		sums[x] = highest + math.Log(sum)
	}
	for i := range s.first {
		s.first[i] += s.firstStep[i]
		s.ratio[i] += s.ratioStep[i]
	}
}

// share is exp(scale*(score - reference)) over the denominator that row returned.
func (s *softmax) share(score float32, denominator float64) float64 {
	exponent := s.scale * (float64(score) - s.reference)
	if s.direct {
		return min(1, math.Exp(exponent-denominator))
	}
	return min(1, math.Exp(exponent)/denominator)
}
