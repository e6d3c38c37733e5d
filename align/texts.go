package align

import (
	"hash/maphash"
	"math"
)

// distinctTexts finds which sentence vectors of a batch are equal, bit for bit. Texts with equal vectors have equal
// compatibilities with everything, so each is worked on once.
type distinctTexts struct {
	rows  [][]float32 // [M][D_t] in order of first appearance
	of    []int       // [B] the distinct text of each image
	count []float32   // [M] how many images share it
}

var textHashSeed = maphash.MakeSeed()

func findDistinct(texts [][]float32) distinctTexts {
	d := distinctTexts{of: make([]int, len(texts))}
	byHash := make(map[uint64][]int, len(texts))
	var hash maphash.Hash
	hash.SetSeed(textHashSeed)
	for i, text := range texts {
		hash.Reset()
		for _, v := range text {
			bits := math.Float32bits(v)
			hash.Write([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
		}
		sum := hash.Sum64()
		found := -1
		for _, m := range byHash[sum] {
			if equalBits(d.rows[m], text) {
				found = m
				break
			}
		}
		if found < 0 {
			found = len(d.rows)
			d.rows = append(d.rows, text)
			d.count = append(d.count, 0)
			byHash[sum] = append(byHash[sum], found)
		}
		d.of[i] = found
		d.count[found]++
	}
	return d
}

func equalBits(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}
