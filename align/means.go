package align

import "github.com/pacl/pacl/internal/kernel"

// compareMeans fills phi for images whose patches u [R, D] are pooled by their plain mean: the control.
func (o *Objective) compareMeans(u kernel.Mat, first, last, patches int) {
	width, texts := o.config.Width, o.pairs.m
	buffer := make([]float32, width)
	for i := first; i < last; i++ {
		mean := o.pooled[i*width : (i+1)*width]
		clear(mean)
		for k := range patches {
			kernel.Axpy(mean, 1/float32(patches), rowFloat32(u, (i-first)*patches+k, buffer))
		}
		inverse := inverseLength(mean)
		for m := range texts {
			o.pairs.phi[i*texts+m] = inverse * kernel.Dot(mean, o.texts.exact[m*width:(m+1)*width])
		}
	}
}

// meanBackward fills du for the images first to last.
func (o *Objective) meanBackward(t *pairTile, g *groupScratch, first, last, patches int) {
	width, texts := o.config.Width, o.pairs.m
	unit, pull := make([]float32, width), make([]float32, width)
	slopes := make([]float32, texts)
	for i := first; i < last; i++ {
		mean := o.pooled[i*width : (i+1)*width]
		inverse := inverseLength(mean)
		kernel.Scale(unit, inverse, mean)
		clear(pull)
		o.pairs.gradient(slopes, i, 0, texts)
		along := float32(0)
		for m, slope := range slopes {
			phi := o.pairs.phi[i*texts+m]
			g.logitScale += float64(slope) * float64(phi)
			along += slope * phi
			kernel.Axpy(pull, slope, o.texts.exact[m*width:(m+1)*width])
			kernel.Axpy(g.text.Row(m), slope, unit)
		}
		kernel.Axpy(pull, -along, unit)
		kernel.Scale(pull, inverse/float32(patches), pull)
		for k := range patches {
			copy(t.du.Row((i-first)*patches+k), pull)
		}
	}
}
