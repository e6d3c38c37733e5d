package encoder

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/weights"
)

// Vision is a frozen vision transformer. It may be used by many goroutines at once.
type Vision struct {
	info       Info
	blocks     *transformer
	patch      linear
	class      *vector   // [width] or nil
	registers  []float32 // [registers, width] or nil
	positions  *vector   // [prefix?, side, side, width] as stored, class first; nil with rope
	side       int
	periods    []float64 // rope
	preNorm    *norm
	finalNorm  norm
	projection *linear // to the shared space
	pool       *attentionPool
	antialias  bool // positions are resized as SigLIP 2's are

	mu    sync.Mutex
	grids map[[2]int]*grid // by size, a few
}

// grid is what depends on the number of patches only.
type grid struct {
	prefix  []float32 // [prefix, width]: class token and registers, with the position of the former
	patches []float32 // [patches, width]: positions, or nil with rope
	rope    *rope
}

// Readout says how patches are read out of the last block.
type Readout uint8

const (
	// NoReadout gives the tokens behind the final norm.
	NoReadout Readout = iota
	// Plain projects the final tokens of patches.
	Plain
	// MaskCLIP keeps the last block's values only (Zhou et al. 2022).
	MaskCLIP
	// SCLIP attends by softmax(q q) + softmax(k k) (Wang et al. 2024).
	SCLIP
	// ClearCLIP attends by softmax(q q), without residual and MLP (Lan et al. 2024).
	ClearCLIP
	// NACLIP attends by softmax(k k + w), w favouring neighbours, without residual and MLP (Hajimiri et al. 2025).
	NACLIP
)

var readoutNames = []string{"", "plain", "maskclip", "sclip", "clearclip", "naclip"}

func (r Readout) String() string { return readoutNames[r] }

// ParseReadout finds a read-out by its name.
func ParseReadout(name string) (Readout, error) {
	for i, known := range readoutNames {
		if name == known {
			return Readout(i), nil
		}
	}
	return 0, fmt.Errorf("read-out %q, expected plain, maskclip, sclip, clearclip or naclip", name)
}

// naclipStd is the standard deviation of NACLIP's neighbourhood, in patches.
const naclipStd = 5

// EncodeOptions say which tokens Encode returns.
type EncodeOptions struct {
	Stride  int     // of the patch embedding, a divisor of the patch size; 0 = the patch size
	Readout Readout // other than NoReadout: projected patch vectors, and no class token
	Layer   int     // block whose tokens are taken, 1 to Layers; 0 = the last
	Into    *Output // an output that is no longer needed: its memory is used again where it suffices
}

// Output holds what Encode found.
type Output struct {
	GridH, GridW int
	Width        int       // of patch vectors
	Patches      []float32 // [B, GridH * GridW, Width]
	Class        []float32 // [B, Info.Width] behind the final norm; nil without a class token or with a read-out
}

// OpenVision opens the vision encoder of a model directory or weights file.
func OpenVision(dir string, o Options) (*Vision, error) {
	source, err := openSource(dir)
	if err != nil {
		return nil, err
	}
	defer source.set.Close()
	return source.openVision(o)
}

func (s *source) openVision(o Options) (*Vision, error) {
	v, err := s.vision(o)
	if err != nil {
		return nil, fmt.Errorf("vision encoder %s: %w", s.dir, err)
	}
	return v, nil
}

// Open opens a vision and a text encoder; a directory or weights file that holds both is read once. Where the text encoder alone cannot
// be opened, the vision encoder is returned beside the error.
func Open(visionDir, textDir string, o Options) (*Vision, Text, error) {
	source, err := openSource(visionDir)
	if err != nil {
		return nil, nil, err
	}
	v, err := source.openVision(o)
	if err == nil && textDir == visionDir {
		text, err := source.openText(o)
		return v, text, err
	}
	source.set.Close()
	if err != nil {
		return nil, nil, err
	}
	text, err := OpenText(textDir, o)
	return v, text, err
}

// Info says what the encoder is.
func (v *Vision) Info() Info { return v.info }

