package encoder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pacl/pacl/hub"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/tokenizer"
	"github.com/pacl/pacl/weights"
)

// Text turns texts into sentence vectors. Its methods may be used by many goroutines at once.
type Text interface {
	// Embed returns the vectors [N, Width] of N texts, not normalised.
	Embed(ctx context.Context, texts []string) ([]float32, error)
	Width() int
	Info() Info
}

// OpenText opens the text encoder of a model directory or weights file: a transformer, or a names table.
func OpenText(dir string, o Options) (Text, error) {
	s, err := openSource(dir)
	if err != nil {
		return nil, err
	}
	return s.openText(o)
}

// openText opens the source's text encoder, which keeps the source, or closes it.
func (s *source) openText(o Options) (Text, error) {
	text, err := s.text(o)
	if err != nil {
		s.set.Close()
		return nil, fmt.Errorf("text encoder %s: %w", s.dir, err)
	}
	return text, nil
}

// textTransformer is a text encoder with a transformer.
type textTransformer struct {
	info       Info
	set        *weights.Set // stays open: rows of the table of tokens are read as they are needed
	tokens     weights.Tensor
	positions  *vector // [positions, width]
	wordNorm   *norm
	blocks     *transformer
	finalNorm  *norm
	projection *linear
	pooling    pooling
	causal     bool
	encode     func(text string) []int32 // without start and end
	start, end int32                     // start is negative where texts have none
	pad        int32                     // fills texts up to the longest length where the last token stands for them
	// endID ends a text for pooling; negative: the largest id does.
	endID int32
	// ready packs the weights and reads the tokenizer when they are first needed: with its vocabulary cached, a model
	// segments without them. nil: nothing was left for later.
	ready        func() error
	tokenizerDir string
}

func (e *textTransformer) prepare() error {
	if e.ready == nil {
		return nil
	}
	return e.ready()
}

// Fingerprint names what a text encoder makes of texts: its tensors, its tokenizer, and the precision and instruction set
// of its products. It is "" where the encoder is no transformer, and so has nothing worth keeping.
func Fingerprint(t Text) string {
	e, ok := t.(*textTransformer)
	if !ok {
		return ""
	}
	files, err := tokenizer.Digest(e.tokenizerDir)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s tokenizer %s, %v by %s", e.info.Hash, files, e.blocks.precision, kernel.Name())
}

// pooling says how the vector of a text is made of those of its tokens.
type pooling uint8

const (
	endToken   pooling = iota // CLIP: the token that ends the text
	meanToken                 // BERT: the mean over all tokens, normalised
	firstToken                // BERT where its pooling says so: the class token, normalised
	lastToken                 // SigLIP: the last token of the padded text
)

func (e *textTransformer) Info() Info { return e.info }

// Width is the length of the vectors.
func (e *textTransformer) Width() int {
	if e.info.ProjectionDim > 0 {
		return e.info.ProjectionDim
	}
	return e.info.Width
}

func poolingOf(family string) pooling {
	switch family {
	case "bert":
		return meanToken
	case "siglip":
		return lastToken
	}
	return endToken
}

// Embed cuts each text at the longest that the encoder takes.
func (e *textTransformer) Embed(ctx context.Context, texts []string) ([]float32, error) {
	if err := e.prepare(); err != nil {
		return nil, err
	}
	sequences := make([][]int32, len(texts))
	for i, text := range texts {
		sequences[i] = e.frame(e.encode(text))
	}
	return e.EmbedIDs(ctx, sequences)
}

// frame cuts the ids of a text, puts them between start and end and pads them as the encoder was trained.
func (e *textTransformer) frame(ids []int32) []int32 {
	sequence := make([]int32, 0, len(ids)+2)
	if e.start >= 0 {
		sequence = append(sequence, e.start)
	}
	room := e.info.Positions - len(sequence) - 1
	sequence = append(append(sequence, ids[:min(len(ids), room)]...), e.end)
	for e.pooling == lastToken && len(sequence) < e.info.Positions {
		sequence = append(sequence, e.pad)
	}
	return sequence
}

