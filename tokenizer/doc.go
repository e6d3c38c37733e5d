// Package tokenizer turns texts into the token ids that text encoders were trained with, and finds the names of a fixed
// vocabulary in a caption.
//
// Every tokenizer is read from the files of a model directory as Hugging Face lays them out: byte-level BPE for CLIP,
// WordPiece for BERT, SentencePiece's models for SigLIP. The ids come without start, end and padding, which are the
// encoder's matter. All tokenizers are safe for concurrent use.
package tokenizer
