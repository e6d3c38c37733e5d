package readout

import (
	"context"
	"fmt"
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// Options of Segment.
type Options struct {
	// LogitScale multiplies scores before the softmax that the threshold and the confidence look at.
	LogitScale float64
	// Background is the least share that the best label of a pixel must have in the softmax over labels; below it the
	// pixel belongs to the background. 0 asks for no threshold.
	Background float64
	// Confidence asks for the mean share of each label and, with ConfidenceMap, for the share at every pixel. It costs
	// an exponential for each label that matters at a pixel.
	Confidence    bool
	ConfidenceMap bool
	// Prior gives the photo as a whole a say.
	Prior Prior
}

// Stat says what a label got.
type Stat struct {
	Pixels     int64
	Share      float64 // of the photo's area
	MeanScore  float64 // of the pixels that it won, up-sampled; 0 where it won none
	Confidence float64 // mean share in the softmax of those pixels, where Options.Confidence asks for it
}

// Segmentation is a label map of the size of the photo.
type Segmentation struct {
	Width, Height int
	ID            []uint16 // [Height, Width] label, or the number of labels for the background
	Stats         []Stat   // [labels + 1], the background last
	Confidence    []float32
}

// bandRows bounds the rows that one band of work has.
const bandRows = 32

// Segment gives each pixel the label with the best up-sampled score; of equal ones the first wins. A label whose score
// is NaN or infinite at one of the cells that a pixel is interpolated from cannot win there; a pixel without any label
// belongs to the background.
func Segment(ctx context.Context, s Scores, o Options) (*Segmentation, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if err := o.Prior.Check(); err != nil {
		return nil, err
	}
	s, added := s.raise(o.Prior)
	if o.Background < 0 || o.Background > 1 || math.IsNaN(o.Background) {
		return nil, fmt.Errorf("read-out: background threshold %v, expected 0 to 1", o.Background)
	}
	needShare := o.Background > 0 || o.Confidence || o.ConfidenceMap
	if needShare && !(o.LogitScale > 0 && o.LogitScale <= 1e6) {
		return nil, fmt.Errorf("read-out: logit scale %v, expected above 0 and at most 1e6", o.LogitScale)
	}
	result := &Segmentation{
		Width: s.ImageW, Height: s.ImageH,
		ID:    make([]uint16, s.ImageH*s.ImageW),
		Stats: make([]Stat, s.Labels+1),
	}
	if o.ConfidenceMap {
		result.Confidence = make([]float32, len(result.ID))
	}
	rows, columns := s.rows(), s.columns()
	bands := rows.runs(bandRows)
	columnRuns := columns.runs(math.MaxInt)
	sums := make([][]tally, len(bands)-1)
	scratch := make([]*band, kernel.Workers())
	kernel.Parallel(len(bands)-1, func(worker, i int) {
		if ctx.Err() != nil {
			return
		}
		var b *band
		if worker < len(scratch) {
			b, scratch[worker] = scratch[worker], nil
		}
		if b == nil {
			b = newBand(s.Labels, s.ImageW)
		}
		sums[i] = make([]tally, s.Labels+1)
		b.Scores, b.Options, b.rows, b.columns, b.needShare, b.result, b.tallies = s, o, rows, columns, needShare, result, sums[i]
		for k := 0; k+1 < len(columnRuns); k++ {
			b.block(bands[i], bands[i+1], columnRuns[k], columnRuns[k+1])
		}
		if worker < len(scratch) {
			scratch[worker] = b
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	result.summarise(sums, added, o)
	return result, nil
}

// summarise adds the tallies of bands in their order, so that the sums do not depend on who worked on what.
// added is what the prior added to each label's scores, nil without one.
func (r *Segmentation) summarise(bands [][]tally, added []float64, o Options) {
	for l := range r.Stats {
		var total tally
		for _, t := range bands {
			total.pixels += t[l].pixels
			total.score += t[l].score
			total.share += t[l].share
		}
		stat := Stat{Pixels: total.pixels, Share: float64(total.pixels) / float64(len(r.ID))}
		if total.pixels > 0 && l < len(r.Stats)-1 {
			stat.MeanScore = total.score / float64(total.pixels)
			if added != nil {
				stat.MeanScore -= added[l]
			}
			if o.Confidence {
				stat.Confidence = total.share / float64(total.pixels)
			}
		}
		r.Stats[l] = stat
	}
}

type tally struct {
	pixels       int64
	score, share float64
}

// band is the scratch memory of one worker.
type band struct {
	Scores
	Options
	rows, columns axis
	needShare     bool
	result        *Segmentation
	tallies       []tally // [labels + 1]

	cellLabels []int32   // labels that matter between four cells
	corners    []float32 // [4, labels] their scores at the four cells
	ends       []float32 // [2, labels] the scores of all of them at the left and right cells, at one row
	rowLabels  []int32   // labels that can win in one row between two cells
	left, rise []float32 // their scores at the left cell, and what is added up to the right one
	best       []float32 // [pixels] the highest of them
	winner     []int32   // [pixels] whose it is, by its place among rowLabels
	softmax    softmax
}

func newBand(labels, width int) *band {
	floats := make([]float32, 8*labels)
	ints := make([]int32, 2*labels)
	return &band{
		cellLabels: ints[:0:labels], rowLabels: ints[labels:labels],
		corners: floats[:4*labels], ends: floats[4*labels : 6*labels],
		left: floats[6*labels : 7*labels], rise: floats[7*labels:],
		best: make([]float32, width), winner: make([]int32, width),
	}
}

// negligible is how far below the best score, times the logit scale, a label may stay to count in the softmax: the sum
// of all labels below it is less than float32 resolves.
const negligible = 30

// slack covers the rounding of interpolated values, relative to the largest of them.
const slack = 1e-5

// block labels the pixels of rows y0..y1 and columns x0..x1, all of which lie between the same four cells.
func (b *band) block(y0, y1, x0, x1 int) {
	labels := b.Labels
	top, bottom := b.rows.cells(y0, y1)
	first, last := b.columns.cells(x0, x1)
	at := func(row, column int) []float32 {
		cell := row*b.GridW + column
		return b.Data[cell*labels : (cell+1)*labels]
	}
	topLeft, topRight := at(top, first), at(top, last)
	bottomLeft, bottomRight := at(bottom, first), at(bottom, last)

	// A label whose best corner is below the worst corner of another cannot win between them.
	bound, largest := float32(lowest), float32(0)
	for l, v := range topLeft {
		v0, v1, v2 := topRight[l], bottomLeft[l], bottomRight[l]
		low, high := min(v, v0, v1, v2), max(v, v0, v1, v2) // NaN where one of them is
		if low > floor && high < -floor {
			bound = max(bound, low)
			largest = max(largest, high, -low)
		}
	}
	reference := bound
	bound -= slack * largest
	if b.needShare {
		bound -= float32(negligible / b.LogitScale)
	}
	b.cellLabels = b.cellLabels[:0]
	for l, v := range topLeft {
		v0, v1, v2 := topRight[l], bottomLeft[l], bottomRight[l]
		if high := max(v, v0, v1, v2); high >= bound && high < -floor && min(v, v0, v1, v2) > floor {
			b.cellLabels = append(b.cellLabels, int32(l))
		}
	}
	if len(b.cellLabels) == 0 {
		for y := y0; y < y1; y++ {
			row := b.result.ID[y*b.ImageW+x0 : y*b.ImageW+x1]
			for x := range row {
				row[x] = uint16(labels)
			}
			b.tallies[labels].pixels += int64(len(row))
		}
		return
	}
	n := len(b.cellLabels)
	tl, tr, bl, br := b.corners[:n], b.corners[n:2*n], b.corners[2*n:3*n], b.corners[3*n:4*n]
	for i, l := range b.cellLabels {
		tl[i], tr[i], bl[i], br[i] = topLeft[l], topRight[l], bottomLeft[l], bottomRight[l]
	}
	if b.needShare {
		b.softmax.start(b.LogitScale, float64(reference), tl, tr, bl, br, b.rows.spread(y0, y1), b.columns.spread(x0, x1))
	}
	left, right := b.ends[:n], b.ends[n:2*n]
	for y := y0; y < y1; y++ {
		f := b.rows.fraction[y]
		rowBound := float32(lowest)
		for i := range left {
			l := tl[i] + (bl[i]-tl[i])*f
			r := tr[i] + (br[i]-tr[i])*f
			left[i], right[i] = l, r
			if r < l {
				l = r
			}
			if l > rowBound {
				rowBound = l
			}
		}
		b.row(y, x0, x1, left, right, rowBound-slack*largest)
	}
}

// row labels the pixels x0..x1 of row y, given the scores at the cells left and right of them and a score that a label
// must reach at one of the two to win anywhere.
func (b *band) row(y, x0, x1 int, left, right []float32, bound float32) {
	b.rowLabels = b.rowLabels[:0]
	n := 0
	for i, l := range left {
		if r := right[i]; max(l, r) >= bound {
			b.rowLabels = append(b.rowLabels, b.cellLabels[i])
			b.left[n], b.rise[n] = l, r-l
			n++
		}
	}
	ids := b.result.ID[y*b.ImageW+x0 : y*b.ImageW+x1]
	bests, winners := b.best[:len(ids)], b.winner[:len(ids)]
	kernel.HighestLines(bests, winners, b.columns.fraction[x0:x1], b.left[:n], b.rise[:n])
	var denominators []float64
	if b.needShare {
		denominators = b.softmax.row(len(ids))
	}
	last := int(b.rowLabels[winners[0]])
	t := b.tallies[last] // of the label of the pixel before
	for x, best := range bests {
		label, share := int(b.rowLabels[winners[x]]), 0.0
		if b.needShare {
			share = b.softmax.share(best, denominators[x])
			if share < b.Background {
				label = b.Labels
			}
		}
		if label != last {
			b.tallies[last], t = t, b.tallies[label]
			last = label
		}
		ids[x] = uint16(label)
		t.pixels++
		t.score += float64(best)
		t.share += share
		if b.result.Confidence != nil {
			b.result.Confidence[y*b.ImageW+x0+x] = float32(share)
		}
	}
	b.tallies[last] = t
}
