package evaluate

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Comparison is the difference of two runs over the same images.
type Comparison struct {
	Measure      string        `json:"measure"`
	ProtocolA    string        `json:"protocol_a"`
	ProtocolB    string        `json:"protocol_b"`
	A            float64       `json:"a"`
	B            float64       `json:"b"`
	Difference   float64       `json:"difference"` // B - A
	Low          float64       `json:"low"`        // 95 % interval of the difference
	High         float64       `json:"high"`
	Replicates   int           `json:"replicates"`
	Seed         uint64        `json:"seed"`
	Images       int           `json:"images"`
	Changed      []ImageChange `json:"changed"` // most first
	SameProtocol bool          `json:"same_protocol"`
}

// ImageChange is the measure of one image in two runs.
type ImageChange struct {
	Key  string  `json:"key"`
	A    float64 `json:"a"`
	B    float64 `json:"b"`
	Diff float64 `json:"difference"`
}

// CompareOptions say how Compare draws.
type CompareOptions struct {
	Replicates int // of the bootstrap; 0 is 1000
	Seed       uint64
	Changed    int // images to list; 0 is 10
}

// Compare estimates how much better B is than A: the images are drawn with replacement, the same draw for both runs, and
// the measure of each draw is taken over all its images, as the experiments do. The interval spans the middle 95 % of the
// differences.
func Compare(a, b *Record, o CompareOptions) (*Comparison, error) {
	if o.Replicates == 0 {
		o.Replicates = 1000
	}
	if o.Changed == 0 {
		o.Changed = 10
	}
	if a.Measure != b.Measure {
		return nil, fmt.Errorf("compare: one run measures %s, the other %s", a.Measure, b.Measure)
	}
	if !slices.Equal(a.Classes, b.Classes) {
		return nil, fmt.Errorf("compare: the runs have other classes: %s and %s", shortList(a.Classes), shortList(b.Classes))
	}
	if len(a.Images) != len(b.Images) || len(a.Images) == 0 {
		return nil, fmt.Errorf("compare: runs over %d and %d images, expected the same images", len(a.Images), len(b.Images))
	}
	other := make(map[string]int, len(b.Images))
	for i, image := range b.Images {
		other[image.Key] = i
	}
	pairs := make([]ImageScore, len(a.Images)) // b's images in a's order
	for i, image := range a.Images {
		j, ok := other[image.Key]
		if !ok {
			return nil, fmt.Errorf("compare: image %s is in one run only", image.Key)
		}
		pairs[i] = b.Images[j]
	}
	c := &Comparison{
		Measure: a.Measure, ProtocolA: a.Protocol, ProtocolB: b.Protocol, SameProtocol: a.Protocol == b.Protocol,
		Replicates: o.Replicates, Seed: o.Seed, Images: len(pairs),
	}
	weights := make([]int64, len(pairs))
	for i := range weights {
		weights[i] = 1
	}
	measureA, measureB := newMeasure(a, a.Images), newMeasure(b, pairs)
	c.A, c.B = measureA(weights), measureB(weights)
	c.Difference = c.B - c.A
	random := rand.New(rand.NewPCG(o.Seed, 0x626f6f74))
	differences := make([]float64, o.Replicates)
	for r := range differences {
		clear(weights)
		for range weights {
			weights[random.IntN(len(weights))]++
		}
		differences[r] = measureB(weights) - measureA(weights)
	}
	c.Low, c.High = interval(differences)
	for i, image := range a.Images {
		va, okA := a.imageValue(image)
		vb, okB := b.imageValue(pairs[i])
		if okA && okB {
			c.Changed = append(c.Changed, ImageChange{Key: image.Key, A: va, B: vb, Diff: vb - va})
		}
	}
	slices.SortStableFunc(c.Changed, func(x, y ImageChange) int {
		if d := math.Abs(y.Diff) - math.Abs(x.Diff); d != 0 {
			return int(math.Copysign(1, d))
		}
		return strings.Compare(x.Key, y.Key)
	})
	c.Changed = c.Changed[:min(o.Changed, len(c.Changed))]
	return c, nil
}

// Interval returns the 95 % interval of the measure by bootstrap over the images: they are drawn with replacement so many
// times, and the measure of each draw is taken over all its images.
func (r *Record) Interval(replicates int, seed uint64) (low, high float64) {
	measure := newMeasure(r, r.Images)
	random := rand.New(rand.NewPCG(seed, 0x626f6f74))
	weights := make([]int64, len(r.Images))
	values := make([]float64, replicates)
	for i := range values {
		clear(weights)
		for range weights {
			weights[random.IntN(len(weights))]++
		}
		values[i] = measure(weights)
	}
	return interval(values)
}

