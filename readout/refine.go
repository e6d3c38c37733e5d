package readout

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/pacl/pacl/internal/kernel"
)

// Refinement is PAMR, pixel-adaptive mask refinement (Araslanov and Roth, Single-Stage Semantic Segmentation from Image
// Labels, CVPR 2020): each pixel's scores are replaced, some times, by a mean over neighbours, of which those of a
// similar colour weigh more. The neighbours are the eight around a pixel at each of some distances; the weight of
// neighbour j of pixel i is the softmax over neighbours of the mean over colours of -|x_i - x_j| / (0.1 std_i), the
// deviation being taken over the neighbours and the pixel itself. Edges are replicated.
type Refinement struct {
	Dilations  []int
	Iterations int
}

// DefaultRefinement is what the open-vocabulary literature uses.
func DefaultRefinement() Refinement { return Refinement{Dilations: []int{8, 16}, Iterations: 10} }

// String is how protocols print it.
func (r Refinement) String() string {
	var list []string
	for _, d := range r.Dilations {
		list = append(list, fmt.Sprint(d))
	}
	return fmt.Sprintf("pamr(%s)x%d", strings.Join(list, ","), r.Iterations)
}

// ParseRefinement reads what String prints; "pamr" alone is the default.
func ParseRefinement(text string) (Refinement, error) {
	if text == "pamr" {
		return DefaultRefinement(), nil
	}
	var list string
	var r Refinement
	if inner, ok := strings.CutPrefix(text, "pamr("); ok {
		var times string
		if list, times, ok = strings.Cut(inner, ")x"); ok {
			if _, err := fmt.Sscanf(times, "%d", &r.Iterations); err == nil {
				for _, field := range strings.Split(list, ",") {
					var d int
					if _, err := fmt.Sscanf(field, "%d", &d); err != nil {
						break
					}
					r.Dilations = append(r.Dilations, d)
				}
			}
		}
	}
	if r.String() != text || r.Check() != nil {
		return Refinement{}, fmt.Errorf("refinement %q, expected pamr or as %v", text, DefaultRefinement())
	}
	return r, nil
}

// Check reports a refinement that cannot be done.
func (r Refinement) Check() error {
	if len(r.Dilations) == 0 || len(r.Dilations) > 16 || r.Iterations < 1 || r.Iterations > 1000 {
		return fmt.Errorf("refinement: %d distances and %d iterations, expected 1 to 16 and 1 to 1000", len(r.Dilations), r.Iterations)
	}
	for _, d := range r.Dilations {
		if d < 1 || d > 1024 {
			return fmt.Errorf("refinement: distance %d, expected 1 to 1024 pixels", d)
		}
	}
	return nil
}

func (r Refinement) reach() int {
	reach := 0
	for _, d := range r.Dilations {
		reach = max(reach, d)
	}
	return reach
}

// refineMemory bounds the bytes that a band's weights and planes take.
const refineMemory = 256 << 20

