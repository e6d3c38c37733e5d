package pretrain

import (
	"fmt"
	"math"
)

// normEps is the LayerNorm epsilon of CLIP.
const normEps = 1e-5

// startScale is the logit scale that training starts from, as CLIP's: ln(1/0.07). It is kept below ln(100).
var startScale, largestScale = math.Log(1 / 0.07), math.Log(100)

// dual is a dual encoder: where its parameters lie and how they are used. It holds no numbers.
type dual struct {
	config Config
	layout layout
	vision visionTower
	text   textTower
	// logitScale is CLIP's; patchScale and the projector belong to the pairwise objective and stay out of the CLIP directory.
	logitScale, patchScale span
	projector              projector
}

type visionTower struct {
	tower
	class, patchWeight, positions                    span // [w], [w, 3*P*P], [1+N, w]; no positions where they are rotary
	preWeight, preBias, postWeight, postBias, output span // [w] each; [D, w]
}

type textTower struct {
	tower
	tokens, positions               span // [V, w], [context, w]
	finalWeight, finalBias, project span // [w], [w], [D, w]
}

func newDual(c Config) *dual {
	m := &dual{config: c}
	l := &m.layout
	width := c.LockedWidth
	if !c.locked() {
		m.addVision()
		width = c.Vision.Width
	}
	t := &m.text
	w := c.Text.Width
	t.tower = tower{width: w, heads: c.Text.Heads, hidden: 4 * w, causal: true, act: c.activation(), eps: normEps}
	t.tokens = l.add("text_model.embeddings.token_embedding.weight", 0.02, 0, c.Text.Vocabulary, w)
	t.positions = l.add("text_model.embeddings.position_embedding.weight", 0.01, 0, c.Text.Context, w)
	t.blocks = l.blocks("text_model.encoder.layers", w, c.Text.Layers)
	t.finalWeight, t.finalBias = l.norm("text_model.final_layer_norm", w)
	t.project = l.add("text_projection.weight", 1/math.Sqrt(float64(w)), 0, c.Projection, w)
	m.logitScale = l.add("logit_scale", 0, startScale)
	if c.usesPACL() {
		m.patchScale = l.add("patch_logit_scale", 0, startScale)
		m.addProjector(width)
	}
	return m
}

func (m *dual) addVision() {
	c, l, v := m.config, &m.layout, &m.vision
	w, patch := c.Vision.Width, c.Vision.PatchSize
	v.tower = tower{width: w, heads: c.Vision.Heads, hidden: 4 * w, act: c.activation(), eps: normEps}
	v.class = l.add("vision_model.embeddings.class_embedding", 1/math.Sqrt(float64(w)), 0, w)
	v.patchWeight = l.add("vision_model.embeddings.patch_embedding.weight", 1/math.Sqrt(float64(3*patch*patch)), 0, w, 3, patch, patch)
	if c.Vision.RopeTheta == 0 {
		v.positions = l.add("vision_model.embeddings.position_embedding.weight", 0.02, 0, 1+c.patches(), w)
	}
	v.preWeight, v.preBias = l.norm("vision_model.pre_layrnorm", w)
	v.blocks = l.blocks("vision_model.encoder.layers", w, c.Vision.Layers)
	v.postWeight, v.postBias = l.norm("vision_model.post_layernorm", w)
	v.output = l.add("visual_projection.weight", 1/math.Sqrt(float64(w)), 0, c.Projection, w)
}

func (l *layout) norm(name string, w int) (weight, bias span) {
	return l.add(name+".weight", 0, 1, w), l.add(name+".bias", 0, 0, w)
}

func (l *layout) blocks(prefix string, w, n int) []block {
	blocks := make([]block, n)
	in, out := 1/math.Sqrt(float64(w)), 1/math.Sqrt(float64(w)*2*float64(n))
	for i := range blocks {
		name, b := fmt.Sprintf("%s.%d.", prefix, i), &blocks[i]
		b.norm1Weight, b.norm1Bias = l.norm(name+"layer_norm1", w)
		b.qkvWeight, b.qkvBias = l.add(name+"self_attn.qkv.weight", in, 0, 3*w, w), l.add(name+"self_attn.qkv.bias", 0, 0, 3*w)
		b.outWeight, b.outBias = l.add(name+"self_attn.out_proj.weight", out, 0, w, w), l.add(name+"self_attn.out_proj.bias", 0, 0, w)
		b.norm2Weight, b.norm2Bias = l.norm(name+"layer_norm2", w)
		b.fc1Weight, b.fc1Bias = l.add(name+"mlp.fc1.weight", in/math.Sqrt2, 0, 4*w, w), l.add(name+"mlp.fc1.bias", 0, 0, 4*w)
		b.fc2Weight, b.fc2Bias = l.add(name+"mlp.fc2.weight", out, 0, w, 4*w), l.add(name+"mlp.fc2.bias", 0, 0, w)
	}
	return blocks
}