// newMeasure returns the measure of a weighted set of images.
func newMeasure(r *Record, images []ImageScore) func(weights []int64) float64 {
	if r.Measure != "miou" {
		return func(weights []int64) float64 {
			var right, total float64
			for i, image := range images {
				right += float64(weights[i]) * image.Right
				total += float64(weights[i]) * image.Total
			}
			return orZero(right / total)
		}
	}
	// mIoU needs three counts a class and image.
	type counts struct {
		class              int
		hits, truth, given int64
	}
	perImage := make([][]counts, len(images))
	for i, image := range images {
		byClass := map[int64]*counts{}
		at := func(class int64) *counts {
			if byClass[class] == nil {
				byClass[class] = &counts{class: int(class)}
			}
			return byClass[class]
		}
		for _, e := range image.Confusion {
			at(e[0]).truth += e[2]
			at(e[1]).given += e[2]
			if e[0] == e[1] {
				at(e[0]).hits += e[2]
			}
		}
		for _, v := range byClass {
			if v.class < len(r.Classes) {
				perImage[i] = append(perImage[i], *v)
			}
		}
	}
	sums := make([]counts, len(r.Classes))
	return func(weights []int64) float64 {
		clear(sums)
		for i, list := range perImage {
			for _, v := range list {
				s := &sums[v.class]
				s.hits += weights[i] * v.hits
				s.truth += weights[i] * v.truth
				s.given += weights[i] * v.given
			}
		}
		var sum float64
		n := 0
		for _, s := range sums {
			if s.truth > 0 {
				sum += float64(s.hits) / float64(s.truth+s.given-s.hits)
				n++
			}
		}
		return orZero(sum / float64(n))
	}
}

// interval returns the 2.5 % and 97.5 % quantiles; it sorts the values.
func interval(values []float64) (low, high float64) {
	slices.Sort(values)
	at := func(q float64) float64 {
		position := q * float64(len(values)-1)
		i := int(position)
		j := min(i+1, len(values)-1)
		return values[i] + (values[j]-values[i])*(position-float64(i))
	}
	return at(0.025), at(0.975)
}

func shortList(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s, … (%d)", strings.Join(names[:5], ", "), len(names))
	}
	return strings.Join(names, ", ")
}

// WriteText prints the comparison for people.
func (c *Comparison) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	name := measureNames[c.Measure]
	fmt.Fprintf(out, "A  %s %.2f  %s\nB  %s %.2f  %s\n", name, 100*c.A, c.ProtocolA, name, 100*c.B, c.ProtocolB)
	fmt.Fprintf(out, "B - A  %+.2f, 95 %% interval %+.2f to %+.2f (paired bootstrap over %d images, %d draws, seed %d)\n",
		100*c.Difference, 100*c.Low, 100*c.High, c.Images, c.Replicates, c.Seed)
	if !c.SameProtocol {
		fmt.Fprintln(out, "the protocols differ: the numbers do not measure the same")
	}
	if len(c.Changed) > 0 {
		fmt.Fprintf(out, "\nimages that changed most (%s of the image alone)\n", name)
	}
	for _, image := range c.Changed {
		fmt.Fprintf(out, "%+7.2f  %6.2f -> %6.2f  %s\n", 100*image.Diff, 100*image.A, 100*image.B, image.Key)
	}
	return out.Flush()
}

// WriteJSON prints the comparison as one JSON object.
func (c *Comparison) WriteJSON(w io.Writer) error { return writeJSON(w, c) }

// WriteCSV prints one line an image that changed, then the measure of both runs and the interval of the difference.
func (c *Comparison) WriteCSV(w io.Writer) error {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	rows := [][]string{{"image", "a", "b", "difference"}}
	for _, image := range c.Changed {
		rows = append(rows, []string{image.Key, number(image.A), number(image.B), number(image.Diff)})
	}
	rows = append(rows,
		[]string{"# " + c.Measure, number(c.A), number(c.B), number(c.Difference)},
		[]string{"# low", "", "", number(c.Low)},
		[]string{"# high", "", "", number(c.High)})
	return csv.NewWriter(w).WriteAll(rows)
}
