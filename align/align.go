// Package align is the heart of pacl: the head that carries frozen patch tokens and sentence vectors into one space, the
// pairwise objective of Patch Aligned Contrastive Learning (Mukhoti et al., CVPR 2023, arXiv 2212.04994) with its
// hand-written gradient, and the training of the head on a cache of features.
//
// The objective exists twice. Exact is the slow twin in float64 and reads like the equations; Objective is the one that
// trains: it streams over the images, works in tiles through internal/kernel and needs memory for the compatibilities and
// a few tiles only, whatever the batch. Tests hold one against the other and both against published numbers.
//
// Symbols: B images, T patches each, D_in width of a patch token, D_t width of a sentence vector, D width of the shared
// space; u_it unit patch vectors, t_j unit text vectors, s_ijt their cosines, a_ijt = softmax over t of s_ijt / tau_patch,
// v_ij = sum over t of a_ijt u_it, phi_ij the cosine of v_ij and t_j.
package align