// imagePass is the passage of some pictures through the image encoder.
type imagePass[T real] struct {
	count        int
	placement    placement
	cells        []int // [B*N] each patch's place in the grid of positions
	rowCells     []int // [R] the same of each row of all sequences, -1 of class tokens
	rotation     rotation[T]
	trace        trace[T]
	columns, raw mat[T] // [B*N, 3*P*P] pixels by patch; [R, w] embeddings before the first norm
	preStats     []T
	// The class rows and the patch rows of the last block, before and after the last norm.
	rawClass, class        mat[T] // [S, w] for S sequences
	rawLocal, local        mat[T] // [B*N, w]
	classStats, localStats []T
	projected              projectorTrace[T]
	gradient               []T
}

// placement is how the pictures of a pass lie in sequences. Together pictures, 1 or 4, share a sequence and its class
// token; corners [B] tell where each lies in the grid of positions, around whose edges it may go.
type placement struct {
	size     int // of a picture's side in pixels
	together int
	corners  []corner
}

// slice is the placement of pictures from to to.
func (pl placement) slice(from, to int) placement {
	return placement{pl.size, pl.together, pl.corners[from:to]}
}

// row is the row of a picture's first patch in the rows of all sequences, n being the number of its patches.
func (pl placement) row(picture, n int) int {
	sequence := picture / pl.together
	return sequence*(pl.together*n+1) + 1 + picture%pl.together*n
}

// images sets embeddings [B, D] and, with the pairwise objective, patches [B*N, D] from pixels [B, 3, S, S]; neither is
// normalised. Embeddings without data are left out, as they are where pictures share a class token.
func images[T real](e engine[T], m *dual, p []T, tr *imagePass[T], pixels []T, pl placement, embeddings, patches mat[T]) {
	v, c := &m.vision, m.config
	patch := c.Vision.PatchSize
	side := pl.size / patch
	n, w, depth := side*side, v.width, 3*patch*patch
	count := len(pl.corners)
	tr.count, tr.placement = count, pl
	tr.cells = gridCells(tr.cells, side, c.Vision.ImageSize/patch, pl.corners)
	offsets := make([]int, count/pl.together+1)
	for i := range offsets {
		offsets[i] = i * (pl.together*n + 1)
	}
	sequences, rows := len(offsets)-1, offsets[len(offsets)-1]
	tr.trace.begin(&v.tower, offsets)
	tr.columns = matrix(grow(&tr.columns.data, count*n*depth), count*n, depth)
	toColumns(tr.columns, pixels, pl.size, patch)
	tr.local = matrix(grow(&tr.local.data, count*n*w), count*n, w)
	linear(e, tr.local, tr.columns, at(p, v.patchWeight), nil)

	tr.raw = matrix(grow(&tr.raw.data, rows*w), rows, w)
	for _, first := range offsets[:sequences] {
		copy(tr.raw.row(first), at(p, v.class))
	}
	for i := range count {
		from := pl.row(i, n) * w
		copy(tr.raw.data[from:from+n*w], tr.local.data[i*n*w:(i+1)*n*w])
	}
	tr.placeRows(n)
	if c.Vision.RopeTheta > 0 {
		tr.rotate(c)
	} else {
		positions := matrix(at(p, v.positions), c.patches()+1, w)
		for row, cell := range tr.rowCells {
			e.add(tr.raw.row(row), positions.row(1+cell))
		}
	}
	layerNorm(tr.trace.x[0], tr.raw, at(p, v.preWeight), at(p, v.preBias), grow(&tr.preStats, 2*rows), normEps)
	blocks := len(v.blocks)
	if embeddings.data == nil {
		blocks = c.patchBlocks() // nothing looks behind the others
	}
	x := forward(e, &v.tower, p, &tr.trace, blocks)
	if embeddings.data != nil {
		tr.rawClass, tr.class = matrix(grow(&tr.rawClass.data, sequences*w), sequences, w), matrix(grow(&tr.class.data, sequences*w), sequences, w)
		for i := range sequences {
			copy(tr.rawClass.row(i), x.row(offsets[i]))
		}
		layerNorm(tr.class, tr.rawClass, at(p, v.postWeight), at(p, v.postBias), grow(&tr.classStats, 2*sequences), normEps)
		linear(e, embeddings, tr.class, at(p, v.output), nil)
	}
	if patches.data != nil {
		tr.rawLocal = matrix(grow(&tr.rawLocal.data, count*n*w), count*n, w)
		for i := range count {
			from := pl.row(i, n) * w
			copy(tr.rawLocal.data[i*n*w:(i+1)*n*w], tr.trace.x[c.patchBlocks()].data[from:from+n*w])
		}
		weight, bias := m.patchNorm()
		layerNorm(tr.local, tr.rawLocal, at(p, weight), at(p, bias), grow(&tr.localStats, 2*count*n), normEps)
		project(e, m, p, &tr.projected, tr.local, patches)
	}
}