// EmbedIDs returns the vectors [N, Width] of token sequences, start and end included. Of a causal encoder what follows
// the end token counts for nothing and is not computed.
func (e *textTransformer) EmbedIDs(ctx context.Context, sequences [][]int32) ([]float32, error) {
	if err := e.prepare(); err != nil {
		return nil, err
	}
	width := e.Width()
	result := make([]float32, len(sequences)*width)
	lengths := make([]int, len(sequences))
	for i, ids := range sequences {
		if len(ids) == 0 || len(ids) > e.info.Positions {
			return nil, fmt.Errorf("text of %d tokens, expected 1 to %d", len(ids), e.info.Positions)
		}
		for _, id := range ids {
			if id < 0 || int(id) >= e.info.Vocabulary {
				return nil, fmt.Errorf("token %d of a vocabulary of %d", id, e.info.Vocabulary)
			}
		}
		lengths[i] = len(ids)
		if e.pooling == endToken {
			lengths[i] = e.endOf(ids) + 1
		}
	}
	const tokensAtOnce = 2048
	for first := 0; first < len(sequences); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		last, rows := first, 0
		for last < len(sequences) && (rows == 0 || rows+lengths[last] <= tokensAtOnce) {
			rows += lengths[last]
			last++
		}
		e.embed(result[first*width:last*width], sequences[first:last], lengths[first:last], rows)
		first = last
	}
	if err := e.info.checkNumbers("text", result, width); err != nil {
		return nil, err
	}
	return result, nil
}

// endOf returns the place of the token whose vector stands for the text.
func (e *textTransformer) endOf(ids []int32) int {
	if e.endID >= 0 {
		return max(slices.Index(ids, e.endID), 0)
	}
	place := 0
	for i, id := range ids {
		if id > ids[place] {
			place = i
		}
	}
	return place
}

func (e *textTransformer) embed(dst []float32, sequences [][]int32, lengths []int, rows int) {
	w := e.info.Width
	x := kernel.NewMat(kernel.Float32, rows, w)
	offsets, positions := make([]int, len(sequences)+1), e.positions.all()
	for i, ids := range sequences {
		offsets[i+1] = offsets[i] + lengths[i]
		for t, id := range ids[:lengths[i]] {
			row := x.Row(offsets[i] + t)
			// The id was checked against the table.
			if err := e.tokens.CopyRange(row, int(id)*w); err != nil {
				panic(err)
			}
			kernel.Axpy(row, 1, positions[t*w:(t+1)*w])
		}
	}
	if e.wordNorm != nil {
		e.wordNorm.apply(x, x)
	}
	buffers := e.blocks.takeScratch(rows)
	e.blocks.forward(x, sequence{batch: len(sequences), offsets: offsets, causal: e.causal}, 0, len(e.blocks.blocks), buffers)
	e.blocks.scratch.Put(buffers)
	pooled := kernel.NewMat(kernel.Float32, len(sequences), w)
	for i := range sequences {
		switch e.pooling {
		case firstToken:
			copy(pooled.Row(i), x.Row(offsets[i]))
			continue
		case endToken, lastToken:
			copy(pooled.Row(i), x.Row(offsets[i+1]-1))
			continue
		}
		for t := offsets[i]; t < offsets[i+1]; t++ {
			kernel.Axpy(pooled.Row(i), 1/float32(lengths[i]), x.Row(t))
		}
	}
	if e.pooling == meanToken || e.pooling == firstToken {
		kernel.NormalizeRows(pooled, pooled, 1e-12)
	}
	if e.finalNorm != nil {
		e.finalNorm.apply(pooled, pooled)
	}
	if e.projection != nil { // SigLIP's has a bias
		e.projection.apply(kernel.FromFloat32(dst, len(sequences), e.Width()), pooled, kernel.Epilogue{})
		return
	}
	copy(dst, pooled.F)
}

// text loads the text encoder that the source holds, and leaves the source open to it.
func (s *source) text(o Options) (Text, error) {
	switch kind := s.config.ModelType; {
	case kind == "names":
		return s.names()
	case s.open != nil || kind == "" && s.has("token_embedding.weight"):
		return s.openCLIPText(o)
	case kind == "clip" || kind == "clip_text_model":
		return s.clipText(o)
	case kind == "siglip" || kind == "siglip_text_model" || kind == "siglip2" || kind == "siglip2_text_model":
		return s.siglipText(o)
	case kind == "bert":
		return s.bertText(o)
	case kind != "" && s.config.Text == nil || kind == "" && s.has("patch_embed.proj.weight"):
		if _, err := s.describeVision(); err == nil {
			return nil, fmt.Errorf("it has no text encoder")
		}
	}
	return nil, s.unknown()
}

func (s *source) clipText(o Options) (Text, error) {
	c := s.textConfig()
	s.deriveSizes(&c, clipTextScheme(), 8)
	if !s.has("text_model.final_layer_norm.weight") {
		return nil, fmt.Errorf("weights %s hold no text encoder (tensor text_model.final_layer_norm.weight is missing)", s.set.Path())
	}
	c.defaults("quick_gelu", 1e-5, 0, 0)
	end := int32(-1)
	if c.EOS != nil && *c.EOS != 2 { // 2 stands in old configurations and is wrong
		end = *c.EOS
	}
	if c.EOS == nil {
		end = 49407
	}
	return s.textTransformer(o, "clip", c, clipTextScheme(), end)
}

