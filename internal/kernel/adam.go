package kernel

import "math"

// AdamW holds the constants of one optimiser step.
type AdamW struct {
	Rate, Beta1, Beta2, Eps, Decay float64
	Step                           int // 1 for the first
}

// adamStep are the constants as the kernels want them.
type adamStep struct {
	beta1, oneBeta1, beta2, oneBeta2 float32
	// w = keep*w - rate * m / (sqrt(v) * root + eps), bias corrections included
	keep, rate, root, eps float32
}

// Update moves w along the gradient g:
//
//	m = Beta1 m + (1-Beta1) g;  v = Beta2 v + (1-Beta2) g^2
//	w = (1 - Rate Decay) w - Rate (m/(1-Beta1^Step)) / (sqrt(v/(1-Beta2^Step)) + Eps)
func (a AdamW) Update(w, m, v, g []float32) {
	checkLen("first moment", len(m), len(w))
	checkLen("second moment", len(v), len(w))
	checkLen("gradient", len(g), len(w))
	if len(w) == 0 {
		return
	}
	step := float64(max(1, a.Step))
	active.adam(w, m, v, g, &adamStep{
		beta1: float32(a.Beta1), oneBeta1: float32(1 - a.Beta1),
		beta2: float32(a.Beta2), oneBeta2: float32(1 - a.Beta2),
		keep: float32(1 - a.Rate*a.Decay),
		rate: float32(a.Rate / (1 - math.Pow(a.Beta1, step))),
		root: float32(1 / math.Sqrt(1-math.Pow(a.Beta2, step))),
		eps:  float32(a.Eps),
	})
}

func adamGo(w, m, v, g []float32, s *adamStep) {
	for i, d := range g {
		m[i] = s.beta1*m[i] + s.oneBeta1*d
		v[i] = s.beta2*v[i] + s.oneBeta2*d*d
		w[i] = s.keep*w[i] - s.rate*m[i]/(float32(math.Sqrt(float64(v[i])))*s.root+s.eps)
	}
}