// imagesGrad adds the parameters' gradients to g, given those by embeddings and patches.
func imagesGrad[T real](e engine[T], m *dual, p, g []T, tr *imagePass[T], dEmbeddings, dPatches mat[T]) {
	v, pl := &m.vision, tr.placement
	n, w, offsets := len(tr.cells)/tr.count, v.width, tr.trace.offsets
	rows := offsets[len(offsets)-1]
	d := matrix(grow(&tr.gradient, 2*rows*w), rows, w)
	clear(d.data)
	if dEmbeddings.data != nil {
		narrow := matrix(tr.gradient[rows*w:], tr.class.rows, w)
		linearGrad(e, narrow, dEmbeddings, tr.class, at(p, v.output), at(g, v.output), nil, false)
		layerNormGrad(narrow, narrow, tr.rawClass, at(p, v.postWeight), at(g, v.postWeight), at(g, v.postBias), tr.classStats, false)
		for i := range narrow.rows {
			copy(d.row(offsets[i]), narrow.row(i))
		}
	}
	last := len(v.blocks)
	if dPatches.data != nil {
		last = m.config.patchBlocks()
		if dEmbeddings.data != nil {
			backward(e, &v.tower, p, g, &tr.trace, d, last, len(v.blocks))
		}
		local := matrix(tr.gradient[rows*w:], tr.count*n, w)
		projectGrad(e, m, p, g, &tr.projected, tr.local, dPatches, local)
		weight, bias := m.patchNorm()
		layerNormGrad(local, local, tr.rawLocal, at(p, weight), at(g, weight), at(g, bias), tr.localStats, false)
		for i := range tr.count {
			from := pl.row(i, n) * w
			e.add(d.data[from:from+n*w], local.data[i*n*w:(i+1)*n*w])
		}
	}
	backward(e, &v.tower, p, g, &tr.trace, d, 0, last)
	layerNormGrad(d, d, tr.raw, at(p, v.preWeight), at(g, v.preWeight), at(g, v.preBias), tr.preStats, false)
	local := matrix(tr.gradient[rows*w:], tr.count*n, w)
	for _, first := range offsets[:len(offsets)-1] {
		e.add(at(g, v.class), d.row(first))
	}
	if m.config.Vision.RopeTheta == 0 {
		positions := matrix(at(g, v.positions), m.config.patches()+1, w)
		for row, cell := range tr.rowCells {
			e.add(positions.row(1+cell), d.row(row))
		}
	}
	for i := range tr.count {
		from := pl.row(i, n) * w
		copy(local.data[i*n*w:(i+1)*n*w], d.data[from:from+n*w])
	}
	linearGrad(e, mat[T]{}, local, tr.columns, at(p, v.patchWeight), at(g, v.patchWeight), nil, false)
}

// placeRows fills rowCells from cells; n is the number of a picture's patches.
func (tr *imagePass[T]) placeRows(n int) {
	offsets := tr.trace.offsets
	grow(&tr.rowCells, offsets[len(offsets)-1])
	for _, first := range offsets[:len(offsets)-1] {
		tr.rowCells[first] = -1
	}
	for i := range tr.count {
		copy(tr.rowCells[tr.placement.row(i, n):], tr.cells[i*n:(i+1)*n])
	}
}

// rotate prepares the rotation of the pass's rows.
func (tr *imagePass[T]) rotate(c Config) {
	if tr.rotation.head == 0 {
		tr.rotation = newRotation[T](c.Vision.RopeTheta, c.Vision.Width/c.Vision.Heads, c.Vision.ImageSize/c.Vision.PatchSize)
	}
	tr.rotation.cells = tr.rowCells
	tr.trace.turns = &tr.rotation
}