func (s *source) textConfig() transformerConfig {
	if s.config.Text != nil {
		return *s.config.Text
	}
	return s.config.transformerConfig
}

func (s *source) siglipText(o Options) (Text, error) {
	names := siglipTextScheme()
	if !s.has(names.finalNorm + ".weight") {
		return nil, fmt.Errorf("weights %s hold no text encoder (tensor %s.weight is missing)", s.set.Path(), names.finalNorm)
	}
	c := s.textConfig()
	s.deriveSizes(&c, names, 12)
	c.defaults("gelu_pytorch_tanh", 1e-6, 0, 0)
	return s.textTransformer(o, "siglip", c, names, -1)
}

func (s *source) openCLIPText(o Options) (Text, error) {
	width := s.size("token_embedding.weight", 1)
	c := transformerConfig{
		HiddenSize: width, Layers: s.count("transformer.resblocks.%d.ln_1.weight"), Heads: max(1, width/64),
		IntermediateSize: s.size("transformer.resblocks.0.mlp.c_fc.weight", 0),
		Activation:       "quick_gelu", NormEps: 1e-5, ProjectionDim: s.size("text_projection", 1),
	}
	if s.open != nil {
		if name := s.open.Model.Text.HFModel; name != "" {
			return nil, fmt.Errorf("its text tower is %q, a model of another family, expected CLIP's", name)
		}
		if err := s.open.Model.Text.check("argmax"); err != nil {
			return nil, err
		}
		c.NormEps = s.open.Model.Text.eps()
		if s.open.Model.Text.Heads > 0 {
			c.Heads = s.open.Model.Text.Heads
		}
		if !s.open.Model.QuickGELU {
			c.Activation = "gelu"
		}
	}
	return s.textTransformer(o, "clip", c, openCLIPTextScheme(), -1)
}

func (s *source) bertText(o Options) (Text, error) {
	c := s.config.transformerConfig
	c.defaults("gelu", 1e-12, 0, 0)
	pooled, err := s.sentencePooling()
	if err != nil {
		return nil, err
	}
	e, err := s.textTransformer(o, "bert", c, bertScheme(s.prefixed("embeddings.word_embeddings.weight", "", "bert.")), -1)
	if err != nil {
		return nil, err
	}
	e.pooling = pooled
	return e, nil
}

// sentencePooling reads how a sentence encoder pools its tokens, as sentence-transformers writes it down; the mean where
// nothing is said.
func (s *source) sentencePooling() (pooling, error) {
	var modules []struct {
		Type string `json:"type"`
		Path string `json:"path"`
	}
	if _, err := readJSON(filepath.Join(s.dir, "modules.json"), &modules); err != nil {
		return 0, err
	}
	folder := "1_Pooling"
	for _, m := range modules {
		switch kind := m.Type[strings.LastIndexByte(m.Type, '.')+1:]; {
		case kind == "Pooling" && filepath.IsLocal(m.Path):
			folder = m.Path
		case kind != "Transformer" && kind != "Pooling" && kind != "Normalize":
			return 0, fmt.Errorf("modules.json has a layer %q behind the transformer, expected Pooling and Normalize only", m.Type)
		}
	}
	config := struct {
		Class *bool `json:"pooling_mode_cls_token"`
		Mean  *bool `json:"pooling_mode_mean_tokens"`
	}{}
	found, err := readJSON(filepath.Join(s.dir, folder, "config.json"), &config)
	isSet := func(v *bool) bool { return v != nil && *v }
	switch {
	case err != nil:
		return 0, err
	case !found || isSet(config.Mean) && !isSet(config.Class):
		return meanToken, nil
	case isSet(config.Class) && !isSet(config.Mean):
		return firstToken, nil
	}
	return 0, fmt.Errorf("%s/config.json pools neither by the mean nor by the class token alone, which are the ways that are known", folder)
}

