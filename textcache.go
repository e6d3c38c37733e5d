package pacl

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/internal/diskcache"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/weights"
)

// textVectors keeps the vectors of vocabularies: 1000 names under 80 templates pass through a text encoder once.
var textVectors = diskcache.Cache{Name: "texts", Total: 256 << 20, Entry: 64 << 20}

// vocabularyKey names the vectors of words under templates by all that they depend on; "" where that is not known.
func (m *Model) vocabularyKey(words, templates []string) string {
	fingerprint := encoder.Fingerprint(m.text)
	if fingerprint == "" {
		return ""
	}
	parts := []string{"text vectors 1", fingerprint, m.textSide()}
	for _, list := range [][]string{templates, words} {
		parts = append(parts, diskcache.Key(list...))
	}
	return diskcache.Key(parts...)
}

// textSide names what happens to sentence vectors behind the encoder.
func (m *Model) textSide() string {
	if m.head == nil {
		return "none"
	}
	digest := sha256.New()
	write := func(v []float32) {
		_ = binary.Write(digest, binary.LittleEndian, int64(len(v)))
		_ = binary.Write(digest, binary.LittleEndian, v)
	}
	write(m.head.NamesMean)
	if m.head.Head.Config.Text != align.TextNone {
		write(m.head.Head.Parameters.Text.Weight)
		write(m.head.Head.Parameters.Text.Bias)
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// storedVectors returns the unit vectors [words, width] that were kept under a key. A file that is not exactly that is
// passed over.
func storedVectors(key string, words, width int) ([]float32, bool) {
	data, ok := textVectors.Get(key)
	if !ok {
		return nil, false
	}
	set, err := weights.Parse(key, data)
	if err != nil || set.Metadata()["key"] != key {
		return nil, false
	}
	t, err := set.Need("vectors", words, width)
	if err != nil || t.DType != weights.F32 {
		return nil, false
	}
	vectors := t.Float32()
	if !allUnit(vectors, width) {
		return nil, false
	}
	return vectors, true
}

// storeVectors keeps unit vectors [words, width]. Without a cache the next one computes them again.
func storeVectors(key string, vectors []float32, width int) {
	if !allUnit(vectors, width) {
		return
	}
	var file bytes.Buffer
	t := weights.NewFloat32("vectors", vectors, len(vectors)/width, width)
	if weights.Encode(&file, []weights.Tensor{t}, map[string]string{"key": key}) == nil {
		_ = textVectors.Put(key, file.Bytes())
	}
}

func allUnit(vectors []float32, width int) bool {
	for i := 0; i < len(vectors); i += width {
		v := vectors[i : i+width]
		if length := math.Sqrt(float64(kernel.Dot(v, v))); !(math.Abs(length-1) < 1e-3) {
			return false
		}
	}
	return true
}