// corner is the cell of the grid of positions at which a picture's first patch lies.
type corner struct{ y, x int }

// gridCells lists the cell of each patch of pictures of side x side patches in a grid of whole x whole.
func gridCells(cells []int, side, whole int, corners []corner) []int {
	cells = cells[:0]
	for _, c := range corners {
		for y := 0; y < side; y++ {
			for x := 0; x < side; x++ {
				cells = append(cells, (c.y+y)%whole*whole+(c.x+x)%whole)
			}
		}
	}
	return cells
}

// toColumns gathers pixels [B, 3, S, S] by patch: columns [B*N, 3*P*P].
func toColumns[T real](columns mat[T], pixels []T, size, patch int) {
	side := size / patch
	for row := 0; row < columns.rows; row++ {
		image, cell := row/(side*side), row%(side*side)
		y0, x0 := cell/side*patch, cell%side*patch
		out := columns.row(row)
		for ch := 0; ch < 3; ch++ {
			for y := 0; y < patch; y++ {
				from := ((image*3+ch)*size+y0+y)*size + x0
				copy(out[(ch*patch+y)*patch:(ch*patch+y+1)*patch], pixels[from:from+patch])
			}
		}
	}
}

// textPass is the passage of some texts through the text encoder.
type textPass[T real] struct {
	texts      [][]int32
	trace      trace[T]
	ends       mat[T] // [B, w] the residual stream at each text's last token
	final      mat[T] // [B, w] after the norm
	finalStats []T
	gradient   []T
}

// texts sets embeddings [B, D], not normalised, from token ids that include start and end; the last token pools.
func texts[T real](e engine[T], m *dual, p []T, tr *textPass[T], ids [][]int32, embeddings mat[T]) {
	t := &m.text
	w := t.width
	tr.texts = ids
	offsets := make([]int, len(ids)+1)
	for i, text := range ids {
		offsets[i+1] = offsets[i] + len(text)
	}
	tr.trace.begin(&t.tower, offsets)
	tokens, positions := matrix(at(p, t.tokens), m.config.Text.Vocabulary, w), matrix(at(p, t.positions), m.config.Text.Context, w)
	for i, text := range ids {
		for k, id := range text {
			row := tr.trace.x[0].row(offsets[i] + k)
			copy(row, tokens.row(int(id)))
			e.add(row, positions.row(k))
		}
	}
	x := forward(e, &t.tower, p, &tr.trace, len(t.blocks))
	tr.ends = matrix(grow(&tr.ends.data, len(ids)*w), len(ids), w)
	tr.final = matrix(grow(&tr.final.data, len(ids)*w), len(ids), w)
	for i := range ids {
		copy(tr.ends.row(i), x.row(offsets[i+1]-1))
	}
	layerNorm(tr.final, tr.ends, at(p, t.finalWeight), at(p, t.finalBias), grow(&tr.finalStats, 2*len(ids)), normEps)
	linear(e, embeddings, tr.final, at(p, t.project), nil)
}

// textsGrad adds the parameters' gradients to g, given the one by embeddings.
func textsGrad[T real](e engine[T], m *dual, p, g []T, tr *textPass[T], dEmbeddings mat[T]) {
	t := &m.text
	w, offsets := t.width, tr.trace.offsets
	rows := offsets[len(offsets)-1]
	grow(&tr.gradient, (rows+len(tr.texts))*w)
	d, ends := matrix(tr.gradient, rows, w), matrix(tr.gradient[rows*w:], len(tr.texts), w)
	linearGrad(e, ends, dEmbeddings, tr.final, at(p, t.project), at(g, t.project), nil, false)
	layerNormGrad(ends, ends, tr.ends, at(p, t.finalWeight), at(g, t.finalWeight), at(g, t.finalBias), tr.finalStats, false)
	clear(d.data)
	for i := range tr.texts {
		copy(d.row(offsets[i+1]-1), ends.row(i))
	}
	backward(e, &t.tower, p, g, &tr.trace, d, 0, len(t.blocks))
	tokens, positions := matrix(at(g, t.tokens), m.config.Text.Vocabulary, w), matrix(at(g, t.positions), m.config.Text.Context, w)
	for i, text := range tr.texts {
		for k, id := range text {
			row := d.row(offsets[i] + k)
			e.add(tokens.row(int(id)), row)
			e.add(positions.row(k), row)
		}
	}
}
