package encoder

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/pacl/pacl/imaging"
)

// knownFamilies is what a refusal names.
const knownFamilies = "CLIP (Hugging Face, OpenCLIP, OpenAI), SigLIP, SigLIP 2, ViT (Hugging Face, timm), DINOv2, DINOv3, EUPE, BERT sentence encoders and names tables"

// openCLIPConfig is an open_clip_config.json.
type openCLIPConfig struct {
	Model struct {
		EmbedDim  int  `json:"embed_dim"`
		QuickGELU bool `json:"quick_gelu"`
		Vision    struct {
			ImageSize int     `json:"image_size"`
			Layers    any     `json:"layers"`
			Width     int     `json:"width"`
			HeadWidth int     `json:"head_width"`
			PatchSize int     `json:"patch_size"`
			MLPRatio  float64 `json:"mlp_ratio"`

			openCLIPVariant
		} `json:"vision_cfg"`
		Text struct {
			Context    int     `json:"context_length"`
			Vocabulary int     `json:"vocab_size"`
			Width      int     `json:"width"`
			Heads      int     `json:"heads"`
			Layers     int     `json:"layers"`
			MLPRatio   float64 `json:"mlp_ratio"`
			HFModel    string  `json:"hf_model_name"`

			openCLIPVariant
		} `json:"text_cfg"`
	} `json:"model_cfg"`
	Preprocess struct {
		Mean          []float32 `json:"mean"`
		Std           []float32 `json:"std"`
		Interpolation string    `json:"interpolation"`
	} `json:"preprocess_cfg"`
}

// openCLIPVariant holds the settings that turn a tower into another one than CLIP's.
type openCLIPVariant struct {
	TimmModel     string  `json:"timm_model_name"`
	Pool          string  `json:"pool_type"`
	Attentional   any     `json:"attentional_pool"`
	NoPreNorm     bool    `json:"no_ln_pre"`
	NormAfterPool bool    `json:"final_ln_after_pool"`
	LayerScale    float64 `json:"ls_init_value"`
	NoCausalMask  bool    `json:"no_causal_mask"`
	ClassToken    bool    `json:"embed_cls"`
	ProjBias      bool    `json:"proj_bias"`
	Norm          *struct {
		Eps *float32 `json:"eps"`
	} `json:"norm_kwargs"`
	Activation map[string]any `json:"act_kwargs"`
}

// check refuses what would be computed wrongly; usual is the pooling that CLIP has.
func (v openCLIPVariant) check(usual string) error {
	for name, set := range map[string]bool{
		"timm_model_name": v.TimmModel != "", "pool_type": v.Pool != "" && v.Pool != usual,
		"attentional_pool": v.Attentional != nil && v.Attentional != false, "no_ln_pre": v.NoPreNorm,
		"final_ln_after_pool": v.NormAfterPool, "ls_init_value": v.LayerScale != 0, "no_causal_mask": v.NoCausalMask,
		"embed_cls": v.ClassToken, "proj_bias": v.ProjBias, "act_kwargs": len(v.Activation) > 0,
	} {
		if set {
			return fmt.Errorf("open_clip_config.json sets %s: a variant of CLIP that is not known, expected OpenAI's towers", name)
		}
	}
	return nil
}

// eps is the norms' epsilon.
func (v openCLIPVariant) eps() float32 {
	if v.Norm != nil && v.Norm.Eps != nil {
		return *v.Norm.Eps
	}
	return 1e-5
}

// has says whether the weights hold a tensor.
func (s *source) has(name string) bool {
	_, ok := s.set.Get(name)
	return ok
}

// prefixed returns the prefix, of those given, under which a tensor is found.
func (s *source) prefixed(name string, prefixes ...string) string {
	for _, prefix := range prefixes {
		if s.has(prefix + name) {
			return prefix
		}
	}
	return prefixes[0]
}

// shape returns a tensor's shape, nil where there is no such tensor.
func (s *source) shape(name string) []int {
	t, _ := s.set.Get(name)
	return t.Shape
}

