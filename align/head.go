package align

import (
	"fmt"
	"math"
	"sync"

	"github.com/pacl/pacl/internal/kernel"
)

// Head is a trained head: it carries patch tokens and sentence vectors into the shared space. Its methods may be called by
// several goroutines at once; its parameters must not change any more then.
type Head struct {
	Config     Config
	Parameters *Parameters[float32]

	packing sync.Mutex
	packed  [2]*packedHead // by precision
}

// NewHead returns an untrained head. logitScale is the scale that training starts with; CLIP starts with 1/0.07.
func NewHead(c Config, seed uint64, logitScale float64) (*Head, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if !(logitScale > 0) || math.Log(logitScale) > MaxLogitScale+1e-6 {
		return nil, fmt.Errorf("head: logit scale is %g, expected more than 0 and at most 100", logitScale)
	}
	h := &Head{Config: c, Parameters: NewParameters[float32](c)}
	h.Parameters.initialise(seed, logitScale)
	return h, nil
}

// LogitScale returns what compatibilities are multiplied with before a softmax over texts.
func (h *Head) LogitScale() float64 { return math.Exp(float64(h.Parameters.LogitScale[0])) }

// TauPatch returns the temperature of the softmax over patches.
func (h *Head) TauPatch() float64 { return h.Config.TauPatch }

func (h *Head) pack(p kernel.Precision) *packedHead {
	h.packing.Lock()
	defer h.packing.Unlock()
	if h.packed[p] == nil {
		w := new(packedHead)
		w.pack(h.Parameters, p, false)
		h.packed[p] = w
	}
	return h.packed[p]
}

// patchRows is how many patches are embedded at once by one worker.
const patchRows = 256

// Patches returns the unit vectors u [T, D] in float32 of patch tokens [T, D_in], multiplied in the precision given.
func (h *Head) Patches(tokens kernel.Mat, p kernel.Precision) (kernel.Mat, error) {
	if tokens.Cols != h.Config.TokenWidth {
		return kernel.Mat{}, fmt.Errorf("head: patch tokens have width %d, expected %d", tokens.Cols, h.Config.TokenWidth)
	}
	w := h.pack(p)
	u := kernel.NewMat(kernel.Float32, tokens.Rows, h.Config.Width)
	stride := h.Config.TokenWidth + h.Config.Hidden
	kernel.Parallel((tokens.Rows+patchRows-1)/patchRows, func(_, block int) {
		from, to := block*patchRows, min(tokens.Rows, (block+1)*patchRows)
		features := kernel.NewMat(p, to-from, stride)
		copyRows(features.Slice(0, to-from, 0, h.Config.TokenWidth), tokens.Slice(from, to, 0, h.Config.TokenWidth))
		ws := kernel.GetWorkspace()
		defer ws.Release()
		unit := u.Slice(from, to, 0, h.Config.Width)
		w.embed(ws, features, unit, unit, make([]float32, to-from))
	})
	return u, nil
}

// Texts returns the unit text vectors t [N, D] of sentence vectors [N, D_t].
func (h *Head) Texts(sentences []float32) (kernel.Mat, error) {
	width := h.Config.TextWidth
	if len(sentences)%width != 0 {
		return kernel.Mat{}, fmt.Errorf("head: %d numbers of sentence vectors, expected a multiple of their width %d", len(sentences), width)
	}
	n := len(sentences) / width
	t := kernel.NewMat(kernel.Float32, n, h.Config.Width)
	if h.Config.Text == TextNone {
		copy(t.F, sentences)
	} else {
		embedTexts(h.Parameters.Text, kernel.FromFloat32(sentences, n, width), t)
	}
	for i := range n {
		kernel.Scale(t.Row(i), inverseLength(t.Row(i)), t.Row(i))
	}
	return t, nil
}

// Attention returns a [N, T]: for each text t_n the softmax over the patches u of their cosines divided by tau_patch.
func (h *Head) Attention(u, texts kernel.Mat) kernel.Mat {
	a := kernel.NewMat(kernel.Float32, texts.Rows, u.Rows)
	if h.Config.Pooling == PoolingMean {
		for i := range a.F {
			a.F[i] = 1 / float32(u.Rows)
		}
		return a
	}
	kernel.Gemm(a, 1, texts, false, u, true, false, kernel.Float32)
	kernel.SoftmaxRows(a, a, float32(1/h.Config.TauPatch))
	return a
}

// Compatibility returns phi [N] between an image with unit patch vectors u [T, D] and unit text vectors [N, D].
func (h *Head) Compatibility(u, texts kernel.Mat) []float32 {
	pooled := kernel.NewMat(kernel.Float32, texts.Rows, u.Cols)
	kernel.Gemm(pooled, 1, h.Attention(u, texts), false, u, false, false, kernel.Float32)
	phi := make([]float32, texts.Rows)
	for n := range phi {
		v := pooled.Row(n)
		phi[n] = inverseLength(v) * kernel.Dot(v, texts.Row(n))
	}
	return phi
}