// SegmentRefined is Segment on scores that are up-sampled and then refined by the photo's colours, pixels being its RGB
// values [ImageH, ImageW, 3]. One label is refined after the other, in bands of rows that overlap by what the refinement
// reaches, so that the result is the same as that of the whole picture at once.
func SegmentRefined(ctx context.Context, s Scores, pixels []uint8, r Refinement, o Options) (*Segmentation, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	if len(pixels) != 3*s.ImageH*s.ImageW {
		return nil, fmt.Errorf("refinement: %d values of pixels, expected 3x%dx%d", len(pixels), s.ImageH, s.ImageW)
	}
	if o.Background < 0 || o.Background > 1 || math.IsNaN(o.Background) {
		return nil, fmt.Errorf("read-out: background threshold %v, expected 0 to 1", o.Background)
	}
	needShare := o.Background > 0 || o.Confidence || o.ConfidenceMap
	if needShare && !(o.LogitScale > 0 && o.LogitScale <= 1e6) {
		return nil, fmt.Errorf("read-out: logit scale %v, expected above 0 and at most 1e6", o.LogitScale)
	}
	if err := o.Prior.Check(); err != nil {
		return nil, err
	}
	s, added := s.raise(o.Prior)
	s.Data = finite(s.Data)
	result := &Segmentation{Width: s.ImageW, Height: s.ImageH, ID: make([]uint16, s.ImageH*s.ImageW), Stats: make([]Stat, s.Labels+1)}
	if o.ConfidenceMap {
		result.Confidence = make([]float32, len(result.ID))
	}
	tallies := make([]tally, s.Labels+1)
	rf := newRefiner(s, pixels, r, refineMemory)
	for y0 := 0; y0 < s.ImageH; y0 += rf.rowsPerBand {
		y1 := min(y0+rf.rowsPerBand, s.ImageH)
		n := (y1 - y0) * s.ImageW
		best, sum := make([]float32, n), []float64(nil)
		ids := result.ID[y0*s.ImageW : y1*s.ImageW]
		for i := range best {
			best[i], ids[i] = floor, uint16(s.Labels)
		}
		if needShare {
			sum = make([]float64, n) // of exp(scale*(score - best)) over the labels so far
		}
		err := rf.band(ctx, y0, y1, func(label, y int, row []float32) {
			at := (y - y0) * s.ImageW
			best, ids := best[at:at+len(row)], ids[at:at+len(row)]
			for x, v := range row {
				if needShare && v > floor {
					if v > best[x] {
						sum[at+x] = sum[at+x]*math.Exp(o.LogitScale*float64(best[x]-v)) + 1
					} else {
						sum[at+x] += math.Exp(o.LogitScale * float64(v-best[x]))
					}
				}
				if v > best[x] {
					best[x], ids[x] = v, uint16(label)
				}
			}
		})
		if err != nil {
			return nil, err
		}
		for i, id := range ids {
			label, share := int(id), 0.0
			if label < s.Labels && needShare {
				share = 1 / sum[i]
				if share < o.Background {
					label = s.Labels
					ids[i] = uint16(label)
				}
			}
			t := &tallies[label]
			t.pixels++
			t.score += float64(best[i])
			t.share += share
			if result.Confidence != nil {
				result.Confidence[y0*s.ImageW+i] = float32(share)
			}
		}
	}
	result.summarise([][]tally{tallies}, added, o)
	return result, nil
}

// refiner holds the memory of one band.
type refiner struct {
	Scores
	Refinement
	pixels        []uint8
	rows, columns axis
	rowsPerBand   int
	pad           int // columns that are replicated left and right

	weights [][]float32 // [neighbours][rows of the band and around it, ImageW]
	planes  [2][]float32
}

func newRefiner(s Scores, pixels []uint8, r Refinement, memory int) *refiner {
	rf := &refiner{Scores: s, Refinement: r, pixels: pixels, rows: s.rows(), columns: s.columns(), pad: r.reach()}
	around := 2 * r.Iterations * r.reach()
	perRow := 4 * (8*len(r.Dilations)*s.ImageW + 2*(s.ImageW+2*rf.pad) + 4*s.ImageW)
	rf.rowsPerBand = min(s.ImageH, max(64, memory/perRow-around))
	return rf
}

// offset is where a neighbour lies.
type offset struct{ dy, dx int }

func (r Refinement) offsets() []offset {
	var list []offset
	for _, d := range r.Dilations {
		for dy := -1; dy <= 1; dy++ {
			for dx := -1; dx <= 1; dx++ {
				if dy != 0 || dx != 0 {
					list = append(list, offset{dy * d, dx * d})
				}
			}
		}
	}
	return list
}