// size returns the size of a tensor's dimension, 0 where there is no such tensor.
func (s *source) size(name string, dimension int) int {
	shape := s.shape(name)
	if dimension >= len(shape) {
		return 0
	}
	return shape[dimension]
}

// deriveSizes fills in what a config.json leaves out because its writer takes it for the family's usual value: sizes
// follow from the tensors, only the number of heads does not.
func (s *source) deriveSizes(c *transformerConfig, names scheme, heads int) {
	if c.HiddenSize == 0 {
		c.HiddenSize = s.size(names.position, 1)
	}
	if c.Layers == 0 {
		c.Layers = s.count(names.block + names.norm1 + ".weight")
	}
	if c.IntermediateSize == 0 {
		c.IntermediateSize = s.size(names.at(0).fc1+".weight", 0)
	}
	if c.Heads == 0 {
		c.Heads = heads
	}
	if c.PatchSize == 0 && names.patch != "" {
		c.PatchSize = s.size(names.patch+".weight", 3)
	}
}

// count returns how many blocks there are under a pattern such as "blocks.%d.norm1.weight".
func (s *source) count(pattern string) int {
	n := 0
	for s.has(fmt.Sprintf(pattern, n)) {
		n++
	}
	return n
}

func (s *source) unknown() error {
	if s.config.ModelType != "" {
		return fmt.Errorf("model type %q is not known, expected one of %s", s.config.ModelType, knownFamilies)
	}
	return fmt.Errorf("neither a config.json nor tensors of a known model, expected one of %s", knownFamilies)
}

// visionDescription is all that tells one vision encoder from another.
type visionDescription struct {
	family     string
	config     transformerConfig
	scheme     scheme
	rope       bool
	linear     bool // the patch embedding is a linear layer of patches [p, p, 3], as SigLIP 2's of any size
	antialias  bool // positions are resized bilinearly, smoothed where the grid is smaller than theirs
	prep       preprocessing
	logitScale float64 // the stored logarithm, NaN without one
}

func (s *source) describeVision() (d visionDescription, err error) {
	d.logitScale = math.NaN()
	kind := s.config.ModelType
	switch {
	case s.open != nil || kind == "" && s.has("visual.conv1.weight"):
		return s.describeOpenCLIPVision()
	case kind == "clip" || kind == "clip_vision_model":
		d.family, d.scheme, d.config = "clip", clipVisionScheme(), s.visionConfig()
		s.deriveSizes(&d.config, d.scheme, 12)
		d.config.defaults("quick_gelu", 1e-5, 16, 224)
		d.rope = d.config.RopeTheta > 0 // as pacl pretrain writes it
		d.prep = preprocessing{clipMean, clipStd, imaging.Bicubic, d.config.ImageSize}
	case kind == "siglip" || kind == "siglip_vision_model" || kind == "siglip2" || kind == "siglip2_vision_model":
		d.describeSigLIP(s)
	case kind == "vit":
		d.family, d.config = "vit", s.config.transformerConfig
		d.scheme = vitScheme(s.prefixed("embeddings.cls_token", "vit.", ""))
		d.config.defaults("gelu", 1e-12, 16, 224)
		d.prep = preprocessing{half, half, imaging.Bilinear, d.config.ImageSize}
	case kind == "dinov2" || kind == "dinov2_with_registers":
		d.family, d.config = "dinov2", s.config.transformerConfig
		d.scheme = dinov2Scheme(s.prefixed("embeddings.cls_token", "", "dinov2.", "dinov2_with_registers."))
		d.config.defaults("gelu", 1e-6, 14, 518)
		d.prep = preprocessing{imageNetMean, imageNetStd, imaging.Bicubic, d.config.ImageSize}
	case kind == "dinov3_vit":
		d.family, d.config, d.rope = "dinov3", s.config.transformerConfig, true
		d.scheme = dinov3Scheme(s.prefixed("embeddings.cls_token", "", "model."))
		d.config.defaults("gelu", 1e-5, 16, 224)
		d.prep = preprocessing{imageNetMean, imageNetStd, imaging.Bilinear, d.config.ImageSize}
	case kind == "" && s.has("blocks.0.norm1.weight"):
		return s.describeCheckpoint()
	case kind == "bert" || kind == "names":
		return d, errNoVision
	default:
		return d, s.unknown()
	}
	return d, d.prep.readPreprocessor(s.dir)
}

