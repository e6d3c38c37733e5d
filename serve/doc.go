// Package serve offers segmentation over HTTP: an interface for programs under /v1, described by an OpenAPI document, and a
// web page for people at /, which uses the same interface.
//
// A request passes, in this order: its number and its log line, the limits of time and bytes, the token, a bounded queue
// that answers 429 when it is full, the encoder's batches (requests that wait are encoded together), and the read-out.
// Photos that clients come back to stay in a cache as patch vectors, so that another word costs no encoding. What a client
// sends is never trusted: lengths, pixels, labels and time are bounded, links are not followed, and a request that panics
// ends alone.
package serve
