package encoder

import (
	"path/filepath"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
)

// Options of opening an encoder.
type Options struct {
	// Precision of the operands of products. The zero value is float32; kernel.Default() is the processor's fastest.
	Precision kernel.Precision
	// Tokenizer is a directory to take the tokenizer from where the weights have none.
	Tokenizer string
}

// Info says what an encoder is.
type Info struct {
	Family string // "clip", "vit", "dinov2", "names", ...
	Dir    string
	Hash   string // SHA-256 over the tensors
	Source string // of a names table: the hub id of the encoder that made it, if any
	// Template is what the names of a table were put into.
	Template string

	Width         int // of tokens, or of a text encoder's vectors
	ProjectionDim int // of the space shared by patches and texts, 0 without one
	ImageDim      int // of vectors of whole images that are compared with texts, 0 without them
	Layers, Heads int
	Hidden        int  // width of the MLP
	Gated         bool // the MLP has a third product, its gate
	Params        int64

	PatchSize, ImageSize int // pixels
	Prefix               int // class and register tokens before the patches
	Mean, Std            [3]float32
	Resample             imaging.Filter
	LogitScale           float32 // exp of the stored logarithm, 0 without one
	LogitBias            float32 // added to logits before SigLIP's sigmoid, 0 elsewhere

	Positions, Vocabulary int // of a text encoder: longest text in tokens, number of tokens or names
}

// Name is a short name for messages.
func (i Info) Name() string { return filepath.Base(i.Dir) }

// FLOPs are the floating-point operations of the products that one image of height x width pixels takes at the given
// stride, 0 for the patch size.
func (i Info) FLOPs(height, width, stride int) float64 {
	if stride == 0 {
		stride = i.PatchSize
	}
	gh, gw := (height-i.PatchSize)/stride+1, (width-i.PatchSize)/stride+1
	tokens := float64(gh*gw + i.Prefix)
	return 2*float64(gh*gw)*3*float64(i.PatchSize*i.PatchSize)*float64(i.Width) + i.blockFLOPs(tokens, tokens)
}

// TextFLOPs are those of a text of so many tokens, start and end included; a token of CLIP sees those before it only.
func (i Info) TextFLOPs(tokens int) float64 {
	n := float64(tokens)
	seen := n
	if i.Family == "clip" {
		seen = (n + 1) / 2
	}
	return i.blockFLOPs(n, seen)
}

// blockFLOPs are the operations of all blocks on a sequence of tokens that see so many tokens each.
func (i Info) blockFLOPs(tokens, seen float64) float64 {
	width, hidden := float64(i.Width), float64(i.Hidden)
	products := 2.0
	if i.Gated {
		products = 3
	}
	return float64(i.Layers) * (2*tokens*(4*width*width+products*width*hidden) + 4*tokens*seen*width)
}