// describeSigLIP describes SigLIP and SigLIP 2, whose models of a fixed size differ in weights and tokenizer only. Those
// of any size have a linear patch embedding and resize positions in their own way.
func (d *visionDescription) describeSigLIP(s *source) {
	d.family, d.scheme, d.config = "siglip", siglipVisionScheme(), s.visionConfig()
	d.linear = len(s.shape(d.scheme.patch+".weight")) == 2
	d.antialias = d.linear
	if d.linear {
		patch := cmp.Or(d.config.PatchSize, 16)
		side := math.Sqrt(float64(s.size(d.scheme.position, 0)))
		d.config.PatchSize, d.config.ImageSize = patch, int(math.Round(side))*patch
	}
	s.deriveSizes(&d.config, d.scheme, 12)
	d.config.defaults("gelu_pytorch_tanh", 1e-6, 16, 224)
	d.prep = preprocessing{half, half, imaging.Bicubic, d.config.ImageSize}
	if d.linear {
		d.prep.filter = imaging.Bilinear
	}
}

func (s *source) visionConfig() transformerConfig {
	c := s.config.transformerConfig
	if s.config.Vision != nil {
		c = *s.config.Vision
	}
	if s.config.ProjectionDim > 0 {
		c.ProjectionDim = s.config.ProjectionDim
	}
	return c
}

// defaults fills in what a config.json may leave out.
func (c *transformerConfig) defaults(act string, eps float32, patch, image int) {
	if c.Activation == "" {
		c.Activation = act
	}
	if c.NormEps == 0 {
		c.NormEps = eps
	}
	if c.PatchSize == 0 {
		c.PatchSize = patch
	}
	if c.ImageSize == 0 {
		c.ImageSize = image
	}
	if c.IntermediateSize == 0 {
		if c.MLPRatio == 0 {
			c.MLPRatio = 4
		}
		c.IntermediateSize = int(float64(c.HiddenSize) * c.MLPRatio)
		if c.SwiGLU {
			c.IntermediateSize = (int(float64(c.IntermediateSize)*2/3) + 7) / 8 * 8
		}
	}
}

func (s *source) describeOpenCLIPVision() (d visionDescription, err error) {
	width, patch := s.size("visual.conv1.weight", 0), s.size("visual.conv1.weight", 3)
	positions := s.size("visual.positional_embedding", 0)
	side := int(math.Round(math.Sqrt(float64(max(positions-1, 0)))))
	d = visionDescription{
		family: "clip", scheme: openCLIPVisionScheme(), logitScale: math.NaN(),
		config: transformerConfig{
			HiddenSize: width, Layers: s.count("visual.transformer.resblocks.%d.ln_1.weight"), Heads: max(1, width/64),
			IntermediateSize: s.size("visual.transformer.resblocks.0.mlp.c_fc.weight", 0),
			Activation:       "quick_gelu", NormEps: 1e-5, PatchSize: patch, ImageSize: side * patch,
			ProjectionDim: s.size("visual.proj", 1),
		},
		prep: preprocessing{clipMean, clipStd, imaging.Bicubic, side * patch},
	}
	for _, name := range []string{"visual.conv1.weight", "visual.class_embedding"} {
		if !s.has(name) {
			return d, fmt.Errorf("its image tower is no plain vision transformer (tensor %s is missing)", name)
		}
	}
	if s.open == nil {
		return d, nil
	}
	c := s.open.Model.Vision
	if err := c.check("tok"); err != nil {
		return d, err
	}
	d.config.NormEps = c.eps()
	if c.HeadWidth > 0 {
		d.config.Heads = max(1, width/c.HeadWidth)
	}
	if !s.open.Model.QuickGELU {
		d.config.Activation = "gelu"
	}
	err = d.prep.set("open_clip_config.json", s.open.Preprocess.Mean, s.open.Preprocess.Std, nil)
	if s.open.Preprocess.Interpolation == "bilinear" {
		d.prep.filter = imaging.Bilinear
	}
	return d, err
}