func (s *source) textTransformer(o Options, family string, c transformerConfig, names scheme, endID int32) (*textTransformer, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	l := &loader{set: s.set, precision: o.Precision}
	e := &textTransformer{set: s.set, causal: family == "clip", pooling: poolingOf(family), endID: endID}
	w := c.HiddenSize
	e.tokens = l.matrix(names.tokens, w)
	positions := l.matrix(names.position, w)
	if l.err != nil {
		return nil, l.err
	}
	e.positions = l.late(positions)
	e.blocks = l.transformer(c, names)
	e.blocks.postNorm = family == "bert"
	if names.tokenTypes != "" {
		// All of a single text is of the first type: its vector belongs to the positions.
		types := l.matrix(names.tokenTypes, w)
		e.positions.then(names.tokenTypes, func(positions []float32) error {
			first := make([]float32, w)
			err := types.CopyRange(first, 0)
			for t := 0; t < len(positions); t += w {
				kernel.Axpy(positions[t:t+w], 1, first)
			}
			return err
		})
	}
	if names.wordNorm != "" {
		n := l.norm(names.wordNorm, w, c.NormEps)
		e.wordNorm = &n
	}
	if names.finalNorm != "" {
		n := l.norm(names.finalNorm, w, c.NormEps)
		e.finalNorm = &n
	}
	projection := 0
	switch {
	case names.head != "":
		projection = s.size(names.head+".weight", 0)
		p := l.layer(names.head, w, projection)
		e.projection = &p
	case names.projection != "" && s.has(names.projection):
		projection = s.size(names.projection, 0)
		p := l.linear(w, part{tensor: names.projection, rows: projection})
		e.projection = &p
	case names.projectionTransposed != "" && s.has(names.projectionTransposed):
		projection = s.size(names.projectionTransposed, 1)
		p := l.transposed(names.projectionTransposed, w, projection)
		e.projection = &p
	}
	if l.err != nil {
		return nil, l.err
	}
	e.info = Info{
		Family: family, Dir: s.dir, Hash: s.set.Hash(), Width: w, ProjectionDim: projection, Layers: c.Layers, Heads: c.Heads,
		Hidden: c.IntermediateSize, Positions: e.positions.size / w, Vocabulary: e.tokens.Shape[0],
		Params: s.params("vision_model.", "visual.", "visual_projection"), LogitScale: s.logitScale(), LogitBias: s.logitBias(),
	}
	dir := s.tokenizerDir(o)
	if e.tokenizerDir = dir; family == "clip" && tokenizer.HasCLIP(dir) {
		e.ready = sync.OnceValue(func() error {
			if err := l.pack(); err != nil {
				return fmt.Errorf("text encoder %s: %w", s.dir, err)
			}
			if err := e.openTokenizer(dir, o, family); err != nil {
				return fmt.Errorf("text encoder %s: %w", s.dir, err)
			}
			return nil
		})
		return e, nil
	}
	e.ready = sync.OnceValue(l.pack)
	return e, e.openTokenizer(dir, o, family)
}

// tokenizerDir is where the tokenizer is looked for: where the user says, else beside the weights.
func (s *source) tokenizerDir(o Options) string {
	if o.Tokenizer != "" {
		return o.Tokenizer
	}
	if info, err := os.Stat(s.dir); err == nil && !info.IsDir() {
		return filepath.Dir(s.dir)
	}
	return s.dir
}

func (e *textTransformer) openTokenizer(dir string, o Options, family string) error {
	switch family {
	case "siglip":
		t, err := tokenizer.LoadSentencePiece(dir)
		if err != nil {
			return err
		}
		e.encode, e.start, e.end, e.pad = t.Encode, -1, t.End(), t.Pad()
		return e.checkTokenizer(t.Size())
	case "bert":
		t, err := tokenizer.LoadWordPiece(dir)
		if err != nil {
			return err
		}
		e.encode, e.start, e.end = t.Encode, t.Start(), t.End()
		return e.checkTokenizer(t.Size())
	}
	t, err := e.clipTokenizer(dir, o)
	if err != nil {
		return err
	}
	e.encode, e.start, e.end = t.Encode, t.Start(), t.End()
	return e.checkTokenizer(t.Size())
}

// clipTokenizer loads CLIP's tokenizer, which all CLIP models share: where the weights have none beside them and the user
// names none, that of any model in the hub cache serves.
func (e *textTransformer) clipTokenizer(dir string, o Options) (*tokenizer.CLIP, error) {
	if o.Tokenizer != "" || tokenizer.HasCLIP(dir) {
		return tokenizer.LoadCLIP(dir)
	}
	for _, snapshot := range hub.Snapshots() {
		if !tokenizer.HasCLIP(snapshot) {
			continue
		}
		// Other models have files of the same names: only CLIP's vocabulary fits the table of tokens.
		if t, err := tokenizer.LoadCLIP(snapshot); err == nil && t.Size() == e.info.Vocabulary {
			e.tokenizerDir = snapshot
			return t, nil
		}
	}
	return nil, fmt.Errorf("no tokenizer in %s and no CLIP in %s that has one: name a directory with --tokenizer, or run pacl pull openai/clip-vit-base-patch32",
		dir, hub.CacheDir())
}

// checkTokenizer refuses a tokenizer that knows more tokens than the encoder has vectors for.
func (e *textTransformer) checkTokenizer(size int) error {
	if size > e.info.Vocabulary {
		return fmt.Errorf("its tokenizer has %d tokens, the table of tokens %d", size, e.info.Vocabulary)
	}
	return nil
}
