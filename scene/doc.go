// Package scene draws pictures of many things whose words and masks are known exactly: captioned scenes for training an
// encoder from nothing and for measuring it where no photo with a mask is at hand.
//
// A scene follows from its options and one seed alone, so scenes can be made in any order, on any machine, without
// files. It is geometry: it renders at any size. Captions come from a grammar with synonyms, counts and relations, in
// English and in Korean, and may name all or some of what is there. A tenth of the pairs of kind and colour never occur
// in training scenes; they are what an open vocabulary is measured on.
package scene
