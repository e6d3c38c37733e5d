package readout

import (
	"fmt"
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// Heat is where a text is in the picture: the softmax over cells of scores/tau. It sums to 1. NaN scores get nothing;
// where all are NaN, all get the same.
func Heat(scores []float32, tau float64) ([]float32, error) {
	if !(tau > 0) || math.IsInf(tau, 0) {
		return nil, fmt.Errorf("heat map: temperature %v, expected above 0", tau)
	}
	best := math.Inf(-1)
	mended := finite(scores)
	for _, v := range mended {
		best = max(best, float64(v))
	}
	heat := make([]float32, len(scores))
	var sum float64
	for i, v := range mended {
		e := math.Exp((float64(v) - best) / tau)
		heat[i] = float32(e)
		sum += e
	}
	for i := range heat {
		heat[i] = float32(float64(heat[i]) / sum)
	}
	return heat, nil
}

// Upsample returns one plane of values [GridH, GridW] at the size of the photo, [ImageH, ImageW].
func Upsample(plane []float32, g Geometry) ([]float32, error) {
	if err := (Scores{Geometry: g, Labels: 1, Data: plane}).Check(); err != nil {
		return nil, err
	}
	result := make([]float32, g.ImageH*g.ImageW)
	rows, columns := g.rows(), g.columns()
	bands := (g.ImageH + bandRows - 1) / bandRows
	kernel.Parallel(bands, func(_, i int) {
		line := make([]float32, g.GridW)
		for y := i * bandRows; y < min((i+1)*bandRows, g.ImageH); y++ {
			upsampleRow(result[y*g.ImageW:(y+1)*g.ImageW], plane, 1, g.GridW, y, rows, columns, line)
		}
	})
	return result, nil
}

// upsampleRow interpolates row y of the photo from a plane whose neighbouring cells are step apart. line is scratch of
// gridW values.
func upsampleRow(dst, plane []float32, step, gridW, y int, rows, columns axis, line []float32) {
	top := plane[int(rows.cell[y])*gridW*step:]
	bottom := plane[(int(rows.cell[y])+rows.next)*gridW*step:]
	f := rows.fraction[y]
	for c := range line {
		line[c] = top[c*step]*(1-f) + bottom[c*step]*f
	}
	for x := range dst {
		c := columns.cell[x]
		l := line[c]
		f := columns.fraction[x]
		dst[x] = l*(1-f) + line[int(c)+columns.next]*f
	}
}
