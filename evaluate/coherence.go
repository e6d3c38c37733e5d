package evaluate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pacl/pacl/internal/kernel"
)

// CoherenceOptions say how the semantic coherence of an encoder is computed.
type CoherenceOptions struct {
	RunOptions
	// ExactPairs is up to how many pairs the area is computed exactly, by sorting; 0 is 1e8. Beyond, a histogram of
	// 2^20 bins is used and its error bound given.
	ExactPairs int64
	// Sample draws that many patches of the whole data set; 0 takes all.
	Sample int
	Seed   uint64
	// Replicates of the bootstrap over images; 0 is none.
	Replicates int
}

// CoherenceResult says how well the cosine of two patches tells whether they show the same class.
type CoherenceResult struct {
	Protocol   string       `json:"protocol"`
	AUC        float64      `json:"auc"`
	ErrorBound float64      `json:"error_bound"` // 0 where the area is exact
	Low        *float64     `json:"low"`         // 95 % interval by bootstrap over images, null where not asked for
	High       *float64     `json:"high"`
	Note       string       `json:"note,omitempty"`
	Patches    int          `json:"patches"`
	Pairs      int64        `json:"pairs"`
	Same       int64        `json:"same"`
	Images     int          `json:"images"`
	ROC        [][2]float64 `json:"roc"` // [false positive rate, true positive rate], rising
	Seconds    float64      `json:"seconds"`

	// PerImage holds the pairs with the same label that an image has a part in, half of each pair to either patch, and how
	// many different pairs they are above (as a share, by the histogram): over all images their quotient is the area.
	PerImage []ImageScore `json:"-"`
}

// cosineBins is the resolution of the histogram over cosines from -1 to 1.
const cosineBins = 1 << 20

// coherencePatches are the labelled patches of a data set in the order of its images.
type coherencePatches struct {
	width  int
	unit   []float32 // [patches, width], divided by their lengths when they are many (normalise)
	label  []uint16  // [patches]
	starts []int     // [images+1]
}

// Coherence measures the area under the ROC curve of the cosines of pairs of patches of one data set against "same
// label". All pairs count, those within an image too; ties count half.
func Coherence(ctx context.Context, d *Dataset, encoder PatchEncoder, p Protocol, o CoherenceOptions) (*CoherenceResult, error) {
	started := time.Now()
	patches, err := collectPatches(ctx, d, encoder, o)
	if err != nil {
		return nil, err
	}
	result, err := patches.coherence(ctx, o)
	if err != nil {
		return nil, err
	}
	p.Identify(d)
	if p.More == nil {
		p.More = map[string]string{}
	}
	if o.Sample > 0 {
		p.More["sample"], p.More["seed"] = fmt.Sprint(o.Sample), fmt.Sprint(o.Seed)
	}
	if o.ExactPairs > 0 {
		p.More["exact"] = fmt.Sprint(o.ExactPairs)
	}
	for i := range result.PerImage {
		result.PerImage[i].Key = d.Items[i].Key
	}
	result.Protocol, result.Images, result.Seconds = p.String(), len(d.Items), time.Since(started).Seconds()
	return result, nil
}

// Record returns what compare needs of the result.
func (r *CoherenceResult) Record(model string) *Record {
	return &Record{Protocol: r.Protocol, Model: model, Measure: "auc", Images: r.PerImage}
}

