package serve

import (
	"context"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/readout"
)

// Engine is what the service needs of a model. All methods are safe for concurrent use.
type Engine interface {
	// Describe tells what the model is.
	Describe() Description
	// Encode turns photos into patch vectors, several in one pass where their sizes allow it; the results are in the order
	// of the photos.
	Encode(ctx context.Context, photos []*imaging.Image, o ImageOptions) ([]Encoded, error)
	// Labels turns each label into text vectors. Its errors are the client's, such as a word that the model does not know.
	Labels(ctx context.Context, labels []pacl.Label) ([]LabelVectors, error)
	// Texts returns the vectors of texts, [N, Width], in the space of the patch vectors.
	Texts(ctx context.Context, texts []string) ([]float32, error)
	// Scores are those of each label at each patch.
	Scores(ctx context.Context, e Encoded, labels []LabelVectors) (readout.Scores, error)
	// Prior is what Segment adds to scores before it compares them.
	Prior() readout.Prior
	// Segment gives each pixel of the photo its label.
	Segment(ctx context.Context, photo *imaging.Image, e Encoded, labels []LabelVectors, o SegmentOptions) (*readout.Segmentation, error)
}

// Encoded is a photo's patch vectors.
type Encoded interface {
	// Geometry says where the patches lie in the photo.
	Geometry() readout.Geometry
	// Patches are the vectors, [GridH*GridW, Width]: unit vectors, or means of them where the model looks several times.
	Patches() []float32
	// Bytes is the memory that it holds.
	Bytes() int64
}

// LabelVectors are the text vectors of one label, opaque to the service.
type LabelVectors any

// Description of a model for clients.
type Description struct {
	Name string `json:"name"`
	// Text says what encodes the words, and Vision what encodes the photos.
	Vision string `json:"vision"`
	Text   string `json:"text"`
	Method string `json:"method"`
	// Width of the space that patches and words share.
	Width int `json:"width"`
	Patch int `json:"patch"`
	// Size is the short side at which photos are encoded where a request names none.
	Size int `json:"size"`
	// Scales is how many sizes a photo is looked at, each the root of 2 larger than the one before.
	Scales int `json:"scales"`
	// Strides are the strides of patches that a request may ask for, the model's own first.
	Strides []int `json:"strides"`
	// LogitScale is one over the temperature of the softmax over labels.
	LogitScale float64 `json:"logit_scale"`
	// FixedVocabulary is true where words outside a table are unknown.
	FixedVocabulary bool `json:"fixed_vocabulary"`
	// Languages of the words that the model learned, as in "en" and "ko", where that is known.
	Languages []string `json:"languages,omitempty"`
	// Examples are words that the model knows, for the page to suggest.
	Examples []string `json:"examples,omitempty"`
}

// ImageOptions say how a photo is encoded. Zeros are the model's own.
type ImageOptions struct {
	Size         int `json:"size,omitempty"`
	Stride       int `json:"stride,omitempty"`
	Window       int `json:"window,omitempty"`
	WindowStride int `json:"window_stride,omitempty"`
}

// SegmentOptions say how scores become a mask.
type SegmentOptions struct {
	// Background is the share in the softmax over labels below which a pixel belongs to no label; 0 for none.
	Background float64
	// Temperature of that softmax, 0 for the model's own.
	Temperature float64
	// Refine lets the colours of the photo correct the scores.
	Refine bool
}
