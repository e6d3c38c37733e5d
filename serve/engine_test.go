package serve

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/readout"
)

// colourEngine is a real segmenter of a small kind: a patch's vector is the direction of its mean colour from gray, a
// word's that of the colour it names.
type colourEngine struct {
	name  string
	prior readout.Prior
	// open describes the engine as one that takes any word.
	open bool
	// hold, where set, keeps Encode waiting until it is closed or the context ends.
	hold    chan struct{}
	entered chan int // receives the size of each batch when somebody listens
	// encoded counts photos, embedded labels.
	encoded, embedded atomic.Int64
	mu                sync.Mutex
	batches           []int
}

var colourWords = map[string][3]float64{
	"red": {1, 0, 0}, "green": {0, 1, 0}, "blue": {0, 0, 1}, "yellow": {1, 1, 0}, "cyan": {0, 1, 1}, "magenta": {1, 0, 1},
	"white": {1, 1, 1}, "black": {0, 0, 0},
}

const colourPatch = 8

type colourPhoto struct {
	geometry readout.Geometry
	patches  []float32
}

func (p *colourPhoto) Geometry() readout.Geometry { return p.geometry }
func (p *colourPhoto) Patches() []float32         { return p.patches }
func (p *colourPhoto) Bytes() int64               { return int64(4 * len(p.patches)) }

func (e *colourEngine) Describe() Description {
	return Description{
		Name: e.name, Vision: "mean colours", Text: "names of colours", Method: "cosine", Width: 3, Patch: colourPatch, Size: 64,
		Strides: []int{8, 4}, Scales: 1, LogitScale: 20, FixedVocabulary: !e.open, Examples: []string{"red", "green", "blue"},
	}
}

func direction(r, g, b float64) []float32 {
	r, g, b = r-0.5, g-0.5, b-0.5
	length := math.Max(math.Sqrt(r*r+g*g+b*b), 1e-9)
	return []float32{float32(r / length), float32(g / length), float32(b / length)}
}

// panicPhoto is the width at which the engine panics, a bug that one photo brings out.
const panicPhoto = 13

func (e *colourEngine) Encode(ctx context.Context, photos []*imaging.Image, o ImageOptions) ([]Encoded, error) {
	e.mu.Lock()
	e.batches = append(e.batches, len(photos))
	e.mu.Unlock()
	if e.entered != nil {
		e.entered <- len(photos)
	}
	if e.hold != nil {
		select {
		case <-e.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var results []Encoded
	for _, photo := range photos {
		if photo.Width == panicPhoto {
			panic("a photo of an unlucky width")
		}
		e.encoded.Add(1)
		size, stride := o.Size, o.Stride
		if size == 0 {
			size = 64
		}
		if stride == 0 {
			stride = colourPatch
		}
		w, h, err := (readout.InputSize{Short: size}).Fit(photo.Width, photo.Height, colourPatch)
		if err != nil {
			return nil, err
		}
		input := imaging.Resize(photo, w, h, imaging.Bilinear)
		g, err := readout.NewGeometry(h, w, photo.Height, photo.Width, colourPatch, stride)
		if err != nil {
			return nil, err
		}
		result := &colourPhoto{geometry: g}
		for row := range g.GridH {
			for column := range g.GridW {
				var sum [3]float64
				for y := range colourPatch {
					for x := range colourPatch {
						p := 3 * ((row*stride+y)*w + column*stride + x)
						for c := range 3 {
							sum[c] += float64(input.Pix[p+c])
						}
					}
				}
				const all = colourPatch * colourPatch * 255
				result.patches = append(result.patches, direction(sum[0]/all, sum[1]/all, sum[2]/all)...)
			}
		}
		results = append(results, result)
	}
	return results, nil
}

func (e *colourEngine) word(text string) ([]float32, error) {
	c, ok := colourWords[strings.ToLower(text)]
	if !ok {
		return nil, &encoder.UnknownNameError{Text: text, Suggestions: []string{"red", "green"}}
	}
	return direction(c[0], c[1], c[2]), nil
}

func (e *colourEngine) Labels(_ context.Context, labels []pacl.Label) ([]LabelVectors, error) {
	e.embedded.Add(int64(len(labels)))
	each := make([]LabelVectors, len(labels))
	for i, label := range labels {
		var vectors [][]float32
		for _, text := range label.Words {
			vector, err := e.word(text)
			if err != nil {
				return nil, err
			}
			vectors = append(vectors, vector)
		}
		each[i] = vectors
	}
	return each, nil
}

func (e *colourEngine) Texts(_ context.Context, texts []string) ([]float32, error) {
	var all []float32
	for _, text := range texts {
		vector, err := e.word(text)
		if err != nil {
			return nil, err
		}
		all = append(all, vector...)
	}
	return all, nil
}

func (e *colourEngine) Scores(_ context.Context, encoded Encoded, labels []LabelVectors) (readout.Scores, error) {
	photo := encoded.(*colourPhoto)
	var vectors [][]float32 // of all words
	first := []int{0}
	for _, label := range labels {
		vectors = append(vectors, label.([][]float32)...)
		first = append(first, len(vectors))
	}
	cells := photo.geometry.Cells()
	words := make([]float32, 0, cells*len(vectors))
	for cell := range cells {
		for _, vector := range vectors {
			var dot float32
			for c := range 3 {
				dot += photo.patches[3*cell+c] * vector[c]
			}
			words = append(words, dot)
		}
	}
	data, err := readout.MaxOverWords(words, cells, first)
	return readout.Scores{Geometry: photo.geometry, Labels: len(labels), Data: data}, err
}

func (e *colourEngine) Prior() readout.Prior { return e.prior }

func (e *colourEngine) Segment(ctx context.Context, photo *imaging.Image, encoded Encoded, labels []LabelVectors,
	o SegmentOptions) (*readout.Segmentation, error) {
	if o.Refine && photo == nil {
		return nil, errors.New("refinement without the photo")
	}
	scores, err := e.Scores(ctx, encoded, labels)
	if err != nil {
		return nil, err
	}
	scale := e.Describe().LogitScale
	if o.Temperature > 0 {
		scale = 1 / o.Temperature
	}
	return readout.Segment(ctx, scores, readout.Options{LogitScale: scale, Background: o.Background, Prior: e.prior})
}