func collectPatches(ctx context.Context, d *Dataset, encoder PatchEncoder, o CoherenceOptions) (*coherencePatches, error) {
	const largest = 3 << 30 // bytes of vectors
	type part struct {
		unit  []float32
		label []uint16
	}
	parts := make([]part, len(d.Items))
	var mutex sync.Mutex
	done, width, bytes := 0, 0, 0
	err := forEach(ctx, len(d.Items), o.workers(), func(ctx context.Context, i int) error {
		labels, vectors, err := labelled(ctx, d, d.Items[i], encoder)
		if err != nil {
			return err
		}
		var keep part
		for cell, label := range labels {
			if label == Ignored {
				continue
			}
			keep.label = append(keep.label, label)
			keep.unit = append(keep.unit, vectors.Vectors[cell*vectors.Width:(cell+1)*vectors.Width]...)
		}
		for from := 0; from < len(keep.unit); from += vectors.Width {
			if length := length(keep.unit[from : from+vectors.Width]); !(length > 0) || math.IsInf(length, 0) {
				return fmt.Errorf("encode %s: the vector of a patch has length %v, expected a direction", d.Items[i].Key, length)
			}
		}
		parts[i] = keep
		mutex.Lock()
		defer mutex.Unlock()
		done++
		if width == 0 {
			width = vectors.Width
		}
		if bytes += 4 * len(keep.unit); bytes > largest {
			return fmt.Errorf("coherence: the patch vectors take more than %d GB, expected fewer images or a sample of patches", largest>>30)
		}
		if width != vectors.Width {
			return fmt.Errorf("coherence: patches of width %d and %d", width, vectors.Width)
		}
		if o.Progress != nil {
			o.Progress(done, len(d.Items))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := &coherencePatches{width: width, starts: []int{0}}
	for _, part := range parts {
		all.unit = append(all.unit, part.unit...)
		all.label = append(all.label, part.label...)
		all.starts = append(all.starts, len(all.label))
	}
	if o.Sample > 0 && o.Sample < len(all.label) {
		all = all.sample(o.Sample, o.Seed)
	}
	return all, nil
}

func length(vector []float32) float64 {
	var sum float64
	for _, v := range vector {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// normalise divides each vector by its length.
func (c *coherencePatches) normalise() {
	kernel.Parallel(len(c.label), func(_, i int) {
		row := c.unit[i*c.width : (i+1)*c.width]
		length := length(row)
		for k := range row {
			row[k] = float32(float64(row[k]) / length)
		}
	})
}

// sample draws n patches, all sets being equally likely, and keeps their order.
func (c *coherencePatches) sample(n int, seed uint64) *coherencePatches {
	random := rand.New(rand.NewPCG(seed, 0x73616d706c65))
	chosen := &coherencePatches{width: c.width, starts: []int{0}}
	seen, left := 0, n
	for image := range len(c.starts) - 1 {
		for i := c.starts[image]; i < c.starts[image+1]; i++ {
			if random.IntN(len(c.label)-seen) < left {
				left--
				chosen.label = append(chosen.label, c.label[i])
				chosen.unit = append(chosen.unit, c.unit[i*c.width:(i+1)*c.width]...)
			}
			seen++
		}
		chosen.starts = append(chosen.starts, len(chosen.label))
	}
	return chosen
}

// rows computes the cosines of the patches of each image with all patches behind them, and gives them row by row:
// cosine[k] is that of patches i and i+1+k. Images are handed out to workers.
func (c *coherencePatches) rows(ctx context.Context, use func(worker, image, i int, cosine []float32)) error {
	n := len(c.label)
	type scratch struct{ cosine []float32 }
	perWorker := make([]scratch, kernel.Workers())
	kernel.Parallel(len(c.starts)-1, func(worker, image int) {
		workspace := kernel.GetWorkspace()
		defer workspace.Release()
		const block = 64 // rows whose cosines are held at a time
		for from := c.starts[image]; from < c.starts[image+1]; from += block {
			if ctx.Err() != nil {
				return
			}
			to := min(from+block, c.starts[image+1])
			s := &perWorker[worker]
			if need := (to - from) * (n - from); len(s.cosine) < need {
				s.cosine = make([]float32, need)
			}
			product := kernel.FromFloat32(s.cosine[:(to-from)*(n-from)], to-from, n-from)
			left := kernel.FromFloat32(c.unit[from*c.width:to*c.width], to-from, c.width)
			right := kernel.FromFloat32(c.unit[from*c.width:], n-from, c.width)
			workspace.Gemm(product, 1, left, false, right, true, false, kernel.Float32)
			for i := from; i < to; i++ {
				use(worker, image, i, product.Row(i - from)[i+1-from:])
			}
		}
	})
	return ctx.Err()
}

// smallPairs is up to how many pairs cosines are computed and sorted in float64.
const smallPairs = 1 << 20

func (c *coherencePatches) coherence(ctx context.Context, o CoherenceOptions) (*CoherenceResult, error) {
	n := int64(len(c.label))
	result := &CoherenceResult{Patches: len(c.label), Pairs: n * (n - 1) / 2}
	perLabel := map[uint16]int64{}
	for _, label := range c.label {
		result.Same += perLabel[label]
		perLabel[label]++
	}
	different := result.Pairs - result.Same
	if result.Same == 0 || different == 0 {
		return nil, fmt.Errorf("coherence: %d pairs of patches with the same label and %d with different ones, expected some of both", result.Same, different)
	}
	exact := o.ExactPairs
	if exact == 0 {
		exact = 1e8
	}
	small := result.Pairs <= min(exact, smallPairs)
	if small {
		same, other := c.cosines64()
		result.AUC = AUC(same, other)
	}
	c.normalise()
	histogram, err := c.histogram(ctx)
	if err != nil {
		return nil, err
	}
	area, bound := histogram.area()
	switch {
	case small:
	case result.Pairs <= exact:
		if result.AUC, err = c.sortedArea(ctx, result.Same, different); err != nil {
			return nil, err
		}
	default:
		result.AUC, result.ErrorBound = area, bound
	}
	result.ROC = histogram.roc(200)
	if result.PerImage, err = c.perImage(ctx, histogram); err != nil {
		return nil, err
	}
	if o.Replicates > 0 {
		low, high, note, err := c.bootstrap(ctx, histogram, result.AUC, o)
		if err != nil {
			return nil, err
		}
		result.Note = note
		if note == "" {
			result.Low, result.High = &low, &high
		}
	}
	return result, nil
}

// cosines64 computes all cosines in float64.
func (c *coherencePatches) cosines64() (same, other []float64) {
	vector := func(i int) []float32 { return c.unit[i*c.width : (i+1)*c.width] }
	lengths := make([]float64, len(c.label))
	for i := range lengths {
		lengths[i] = length(vector(i))
	}
	for i := range c.label {
		a := vector(i)
		for j := i + 1; j < len(c.label); j++ {
			var dot float64
			for k, v := range vector(j) {
				dot += float64(a[k]) * float64(v)
			}
			dot /= lengths[i] * lengths[j]
			if c.label[i] == c.label[j] {
				same = append(same, dot)
			} else {
				other = append(other, dot)
			}
		}
	}
	return same, other
}

// AUC is the probability that a value of one list is above a value of the other, equal ones counting half. It sorts both.
func AUC(above, below []float64) float64 {
	slices.Sort(above)
	slices.Sort(below)
	return sortedAUC(above, below)
}

// sortedAUC counts in integers: twice the number of ordered pairs plus the ties.
func sortedAUC[T float64 | uint32](above, below []T) float64 {
	var twice float64
	lower, upTo := 0, 0
	for _, v := range above {
		for lower < len(below) && below[lower] < v {
			lower++
		}
		upTo = max(upTo, lower)
		for upTo < len(below) && below[upTo] == v {
			upTo++
		}
		twice += float64(lower + upTo)
	}
	return twice / 2 / float64(len(above)) / float64(len(below))
}

// sortedArea computes the exact area from float32 cosines.
func (c *coherencePatches) sortedArea(ctx context.Context, same, different int64) (float64, error) {
	// Where the pairs of row i begin among those of the same and of different labels.
	n := len(c.label)
	sameStart, otherStart := make([]int64, n+1), make([]int64, n+1)
	later := map[uint16]int64{}
	for _, label := range c.label {
		later[label]++
	}
	for i, label := range c.label {
		later[label]--
		sameStart[i+1] = sameStart[i] + later[label]
		otherStart[i+1] = otherStart[i] + int64(n-1-i) - later[label]
	}
	equal, other := make([]uint32, same), make([]uint32, different)
	err := c.rows(ctx, func(_, _, i int, cosine []float32) {
		s, d := sameStart[i], otherStart[i]
		for k, v := range cosine {
			if c.label[i+1+k] == c.label[i] {
				equal[s] = orderedBits(v)
				s++
			} else {
				other[d] = orderedBits(v)
				d++
			}
		}
	})
	if err != nil {
		return 0, err
	}
	scratch := make([]uint32, max(same, different))
	radixSort(equal, scratch)
	radixSort(other, scratch)
	return sortedAUC(equal, other), nil
}

// orderedBits maps float32 to integers of the same order.
func orderedBits(v float32) uint32 {
	if v == 0 {
		v = 0 // -0 and 0 are equal
	}
	bits := math.Float32bits(v)
	if bits>>31 != 0 {
		return ^bits
	}
	return bits | 1<<31
}

// radixSort sorts in three passes of eleven bits; scratch is at least as long as keys.
func radixSort(keys, scratch []uint32) {
	const bits = 11
	from, to := keys, scratch[:len(keys)]
	for shift := 0; shift < 32; shift += bits {
		var count [1 << bits]int
		for _, k := range from {
			count[k>>shift&(1<<bits-1)]++
		}
		sum := 0
		for i, n := range count {
			count[i] = sum
			sum += n
		}
		for _, k := range from {
			digit := k >> shift & (1<<bits - 1)
			to[count[digit]] = k
			count[digit]++
		}
		from, to = to, from
	}
	copy(keys, from) // three passes end in the scratch memory
}

// cosineHistogram counts pairs by cosine.
type cosineHistogram struct {
	same, other []int64 // [cosineBins]
}

func cosineBin(v float32) int {
	return min(max(int((float64(v)+1)*(cosineBins/2)), 0), cosineBins-1)
}

func (c *coherencePatches) histogram(ctx context.Context) (*cosineHistogram, error) {
	perWorker := make([]cosineHistogram, kernel.Workers())
	err := c.rows(ctx, func(worker, _, i int, cosine []float32) {
		h := &perWorker[worker]
		if h.same == nil {
			h.same, h.other = make([]int64, cosineBins), make([]int64, cosineBins)
		}
		for k, v := range cosine {
			if c.label[i+1+k] == c.label[i] {
				h.same[cosineBin(v)]++
			} else {
				h.other[cosineBin(v)]++
			}
		}
	})
	total := &cosineHistogram{make([]int64, cosineBins), make([]int64, cosineBins)}
	for _, h := range perWorker {
		for b := range h.same {
			total.same[b] += h.same[b]
			total.other[b] += h.other[b]
		}
	}
	return total, err
}

// area takes pairs of one bin for ties; the bound is what that can be wrong by.
func (h *cosineHistogram) area() (area, bound float64) {
	var below, same, sum, ties float64
	for b, n := range h.same {
		sum += float64(n) * (below + float64(h.other[b])/2)
		ties += float64(n) * float64(h.other[b]) / 2
		below += float64(h.other[b])
		same += float64(n)
	}
	return sum / same / below, ties / same / below
}

// roc returns about n points of the curve from (0, 0) to (1, 1), evenly spaced along it.
func (h *cosineHistogram) roc(n int) [][2]float64 {
	var same, other int64
	for b := range h.same {
		same += h.same[b]
		other += h.other[b]
	}
	points := [][2]float64{{0, 0}}
	var tp, fp int64
	for b := cosineBins - 1; b >= 0; b-- {
		tp += h.same[b]
		fp += h.other[b]
		x, y := float64(fp)/float64(other), float64(tp)/float64(same)
		last := points[len(points)-1]
		if x-last[0]+y-last[1] >= 2/float64(n) {
			points = append(points, [2]float64{x, y})
		}
	}
	if points[len(points)-1] != [2]float64{1, 1} {
		points = append(points, [2]float64{1, 1})
	}
	return points
}

// imageOf returns the image of each patch.
func (c *coherencePatches) imageOf() []int32 {
	of := make([]int32, len(c.label))
	for image := range len(c.starts) - 1 {
		for i := c.starts[image]; i < c.starts[image+1]; i++ {
			of[i] = int32(image)
		}
	}
	return of
}

// perImage splits the area among the images.
func (c *coherencePatches) perImage(ctx context.Context, h *cosineHistogram) ([]ImageScore, error) {
	// Shares are summed as whole numbers of 2^-24, so that the sum does not depend on its order.
	const one = 1 << 24
	above := make([]int64, cosineBins)
	var below, different float64
	for _, n := range h.other {
		different += float64(n)
	}
	for b, n := range h.other {
		above[b] = int64(math.Round(one * (below + float64(n)/2) / different))
		below += float64(n)
	}
	type sums struct{ right, total []int64 }
	images, imageOf := len(c.starts)-1, c.imageOf()
	perWorker := make([]sums, kernel.Workers())
	err := c.rows(ctx, func(worker, image, i int, cosine []float32) {
		s := &perWorker[worker]
		if s.right == nil {
			s.right, s.total = make([]int64, images), make([]int64, images)
		}
		for k, v := range cosine {
			j := i + 1 + k
			if c.label[j] != c.label[i] {
				continue
			}
			share := above[cosineBin(v)]
			s.right[image] += share
			s.total[image]++
			s.right[imageOf[j]] += share
			s.total[imageOf[j]]++
		}
	})
	scores := make([]ImageScore, images)
	for image := range scores {
		var right, total int64
		for _, s := range perWorker {
			if s.right != nil {
				right += s.right[image]
				total += s.total[image]
			}
		}
		scores[image].Right, scores[image].Total = float64(right)/one/2, float64(total)/2
	}
	return scores, err
}

// bootstrap draws images with replacement and computes the area of each draw from histograms of the pairs of images. A
// pair of patches counts as often as both their images were drawn together, a pair within an image as often as it was
// drawn; pairs between copies of one image do not count. The histograms are coarse, so the draws are taken relative to
// the area that they give for the data set itself.
func (c *coherencePatches) bootstrap(ctx context.Context, fine *cosineHistogram, area float64, o CoherenceOptions) (low, high float64, note string, err error) {
	images := len(c.starts) - 1
	const memory = 512 << 20
	pairs := images * (images + 1) / 2
	bins := min(256, memory/8/max(pairs, 1))
	if bins < 16 {
		return 0, 0, fmt.Sprintf("no interval: the bootstrap over %d images needs too much memory, at most about 2900 can be drawn", images), nil
	}
	// Bins hold about the same number of pairs.
	coarse := make([]uint8, cosineBins)
	var total, seen int64
	for b := range fine.same {
		total += fine.same[b] + fine.other[b]
	}
	for b := range coarse {
		coarse[b] = uint8(min(seen*int64(bins)/total, int64(bins-1)))
		seen += fine.same[b] + fine.other[b]
	}
	index := func(a, b int) int { return a*images - a*(a-1)/2 + b - a } // a <= b
	counts := make([]uint32, 2*pairs*bins)                              // [image pair][same, other][bins]
	imageOf := c.imageOf()
	err = c.rows(ctx, func(_, image, i int, cosine []float32) {
		for k, v := range cosine {
			j := i + 1 + k
			at := 2 * index(image, int(imageOf[j])) * bins
			if c.label[j] != c.label[i] {
				at += bins
			}
			counts[at+int(coarse[cosineBin(v)])]++
		}
	})
	if err != nil {
		return 0, 0, "", err
	}
	draw := func(weights []int64) float64 {
		sums := make([]float64, 2*bins)
		for a := range images {
			if weights[a] == 0 {
				continue
			}
			for b := a; b < images; b++ {
				w := weights[a] * weights[b]
				if a == b {
					w = weights[a]
				}
				if w == 0 {
					continue
				}
				for k, n := range counts[2*index(a, b)*bins:][:2*bins] {
					sums[k] += float64(w) * float64(n)
				}
			}
		}
		var below, same, sum float64
		for k, n := range sums[:bins] {
			sum += n * (below + sums[bins+k]/2)
			below += sums[bins+k]
			same += n
		}
		return sum / same / below
	}
	weights := make([]int64, images)
	for i := range weights {
		weights[i] = 1
	}
	centre := draw(weights)
	random := rand.New(rand.NewPCG(o.Seed, 0x61726561))
	draws := make([][]int64, o.Replicates)
	for r := range draws {
		draws[r] = make([]int64, images)
		for range images {
			draws[r][random.IntN(images)]++
		}
	}
	areas := make([]float64, o.Replicates)
	kernel.Parallel(o.Replicates, func(_, r int) {
		if ctx.Err() == nil {
			areas[r] = area + draw(draws[r]) - centre
		}
	})
	areas = slices.DeleteFunc(areas, math.IsNaN) // draws in which all patches have one label
	if len(areas) == 0 {
		return 0, 0, "no interval: no draw of images has patches of two labels", ctx.Err()
	}
	low, high = interval(areas)
	return low, high, "", ctx.Err()
}
