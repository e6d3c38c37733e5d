package kernel

import "math"

// Activation is the function applied to a product before it is stored.
type Activation uint8

const (
	// None leaves the product as it is.
	None Activation = iota
	// GELU is x/2 (1 + erf(x/sqrt 2)).
	GELU
	// QuickGELU is x sigmoid(1.702 x).
	QuickGELU
	// ReLU is max(x, 0), NaN for NaN.
	ReLU
	// SiLU is x sigmoid(x).
	SiLU
	// GELUTanh is x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), an approximation of GELU that some models were trained with.
	GELUTanh
)

func (a Activation) String() string {
	return [...]string{"none", "gelu", "quick_gelu", "relu", "silu", "gelu_tanh"}[a]
}

// of is the definition that the kernels approximate to about 1e-6.
func (a Activation) of(x float32) float32 {
	switch a {
	case GELU:
		return float32(0.5 * float64(x) * (1 + math.Erf(float64(x)/math.Sqrt2)))
	case QuickGELU:
		return float32(float64(x) / (1 + math.Exp(-1.702*float64(x))))
	case ReLU:
		if x < 0 {
			return 0
		}
		return x
	case SiLU:
		return float32(float64(x) / (1 + math.Exp(-float64(x))))
	case GELUTanh:
		v := float64(x)
		return float32(v / (1 + math.Exp(-geluTanhSlope*(v+geluTanhCube*v*v*v))))
	}
	return x
}

// The constants of GELUTanh: (1 + tanh(z))/2 is 1/(1 + exp(-2 z)).
const (
	geluTanhSlope = 1.5957691216057308 // 2 sqrt(2/pi)
	geluTanhCube  = 0.044715
)

// Activate sets dst to act(src), element by element; dst may be src.
func Activate(dst, src []float32, act Activation) {
	checkLen("activation target", len(dst), len(src))
	if len(src) > 0 {
		active.activate(dst, src, act)
	}
}
