// Package readout turns the scores of patches into label maps of the size of the photo.
//
// Scores lie on a grid of patch centres (Geometry). They are up-sampled bilinearly by the positions of those centres,
// the best label of each pixel wins, and a threshold on its share in the softmax over labels may leave a pixel to the
// background. Everything runs in bands of rows: an array [labels, height, width] never exists. Whatever is dropped on
// the way is dropped because bounds prove that it cannot change the result.
//
// The package also plans sliding windows (Plan), averages what they see where they overlap (Lattice), makes the heat
// map of one label (Heat) and refines scores by the colours of the photo (Refinement).
package readout
