package pretrain

import "math"

// projector takes tokens to the pairwise objective. It stays out of the CLIP directory.
type projector struct {
	normWeight, normBias     span // [w] each, of patches that do not pass CLIP's last norm
	hiddenWeight, hiddenBias span // [H, w], [H]; nothing in a linear projector
	output                   span // [D, H], of a linear projector [D, w]
}

// projectorTrace keeps what the gradient of a hidden layer needs, [B*N, H] each.
type projectorTrace[T real] struct {
	pre, post, gradient mat[T]
}

// addProjector lays out the projector of tokens of so many numbers.
func (m *dual) addProjector(width int) {
	c, l, p := m.config, &m.layout, &m.projector
	if c.ownPatchNorm() {
		p.normWeight, p.normBias = l.norm("patch_norm", width)
	}
	if c.Projector > 0 {
		p.hiddenWeight = l.add("patch_hidden.weight", 1/math.Sqrt(float64(width)), 0, c.Projector, width)
		p.hiddenBias = l.add("patch_hidden.bias", 0, 0, c.Projector)
		width = c.Projector
	}
	p.output = l.add("patch_projection.weight", 1/math.Sqrt(float64(width)), 0, c.Projection, width)
}

// ownPatchNorm says whether patches have a norm of their own: CLIP's last one belongs to the class token wherever the two
// need not be alike.
func (c Config) ownPatchNorm() bool {
	return !c.locked() && (c.Projector > 0 || c.ClassBlocks > 0)
}

// patchNorm is the norm of patches before the projector.
func (m *dual) patchNorm() (weight, bias span) {
	if m.config.ownPatchNorm() {
		return m.projector.normWeight, m.projector.normBias
	}
	return m.vision.postWeight, m.vision.postBias
}

// project sets y [B*N, D] from tokens x [B*N, w].
func project[T real](e engine[T], m *dual, p []T, tr *projectorTrace[T], x, y mat[T]) {
	pr, hidden := &m.projector, m.config.Projector
	if hidden > 0 {
		tr.pre, tr.post = matrix(grow(&tr.pre.data, x.rows*hidden), x.rows, hidden), matrix(grow(&tr.post.data, x.rows*hidden), x.rows, hidden)
		linear(e, tr.pre, x, at(p, pr.hiddenWeight), at(p, pr.hiddenBias))
		e.activate(tr.post.data, tr.pre.data, m.config.activation())
		x = tr.post
	}
	linear(e, y, x, at(p, pr.output), nil)
}

// projectGrad adds the projector's gradients to g and sets dx, where it has data, given those by y; x is what project had.
func projectGrad[T real](e engine[T], m *dual, p, g []T, tr *projectorTrace[T], x, dy, dx mat[T]) {
	pr, hidden := &m.projector, m.config.Projector
	if hidden == 0 {
		linearGrad(e, dx, dy, x, at(p, pr.output), at(g, pr.output), nil, false)
		return
	}
	tr.gradient = matrix(grow(&tr.gradient.data, x.rows*hidden), x.rows, hidden)
	linearGrad(e, tr.gradient, dy, tr.post, at(p, pr.output), at(g, pr.output), nil, false)
	e.activateGrad(tr.gradient.data, tr.pre.data, m.config.activation())
	linearGrad(e, dx, tr.gradient, x, at(p, pr.hiddenWeight), at(g, pr.hiddenWeight), at(g, pr.hiddenBias), false)
}
