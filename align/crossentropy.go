package align

import (
	"math"

	"github.com/pacl/pacl/internal/kernel"
)

// compatibility is phi between B images and M distinct texts, with what the two cross-entropies need of it.
type compatibility struct {
	b, m    int
	phi     []float32 // [B, M]
	texts   distinctTexts
	scale   float64     // exp(logit scale)
	rowSum  []float64   // [B] sum over all B texts of exp(scale (phi - 1))
	colSum  []float64   // [M] sum over images of exp(scale (phi - 1))
	partial [][]float64 // [chunks][M] column sums of some rows
}

// crossEntropyChunks is into how many runs of rows the sums are cut, whatever the number of workers.
const crossEntropyChunks = 16

func (c *compatibility) reset(b int, texts distinctTexts, scale float64) {
	c.b, c.m, c.texts, c.scale = b, len(texts.rows), texts, scale
	c.phi = resize(c.phi, b*c.m)
	c.rowSum = resize(c.rowSum, b)
	c.colSum = resize(c.colSum, c.m)
	if c.partial == nil {
		c.partial = make([][]float64, crossEntropyChunks)
	}
}

// resize returns a slice of n numbers whose content is not defined, reusing the memory of s.
func resize[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}

// compatibilityScore is the loss and how often the right partner came first.
type compatibilityScore struct {
	loss        float64
	imageToText float64 // share of images whose best text is theirs
	textToImage float64 // share of texts whose best image is theirs
}

// sums fills the row and column sums and returns the score. phi is at most 1, so that 1 serves as the shift that keeps the
// exponentials finite: exp(100 (-1 - 1)) is far above the smallest float64.
func (c *compatibility) sums() compatibilityScore {
	hits := make([]int, crossEntropyChunks)
	losses := make([]float64, crossEntropyChunks)
	type best struct {
		phi   float32
		image int
	}
	bests := make([][]best, crossEntropyChunks)
	kernel.Parallel(crossEntropyChunks, func(_, chunk int) {
		c.partial[chunk] = resize(c.partial[chunk], c.m)
		column := c.partial[chunk]
		clear(column)
		bests[chunk] = make([]best, c.m)
		for m := range bests[chunk] {
			bests[chunk][m] = best{float32(math.Inf(-1)), -1}
		}
		for i := chunk * c.b / crossEntropyChunks; i < (chunk+1)*c.b/crossEntropyChunks; i++ {
			row := c.phi[i*c.m : (i+1)*c.m]
			sum, first := 0.0, 0
			for m, phi := range row {
				e := math.Exp(c.scale * (float64(phi) - 1))
				sum += float64(c.texts.count[m]) * e
				column[m] += e
				if phi > row[first] {
					first = m
				}
				if phi > bests[chunk][m].phi {
					bests[chunk][m] = best{phi, i}
				}
			}
			c.rowSum[i] = sum
			own := c.texts.of[i]
			if first == own {
				hits[chunk]++
			}
			losses[chunk] += math.Log(sum) - 2*c.scale*(float64(row[own])-1)
		}
	})
	clear(c.colSum)
	score := compatibilityScore{}
	n := float64(c.b)
	for chunk := range crossEntropyChunks {
		for m, v := range c.partial[chunk] {
			c.colSum[m] += v
		}
		score.loss += losses[chunk] / (2 * n)
		score.imageToText += float64(hits[chunk]) / n
	}
	for m, sum := range c.colSum {
		// Each text of the group has the same cross-entropy over the images.
		score.loss += float64(c.texts.count[m]) * math.Log(sum) / (2 * n)
		top := best{float32(math.Inf(-1)), -1}
		for chunk := range bests {
			if bests[chunk][m].phi > top.phi {
				top = bests[chunk][m]
			}
		}
		if top.image >= 0 && c.texts.of[top.image] == m {
			score.textToImage += float64(c.texts.count[m]) / n
		}
	}
	return score
}

// gradient writes dL/dphi of image i and texts from to to.
func (c *compatibility) gradient(dst []float32, i, from, to int) {
	row := c.phi[i*c.m : (i+1)*c.m]
	half := c.scale / (2 * float64(c.b))
	for m := from; m < to; m++ {
		e := math.Exp(c.scale * (float64(row[m]) - 1))
		g := float64(c.texts.count[m]) * e * (1/c.rowSum[i] + 1/c.colSum[m])
		if c.texts.of[i] == m {
			g -= 2
		}
		dst[m-from] = float32(half * g)
	}
}
