// Package pretrain trains a dual encoder from nothing: a vision transformer and a causal text transformer with CLIP's
// symmetric loss, by a backward pass written out by hand. The result is a Hugging Face-style CLIP directory that the
// rest of the program takes as any published one.
//
// The layers are generic in their number type: training runs them in float32 on the engine's kernels (products in
// bfloat16 where asked), and the tests run the very same code in float64 against differences. The loss is exact over a
// batch of any size by gradient caching. Nothing depends on the number of processors: a step gives the same bits on any.
//
// Besides CLIP's objective, which sees a picture through its class token, the pairwise objective of PACL can be trained
// alone or beside it; it sees the patch tokens through a projection of its own that is left out of the directory.
package pretrain