// Pixels returns a picture as [3, H, W], normalised as the encoder was trained.
func (v *Vision) Pixels(im *imaging.Image) []float32 {
	return v.AppendPixels(nil, im)
}

// AppendPixels appends what Pixels returns.
func (v *Vision) AppendPixels(dst []float32, im *imaging.Image) []float32 {
	n := im.Width * im.Height
	dst = slices.Grow(dst, 3*n)
	result := dst[len(dst) : len(dst)+3*n]
	for c := range 3 {
		var table [256]float32
		for i := range table {
			table[i] = (float32(i)/255 - v.info.Mean[c]) / v.info.Std[c]
		}
		plane := result[c*n : (c+1)*n]
		for i := range plane {
			plane[i] = table[im.Pix[3*i+c]]
		}
	}
	return dst[:len(dst)+3*n]
}

// Grid returns how many patches an input of height x width pixels has.
func (v *Vision) Grid(height, width, stride int) (gh, gw int, err error) {
	p := v.info.PatchSize
	if stride == 0 {
		stride = p
	}
	if stride < 1 || p%stride != 0 {
		return 0, 0, fmt.Errorf("stride %d, expected a divisor of the patch size %d", stride, p)
	}
	if height < p || width < p || height%stride != 0 || width%stride != 0 {
		return 0, 0, fmt.Errorf("input of %dx%d pixels, expected multiples of %d that are at least %d", width, height, stride, p)
	}
	return (height-p)/stride + 1, (width-p)/stride + 1, nil
}

// batchTokens is about how many tokens pass through the blocks at once.
const batchTokens = 4096

// Encode passes a batch of images, pixels [B, 3, H, W], through the encoder. It is an error if patches are no numbers.
func (v *Vision) Encode(ctx context.Context, pixels []float32, batch, height, width int, o EncodeOptions) (Output, error) {
	if o.Stride == 0 {
		o.Stride = v.info.PatchSize
	}
	gh, gw, err := v.Grid(height, width, o.Stride)
	if err != nil {
		return Output{}, err
	}
	if batch < 1 || len(pixels) != batch*3*height*width {
		return Output{}, fmt.Errorf("encode: %d numbers, expected %d images of 3x%dx%d", len(pixels), batch, height, width)
	}
	if o.Readout != NoReadout && v.projection == nil {
		return Output{}, fmt.Errorf("read-out %s needs a projection to the space of texts, which a %s encoder lacks", o.Readout, v.info.Family)
	}
	if o.Layer < 0 || o.Layer > v.info.Layers {
		return Output{}, fmt.Errorf("layer %d, expected 1 to %d", o.Layer, v.info.Layers)
	}
	out := Output{GridH: gh, GridW: gw, Width: v.info.Width}
	if o.Readout != NoReadout {
		out.Width = v.info.ProjectionDim
	}
	var old Output
	if o.Into != nil {
		old = *o.Into
	}
	out.Patches = again(old.Patches, batch*gh*gw*out.Width)
	if o.Readout == NoReadout && v.class != nil {
		out.Class = again(old.Class, batch*v.info.Width)
	}
	tokens := v.info.Prefix + gh*gw
	atOnce := max(1, batchTokens/tokens)
	for first := 0; first < batch; first += atOnce {
		if err := ctx.Err(); err != nil {
			return Output{}, err
		}
		n := min(atOnce, batch-first)
		part := pixels[first*3*height*width : (first+n)*3*height*width]
		v.encode(&out, part, first, n, height, width, o)
	}
	if err := v.info.checkNumbers("vision", out.Patches, out.Width); err != nil {
		return Output{}, err
	}
	return out, nil
}

// again returns n numbers, in old memory where there is enough; all of them will be written.
func again(old []float32, n int) []float32 {
	if cap(old) >= n {
		return old[:n]
	}
	return make([]float32, n)
}

