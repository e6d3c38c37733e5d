package align

import (
	"math"
	"strings"
)

// AdamW is Adam with decoupled weight decay (Loshchilov and Hutter 2019), step for step PyTorch's. Weight decay is for
// matrices only: biases and the logit scale are left as they are. The arithmetic is float64 whatever the parameters are.
type AdamW struct {
	Beta1, Beta2, Epsilon, WeightDecay float64
}

// Update changes one tensor by step number step (the first is 1). m and v are its moments, of the same length.
func Update[F Float](o AdamW, step int, lr, weightDecay float64, p, grad, m, v []F) {
	correction1 := 1 - math.Pow(o.Beta1, float64(step))
	correction2 := math.Sqrt(1 - math.Pow(o.Beta2, float64(step)))
	for i := range p {
		g := float64(grad[i])
		mi := o.Beta1*float64(m[i]) + (1-o.Beta1)*g
		vi := o.Beta2*float64(v[i]) + (1-o.Beta2)*g*g
		m[i], v[i] = F(mi), F(vi)
		decayed := float64(p[i]) * (1 - lr*weightDecay)
		p[i] = F(decayed - lr/correction1*mi/(math.Sqrt(vi)/correction2+o.Epsilon))
	}
}

// decays tells which tensors weight decay is for.
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
