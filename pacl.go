// Package pacl segments photos by any words, and trains and measures the heads that make a frozen vision transformer and a
// frozen text encoder able to: Patch Aligned Contrastive Learning (Mukhoti et al., CVPR 2023, arXiv 2212.04994).
//
// A Model is opened from a PACL model directory (a head with the names of its encoders) or from any CLIP directory, whose
// own projection is then read out per patch. A photo is encoded once, words are encoded once, and any number of words is
// scored against the patches of any number of photos:
//
//	model, err := pacl.Open(ctx, pacl.Options{Model: "models/voc"})
//	labels, err := pacl.ParseLabels("cat, dog|puppy, person")
//	vocabulary, err := model.Vocabulary(ctx, labels, pacl.VocabularyOptions{})
//	photo, err := imaging.Open("photo.jpg")
//	encoded, err := model.Encode(ctx, photo, pacl.ImageOptions{})
//	result, err := model.Segment(ctx, encoded, vocabulary, pacl.SegmentOptions{})
//
// The packages below hold the parts: encoder, feature and align for training, readout for masks, evaluate for measuring.
package pacl