// band refines the rows y0..y1 of one label after the other and hands them over row by row; rows of one label come from
// several goroutines at once.
func (rf *refiner) band(ctx context.Context, y0, y1 int, use func(label, y int, row []float32)) error {
	reach := rf.reach()
	top, bottom := max(y0-rf.Iterations*reach, 0), min(y1+rf.Iterations*reach, rf.ImageH)
	offsets := rf.offsets()
	rf.computeWeights(offsets, top, bottom)
	stride := rf.ImageW + 2*rf.pad
	for i := range rf.planes {
		if need := (bottom - top) * stride; len(rf.planes[i]) < need {
			rf.planes[i] = make([]float32, need)
		}
	}
	plane := func(p []float32, y int) []float32 { // a row with its padding
		return p[(y-top)*stride : (y-top+1)*stride]
	}
	replicate := func(row []float32) {
		for i := range rf.pad {
			row[i] = row[rf.pad]
			row[len(row)-1-i] = row[len(row)-1-rf.pad]
		}
	}
	for label := range rf.Labels {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to := rf.planes[0], rf.planes[1]
		inRows(top, bottom, func(a, b int) {
			line := make([]float32, rf.GridW)
			for y := a; y < b; y++ {
				row := plane(from, y)
				upsampleRow(row[rf.pad:rf.pad+rf.ImageW], rf.Data[label:], rf.Labels, rf.GridW, y, rf.rows, rf.columns, line)
				replicate(row)
			}
		})
		for iteration := 1; iteration <= rf.Iterations; iteration++ {
			// What lies further away no longer reaches the band.
			around := (rf.Iterations - iteration) * reach
			a, b := max(y0-around, 0), min(y1+around, rf.ImageH)
			inRows(a, b, func(a, b int) {
				for y := a; y < b; y++ {
					row := plane(to, y)
					rf.meanRow(row[rf.pad:rf.pad+rf.ImageW], offsets, y, top, func(y int) []float32 { return plane(from, min(max(y, 0), rf.ImageH-1)) })
					replicate(row)
				}
			})
			from, to = to, from
		}
		inRows(y0, y1, func(a, b int) {
			for y := a; y < b; y++ {
				use(label, y, plane(from, y)[rf.pad:rf.pad+rf.ImageW])
			}
		})
	}
	return nil
}

// meanRow writes the weighted mean of the neighbours of row y; source returns a padded row.
func (rf *refiner) meanRow(dst []float32, offsets []offset, y, top int, source func(y int) []float32) {
	clear(dst)
	at := (y - top) * rf.ImageW
	n := len(dst)
	for k := 0; k < len(offsets); k += 4 { // there are eight for each distance
		var w, m [4][]float32
		for j := range w {
			o := offsets[k+j]
			w[j] = rf.weights[k+j][at : at+n]
			m[j] = source(y + o.dy)[rf.pad+o.dx:][:n]
		}
		w0, w1, w2, w3 := w[0][:n], w[1][:n], w[2][:n], w[3][:n]
		m0, m1, m2, m3 := m[0][:n], m[1][:n], m[2][:n], m[3][:n]
		for x := range dst {
			dst[x] += w0[x]*m0[x] + w1[x]*m1[x] + w2[x]*m2[x] + w3[x]*m3[x]
		}
	}
}

// computeWeights fills the weights of the neighbours for the rows top..bottom.
func (rf *refiner) computeWeights(offsets []offset, top, bottom int) {
	if rf.weights == nil {
		rf.weights = make([][]float32, len(offsets))
	}
	need := (bottom - top) * rf.ImageW
	for k := range rf.weights {
		if len(rf.weights[k]) < need {
			rf.weights[k] = make([]float32, need)
		}
	}
	samples := float64(9 * len(rf.Dilations)) // the pixel itself counts once for each distance
	inRows(top, bottom, func(a, b int) {
		values := make([]float64, len(offsets))
		exponents := make([]float64, len(offsets))
		for y := a; y < b; y++ {
			for x := range rf.ImageW {
				clear(exponents)
				for c := range 3 {
					here := float64(rf.pixels[3*(y*rf.ImageW+x)+c])
					var sum, squares float64 // of differences to the pixel: exact in integers
					for k, o := range offsets {
						ny, nx := min(max(y+o.dy, 0), rf.ImageH-1), min(max(x+o.dx, 0), rf.ImageW-1)
						d := float64(rf.pixels[3*(ny*rf.ImageW+nx)+c]) - here
						values[k] = d
						sum += d
						squares += d * d
					}
					deviation := math.Sqrt((squares - sum*sum/samples) / (samples - 1))
					scale := -1 / (3 * (1e-8 + 0.1*deviation))
					for k, d := range values {
						exponents[k] += math.Abs(d) * scale
					}
				}
				highest := math.Inf(-1)
				for _, e := range exponents {
					highest = max(highest, e)
				}
				var total float64
				for k, e := range exponents {
					exponents[k] = math.Exp(e - highest)
					total += exponents[k]
				}
				for k, e := range exponents {
					rf.weights[k][(y-top)*rf.ImageW+x] = float32(e / total)
				}
			}
		}
	})
}

// inRows calls f for parts of the rows y0..y1, in parallel.
func inRows(y0, y1 int, f func(a, b int)) {
	const rows = 32
	kernel.Parallel((y1-y0+rows-1)/rows, func(_, i int) {
		f(y0+i*rows, min(y0+(i+1)*rows, y1))
	})
}
