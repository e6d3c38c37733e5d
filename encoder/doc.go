// Package encoder turns images into patch tokens and texts into sentence vectors with frozen transformers. One transformer
// serves all families: a family is a description of its names and switches.
package encoder