// describeCheckpoint tells timm's, DINOv2's, DINOv3's and EUPE's own checkpoints apart by their tensors; sizes follow
// from the shapes.
func (s *source) describeCheckpoint() (d visionDescription, err error) {
	scheme := timmScheme()
	width := s.size("patch_embed.proj.weight", 0)
	d = visionDescription{
		family: "vit", scheme: scheme, logitScale: math.NaN(),
		config: transformerConfig{
			HiddenSize: width, Layers: s.count("blocks.%d.norm1.weight"), Heads: max(1, width/64),
			IntermediateSize: s.size("blocks.0.mlp.fc1.weight", 0), Activation: "gelu", NormEps: 1e-6,
			PatchSize: s.size("patch_embed.proj.weight", 3), ImageSize: 224,
		},
		prep: preprocessing{half, half, imaging.Bicubic, 224},
	}
	if w12 := s.size("blocks.0.mlp.w12.weight", 0); w12 > 0 {
		d.config.IntermediateSize = w12 / 2
	}
	if w1 := s.size("blocks.0.mlp.w1.weight", 0); w1 > 0 {
		d.config.IntermediateSize, d.config.Activation = w1, "silu"
		d.scheme.gate, d.scheme.fc1, d.scheme.fc2 = "mlp.w1", "mlp.w2", "mlp.w3"
	}
	switch {
	case s.has("rope_embed.periods"):
		d.family, d.rope, d.config.NormEps = "dinov3", true, 1e-5
		d.scheme.registers = "storage_tokens"
		d.prep = preprocessing{imageNetMean, imageNetStd, imaging.Bilinear, 224}
		// The periods fix the width of a head: there is one for each quarter of it.
		if periods := s.size("rope_embed.periods", 0); periods > 0 && width%(4*periods) == 0 {
			d.config.Heads = width / (4 * periods)
		}
	case s.has("blocks.0.ls1.gamma"):
		d.family = "dinov2"
		d.config.ImageSize = 518
		d.prep = preprocessing{imageNetMean, imageNetStd, imaging.Bicubic, 518}
	}
	return d, nil
}

// vision loads the vision encoder that the source holds.
func (s *source) vision(o Options) (*Vision, error) {
	d, err := s.describeVision()
	if err != nil {
		return nil, err
	}
	c := d.config
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.PatchSize < 1 || c.PatchSize > 256 {
		return nil, fmt.Errorf("patch size %d, expected 1 to 256", c.PatchSize)
	}
	l := &loader{set: s.set, precision: o.Precision}
	v := &Vision{
		blocks: l.transformer(c, d.scheme),
		patch:  l.patchEmbedding(d),
		info: Info{
			Family: d.family, Dir: s.dir, Width: c.HiddenSize, Layers: c.Layers, Heads: c.Heads,
			Hidden: c.IntermediateSize, PatchSize: c.PatchSize, ImageSize: c.ImageSize,
			Mean: d.prep.mean, Std: d.prep.std, Resample: d.prep.filter,
		},
		finalNorm: l.norm(d.scheme.finalNorm, c.HiddenSize, c.NormEps),
	}
	if d.scheme.class != "" {
		v.class = l.needed(d.scheme.class, c.HiddenSize)
		v.info.Prefix++
	}
	if t, ok := s.set.Get(d.scheme.registers); ok && d.scheme.registers != "" {
		if t.Len()%c.HiddenSize != 0 || t.Len() > 1024*c.HiddenSize {
			return nil, fmt.Errorf("tensor %s has shape %v, expected rows of %d", t.Name, t.Shape, c.HiddenSize)
		}
		v.registers = t.Float32()
		v.info.Prefix += t.Len() / c.HiddenSize
	}
	if d.scheme.preNorm != "" {
		n := l.norm(d.scheme.preNorm, c.HiddenSize, c.NormEps)
		v.preNorm = &n
	}
	v.antialias = d.antialias
	if d.rope {
		v.periods, err = s.readPeriods(d)
	} else {
		err = v.readPositions(l, d)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case d.scheme.projection != "" && s.has(d.scheme.projection):
		p := l.linear(c.HiddenSize, part{tensor: d.scheme.projection, rows: s.size(d.scheme.projection, 0)})
		v.projection, v.info.ProjectionDim = &p, s.size(d.scheme.projection, 0)
	case d.scheme.projectionTransposed != "" && s.has(d.scheme.projectionTransposed):
		p := l.transposed(d.scheme.projectionTransposed, c.HiddenSize, c.ProjectionDim)
		v.projection, v.info.ProjectionDim = &p, c.ProjectionDim
	}
	v.info.ImageDim = v.info.ProjectionDim
	if d.scheme.pool != "" && s.has(d.scheme.pool+"probe") {
		v.pool, v.info.ImageDim = l.attentionPool(c, d.scheme.pool), c.HiddenSize
	}
	if l.err != nil {
		return nil, l.err
	}
	if err := l.pack(); err != nil {
		return nil, err
	}
	v.info.Hash, v.info.Params = s.set.Hash(), s.params("text_model.", "transformer.", "token_embedding", "positional_embedding", "ln_final", "text_projection")
	v.info.LogitScale, v.info.LogitBias = s.logitScale(), s.logitBias()
	v.info.Gated = v.blocks.blocks[0].gated
	return v, nil
}