func (v *Vision) encode(out *Output, pixels []float32, first, n, height, width int, o EncodeOptions) {
	g := v.grid(out.GridH, out.GridW)
	prefix, patches := v.info.Prefix, out.GridH*out.GridW
	tokens := prefix + patches
	buffers := v.blocks.takeScratch(n * tokens)
	defer v.blocks.scratch.Put(buffers)
	x := buffers.stream.take(kernel.Float32, n*tokens, v.info.Width)
	for i := range n {
		v.embed(x.Slice(i*tokens, (i+1)*tokens, 0, v.info.Width), g, pixels[i*3*height*width:], height, width, out.GridW, o.Stride, buffers)
	}
	if v.preNorm != nil {
		v.preNorm.apply(x, x)
	}
	s := sequence{batch: n, tokens: tokens, rope: g.rope}
	last := len(v.blocks.blocks)
	if o.Layer > 0 {
		last = o.Layer
	}
	if o.Readout == NoReadout || o.Readout == Plain {
		v.blocks.forward(x, s, 0, last, buffers)
	} else {
		v.blocks.forward(x, s, 0, last-1, buffers)
		v.readOut(x, s, last-1, o.Readout, out.GridH, out.GridW, buffers)
	}
	// The final norm takes the patches to their destination, without the tokens before them.
	for i := range n {
		rows := x.Slice(i*tokens+prefix, (i+1)*tokens, 0, v.info.Width)
		dst := kernel.FromFloat32(out.Patches[(first+i)*patches*out.Width:][:patches*out.Width], patches, out.Width)
		if o.Readout == NoReadout {
			v.finalNorm.apply(dst, rows)
		} else {
			normed := buffers.normed.takeRows(v.blocks.precision, patches, v.info.Width)
			v.finalNorm.apply(normed, rows)
			v.projection.apply(dst, normed, kernel.Epilogue{})
		}
		if out.Class != nil {
			class := kernel.FromFloat32(out.Class[(first+i)*v.info.Width:][:v.info.Width], 1, v.info.Width)
			v.finalNorm.apply(class, x.Slice(i*tokens, i*tokens+1, 0, v.info.Width))
		}
	}
}

// Project maps vectors [n, Width] to the space shared with texts, [n, ProjectionDim].
func (v *Vision) Project(vectors []float32) ([]float32, error) {
	if v.projection == nil {
		return nil, fmt.Errorf("a %s encoder has no projection to the space of texts", v.info.Family)
	}
	n := len(vectors) / v.info.Width
	if n == 0 || len(vectors)%v.info.Width != 0 {
		return nil, fmt.Errorf("project: %d numbers, expected rows of %d", len(vectors), v.info.Width)
	}
	result := make([]float32, n*v.info.ProjectionDim)
	v.projection.apply(kernel.FromFloat32(result, n, v.info.ProjectionDim), kernel.FromFloat32(vectors, n, v.info.Width), kernel.Epilogue{})
	return result, nil
}

// cutRows is how many patches are cut out at once.
const cutRows = 512

// embed sets x [tokens, width] to the start of an image [3, H, W]: what every token starts from, and the patch embedding.
func (v *Vision) embed(x kernel.Mat, g *grid, pixels []float32, height, width, gw, stride int, buffers *passScratch) {
	p, prefix := v.info.PatchSize, v.info.Prefix
	for i := range prefix {
		copy(x.Row(i), g.prefix[i*x.Cols:])
	}
	for first := prefix; first < x.Rows; first += cutRows {
		last := min(first+cutRows, x.Rows)
		cut := buffers.wide.takeRows(v.blocks.precision, last-first, 3*p*p)
		kernel.Parallel(last-first, func(_, i int) {
			patch := first + i - prefix
			if g.patches == nil {
				clear(x.Row(first + i))
			} else {
				copy(x.Row(first+i), g.patches[patch*x.Cols:])
			}
			row, column := patch/gw*stride, patch%gw*stride
			for c := range 3 {
				for y := range p {
					from, to := (c*height+row+y)*width+column, (c*p+y)*p
					if cut.H != nil {
						kernel.ToBF16(cut.RowBF16(i)[to:to+p], pixels[from:from+p])
					} else {
						copy(cut.Row(i)[to:to+p], pixels[from:from+p])
					}
				}
			}
		})
		v.patch.apply(x.Slice(first, last, 0, x.Cols), cut, kernel.Epilogue{Accumulate: true})
	}
}

