package align

import (
	"math"
	"strings"
)

// AdamW is Adam with decoupled weight decay (Loshchilov and Hutter 2019), step for step PyTorch's.
type AdamW struct {
	Beta1, Beta2, Epsilon float64
}

// Update changes parameters in float64 by step number step; the first is 1. m and v are their moments. It is the slow
// twin of kernel.AdamW, which trains.
func (o AdamW) Update(step int, rate, weightDecay float64, p, gradient, m, v []float64) {
	correction1 := 1 - math.Pow(o.Beta1, float64(step))
	correction2 := math.Sqrt(1 - math.Pow(o.Beta2, float64(step)))
	for i, g := range gradient {
		m[i] = o.Beta1*m[i] + (1-o.Beta1)*g
		v[i] = o.Beta2*v[i] + (1-o.Beta2)*g*g
		p[i] *= 1 - rate*weightDecay
		p[i] -= rate / correction1 * m[i] / (math.Sqrt(v[i])/correction2 + o.Epsilon)
	}
}

// decays tells which tensors weight decay is for: matrices, not biases nor the logit scale.
func decays(name string) bool { return strings.HasSuffix(name, ".weight") }

// Schedule is a linear warm-up to the peak, then a cosine down to the floor.
type Schedule struct {
	Peak, Floor   float64
	Warmup, Steps int
}

// Rate returns the learning rate of a step; the first step is 0 and already learns.
func (s Schedule) Rate(step int) float64 {
	if step < s.Warmup {
		return s.Peak * float64(step+1) / float64(s.Warmup)
	}
	if step >= s.Steps {
		return s.Floor
	}
	progress := float64(step-s.Warmup) / float64(s.Steps-s.Warmup)
	return s.Floor + (s.Peak-s.Floor)*0.5*(1+math.Cos(math.Pi*progress))
}