// params counts the elements of all tensors whose names begin with none of the prefixes.
func (s *source) params(not ...string) int64 {
	var n int64
next:
	for _, name := range s.set.Names() {
		for _, prefix := range not {
			if strings.HasPrefix(name, prefix) {
				continue next
			}
		}
		t, _ := s.set.Get(name)
		n += int64(t.Len())
	}
	return n
}

// logitScale is exp of the stored logarithm, 0 where there is none.
func (s *source) logitScale() float32 {
	t, ok := s.set.Get("logit_scale")
	if !ok || t.Len() != 1 {
		return 0
	}
	return float32(math.Exp(float64(t.Float32()[0])))
}

// logitBias is SigLIP's bias of logits, 0 where there is none.
func (s *source) logitBias() float32 {
	t, ok := s.set.Get("logit_bias")
	if !ok || t.Len() != 1 {
		return 0
	}
	return t.Float32()[0]
}

func (s *source) readPeriods(d visionDescription) ([]float64, error) {
	head := d.config.HiddenSize / d.config.Heads
	if head%4 != 0 {
		return nil, fmt.Errorf("heads of width %d cannot be rotated, expected a multiple of 4", head)
	}
	if t, ok := s.set.Get(d.scheme.ropePeriods); ok && d.scheme.ropePeriods != "" {
		if t.Len() != head/4 {
			return nil, fmt.Errorf("tensor %s has shape %v, expected %d periods", t.Name, t.Shape, head/4)
		}
		return t.Float64(), nil
	}
	base := d.config.RopeTheta
	if base == 0 {
		base = 100
	}
	return ropePeriods(base, head), nil
}

// readPositions finds learned positions of a square grid, one before it for the class token where there is one.
func (v *Vision) readPositions(l *loader, d visionDescription) error {
	t, ok := l.set.Get(d.scheme.position)
	w := d.config.HiddenSize
	if !ok {
		return fmt.Errorf("weights %s: tensor %s is missing", l.set.Path(), d.scheme.position)
	}
	n := t.Len() / w
	if len(t.Shape) < 2 || t.Shape[len(t.Shape)-1] != w || t.Len() != n*w {
		return fmt.Errorf("weights %s: tensor %s has shape %v, expected rows of %d", l.set.Path(), t.Name, t.Shape, w)
	}
	own := 0
	if v.class != nil {
		own = 1
	}
	side := int(math.Round(math.Sqrt(float64(max(n-own, 0)))))
	if side < 1 || side*side+own != n {
		return fmt.Errorf("weights %s: tensor %s has %d positions, expected a square grid and %d before it", l.set.Path(), t.Name, n, own)
	}
	v.positions, v.side = l.late(t), side
	v.info.ImageSize = side * d.config.PatchSize
	return nil
}