// readOut passes x through the last block, changed as the read-out asks.
func (v *Vision) readOut(x kernel.Mat, s sequence, layer int, r Readout, gh, gw int, buffers *passScratch) {
	b := &v.blocks.blocks[layer]
	var o kernel.AttentionOptions
	residual := false
	switch r {
	case MaskCLIP:
		o.Mode = kernel.Identity
	case SCLIP:
		o.Mode, residual = kernel.QueryQueryKeyKey, true
	case ClearCLIP:
		o.Mode = kernel.QueryQuery
	case NACLIP:
		o.Mode, o.Bias = kernel.KeyKey, neighbourhood(v.info.Prefix, gh, gw)
	}
	v.blocks.attend(b, x, x, s, buffers, o, residual)
	if residual {
		v.blocks.feedForward(b, x, buffers)
	}
}

// neighbourhood is NACLIP's addition to the scores of patches: exp(-distance^2 / 2 std^2), 0 for other tokens.
func neighbourhood(prefix, gh, gw int) func(query, first int, scores []float32) {
	falloff := make([]float32, max(gh, gw))
	for d := range falloff {
		falloff[d] = float32(math.Exp(-float64(d*d) / (2 * naclipStd * naclipStd)))
	}
	return func(query, first int, scores []float32) {
		if query < prefix {
			return
		}
		row, column := (query-prefix)/gw, (query-prefix)%gw
		for i := range scores {
			key := first + i - prefix
			if key < 0 {
				continue
			}
			dy, dx := key/gw-row, key%gw-column
			scores[i] += falloff[max(dy, -dy)] * falloff[max(dx, -dx)]
		}
	}
}

// grid returns what depends on the number of patches, made once for each of the last few sizes.
func (v *Vision) grid(gh, gw int) *grid {
	v.mu.Lock()
	defer v.mu.Unlock()
	key := [2]int{gh, gw}
	if g, ok := v.grids[key]; ok {
		return g
	}
	if len(v.grids) >= 8 || v.grids == nil {
		v.grids = make(map[[2]int]*grid)
	}
	w := v.info.Width
	g := &grid{prefix: make([]float32, v.info.Prefix*w)}
	copy(g.prefix, v.class.all())
	copy(g.prefix[len(g.prefix)-len(v.registers):], v.registers)
	if positions := v.positions.all(); positions != nil {
		own := len(positions) - v.side*v.side*w // the class token's position
		if own > 0 {
			kernel.Axpy(g.prefix[:own], 1, positions[:own])
		}
		g.patches = resizePositions(positions[own:], v.side, gh, gw, w, v.antialias)
	}
	if v.periods != nil {
		g.rope = newRope(v.periods, w/v.info.Heads, v.info.Prefix, gh, gw)
	}
	v.grids[key] = g
	return g
}

// source is an opened directory or weights file before it is known what it holds.
type source struct {
	dir    string
	set    *weights.Set
	config modelConfig
	open   *openCLIPConfig
	found  bool // config.json exists
}

func openSource(path string) (*source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("encoder: %w", err)
	}
	s := &source{dir: path}
	if info.IsDir() {
		if s.found, err = readJSON(filepath.Join(path, "config.json"), &s.config); err != nil {
			return nil, fmt.Errorf("encoder: %w", err)
		}
		var open openCLIPConfig
		isOpen, err := readJSON(filepath.Join(path, "open_clip_config.json"), &open)
		if err != nil {
			return nil, fmt.Errorf("encoder: %w", err)
		}
		if isOpen {
			s.open = &open
		}
	}
	if s.set, err = weights.Open(path); err != nil {
		return nil, err
	}
	return s, nil
}

var errNoVision = errors.New("it has no vision encoder")
