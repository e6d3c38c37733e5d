package pretrain

import (
	"math"
	"math/rand/v2"
)

// initial draws the parameters of a seed. pictures are some normalised examples [n, 3, S, S], of the recipe's first size, that the first layer is
// adapted to; nil leaves it random.
//
// Three things are not random, because a short training would spend most of its time on finding them: positions are waves
// (wavePositions), patches come in as whitened cosine coefficients (whitenPatches), and in the vision transformer's
// heads keys start equal to queries, so that a token first looks at those that resemble it in place and content (after
// "Mimetic initialization of self-attention layers", Trockman and Kolter 2023).
func (m *dual) initial(seed uint64, pictures []float32) []float32 {
	random := rand.New(rand.NewPCG(seed, 0x696e6974))
	p := make([]float32, m.layout.size)
	for _, tensor := range m.layout.parameters {
		for i := range at(p, tensor.span) {
			value := tensor.fill
			if tensor.std > 0 {
				value = random.NormFloat64() * tensor.std
			}
			p[tensor.span.from+i] = float32(value)
		}
	}
	if m.config.locked() {
		return p
	}
	side, w := m.config.Vision.ImageSize/m.config.Vision.PatchSize, m.config.Vision.Width
	if m.config.Vision.RopeTheta == 0 {
		wavePositions(at(p, m.vision.positions)[w:], side, w)
	}
	for _, b := range m.vision.blocks {
		weight := at(p, b.qkvWeight)
		copy(weight[w*w:2*w*w], weight[:w*w])
	}
	if pictures != nil {
		m.whitenPatches(at(p, m.vision.patchWeight), pictures)
	}
	return p
}

// wavePositions lets the positions of patches [side*side, w] start as sines and cosines of row and column, as in "Better
// plain ViT baselines" (Beyer et al. 2022): neighbours are then alike from the first step. A width that is no multiple of
// four keeps its last positions random.
func wavePositions(positions []float32, side, w int) {
	quarter := w / 4
	for cell := 0; cell < side*side; cell++ {
		row := positions[cell*w : (cell+1)*w]
		y, x := float64(cell/side), float64(cell%side)
		for k := 0; k < quarter; k++ {
			frequency := math.Pow(100, -float64(k)/float64(quarter))
			for i, angle := range [2]float64{y * frequency, x * frequency} {
				sin, cos := math.Sincos(angle)
				row[2*i*quarter+k], row[(2*i+1)*quarter+k] = float32(sin), float32(cos)
			}
		}
	}
}

// opponent turns red, green and blue into lightness and two colour contrasts, rows of length 1.
var opponent = [3][3]float64{{0.5774, 0.5774, 0.5774}, {0.7071, 0, -0.7071}, {0.4082, -0.8165, 0.4082}}

// whitenPatches sets the patch embedding [w, 3*P*P] to the lowest frequencies of the cosine transform, five of eight in
// lightness and the rest in colour, each scaled to variance 1, or less where it is small, over the pictures' patches. Random filters would hand on
// little but the mean colour, in which patches vary most, and outlines would be learned late.
func (m *dual) whitenPatches(weight, pictures []float32) {
	c := m.config
	patch, w := c.Vision.PatchSize, c.Vision.Width
	depth := 3 * patch * patch
	order := lowestFrequencies(patch)
	light := min(len(order), w*5/8)
	filters := make([][]float64, 0, w)
	for k := 0; k < light; k++ {
		filters = append(filters, cosineFilter(order[k], opponent[0], patch))
	}
	for k := 0; len(filters) < w && k < len(order); k++ {
		filters = append(filters, cosineFilter(order[k], opponent[1], patch))
		if len(filters) < w {
			filters = append(filters, cosineFilter(order[k], opponent[2], patch))
		}
	}
	size := c.sizeAt(0)
	rows := len(pictures) / depth
	columns := matrix(make([]float32, rows*depth), rows, depth)
	toColumns(columns, pictures, size, patch)
	for i, filter := range filters {
		var sum, square float64
		for r := 0; r < rows; r++ {
			dot := 0.0
			for k, v := range columns.row(r) {
				dot += filter[k] * float64(v)
			}
			sum += dot
			square += dot * dot
		}
		mean := sum / float64(rows)
		deviation := math.Sqrt(math.Max(square/float64(rows)-mean*mean, 0))
		for k, v := range filter {
			weight[i*depth+k] = float32(v / (deviation + noiseFloor))
		}
	}
}

// noiseFloor keeps coefficients that hold little but noise from being blown up; a sharp edge's are several times larger.
const noiseFloor = 0.5

// lowestFrequencies lists the pairs of vertical and horizontal frequency of a square patch, the lowest first.
func lowestFrequencies(patch int) [][2]int {
	var order [][2]int
	for total := 0; total <= 2*(patch-1); total++ {
		for u := max(0, total-patch+1); u <= min(total, patch-1); u++ {
			order = append(order, [2]int{u, total - u})
		}
	}
	return order
}

// cosineFilter is a cosine of the given frequencies in one colour direction, [3*P*P], of length 1.
func cosineFilter(frequency [2]int, colour [3]float64, patch int) []float64 {
	filter := make([]float64, 3*patch*patch)
	wave := func(f, i int) float64 {
		scale := math.Sqrt(2 / float64(patch))
		if f == 0 {
			scale = math.Sqrt(1 / float64(patch))
		}
		return scale * math.Cos(math.Pi*float64(f)*(float64(i)+0.5)/float64(patch))
	}
	for ch := range colour {
		for y := 0; y < patch; y++ {
			for x := 0; x < patch; x++ {
				filter[(ch*patch+y)*patch+x] = colour[ch] * wave(frequency[0], y) * wave(frequency[1], x)
			}
		}
	}
	return filter
}
