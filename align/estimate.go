package align

import "github.com/pacl/pacl/internal/kernel"

// StepFLOPs is the arithmetic of one training step as it is counted everywhere: the head forward and backward and six
// products of T x B x D for each image, whatever an implementation saves or computes twice.
func StepFLOPs(c Config, batch, patches int) float64 {
	rows := float64(batch) * float64(patches)
	layers := float64(c.Hidden)*float64(c.TokenWidth) + float64(c.Width)*float64(c.Hidden) + float64(c.Width)*float64(c.TokenWidth)
	head := rows * 2 * (2*layers + float64(c.Width)*float64(c.Hidden))
	pairs := 6 * 2 * rows * float64(batch) * float64(c.Width)
	if c.Pooling == PoolingMean {
		pairs = 3 * 2 * float64(batch) * float64(batch) * float64(c.Width)
	}
	return head + pairs
}

// StepMemory estimates what an Objective holds for a batch, in bytes.
func StepMemory(c Config, batch, patches int, p kernel.Precision, keep int64) int64 {
	if keep <= 0 {
		keep = DefaultMemory
	}
	l := newLayout(batch, patches)
	size := int64(elementSize(p))
	width, stride := int64(c.Width), int64(c.TokenWidth+c.Hidden)
	slabRows := int64(min(l.perSlab, batch)) * int64(patches)
	slab := slabRows * (stride + width) * size
	total := slab + min(keep, int64(l.slabs)*slab)       // features between the passes
	total += slabRows * (width + int64(c.Hidden)) * size // gradients of a slab
	total += slabRows * width * 4                        // groups' scratch
	total += int64(batch) * int64(batch) * 4             // phi
	total += groupCount * int64(batch) * (width*4 + 8)   // sums of text gradients and columns
	rows := int64(l.perGroup * patches)
	tile := rows*textChunk*(8+3*size) + rows*width*(4+2*size) + int64(l.perGroup)*int64(patches)*int64(patches)*(8+size)
	return total + tile*int64(kernel.Workers()) + 4*4*int64(ParameterCount(c))
}

// ParameterCount is how many numbers a head of this shape has.
func ParameterCount(c Config) int {
	n := c.Hidden*(c.TokenWidth+1) + c.Width*(c.Hidden+1) + c.Width*(c.TokenWidth+1) + 1
	if c.Text != TextNone {
		n += c.Width * (c.TextWidth + 1)
	}
	return n
}
