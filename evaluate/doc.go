// Package evaluate measures segmenters and encoders as the papers do, and says exactly how.
//
// It reads data sets in their published layouts (Open), runs experiments over them (Segmentation, Patches, Coherence,
// Classify, Retrieval, mosaics of captioned photos), and prints each result with the Protocol that it was made with:
// a line from which the run can be repeated. Results keep what was found in each image, so that two runs can be
// compared image by image (Compare).
//
// What is measured is behind small interfaces: the package knows nothing of encoders and heads.
package evaluate
