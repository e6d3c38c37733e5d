package export

import (
	"fmt"

	"github.com/pacl/pacl/imaging"
)

// RLE is a binary mask in COCO's compressed run-length encoding, as pycocotools' encode returns it and its decode reads it:
// the lengths of the runs of 0 and 1 in column-major order, beginning with 0, each from the third on as the difference from
// the one two before, in groups of five bits with 48 added.
type RLE struct {
	// Size is height and width.
	Size   [2]int `json:"size"`
	Counts string `json:"counts"`
}

// runs collects the runs of one id.
type runs struct {
	counts []int // alternately off and on
	end    int   // where the last run of the id ended
	area   int
	// box of the id's pixels, inclusive
	minX, minY, maxX, maxY int
}

// scan walks the mask once, column by column, and returns the runs of the ids below labels; other ids are left out.
func scan(m *imaging.Mask, labels int) ([]runs, error) {
	if err := check(m); err != nil {
		return nil, err
	}
	all := make([]runs, labels)
	for i := range all {
		all[i].minX, all[i].minY = m.Width, m.Height
	}
	position := 0
	for x := range m.Width {
		for y := 0; y < m.Height; {
			id := m.ID[y*m.Width+x]
			start := y
			for y++; y < m.Height && m.ID[y*m.Width+x] == id; y++ {
			}
			if int(id) < labels {
				all[id].add(position+start, position+y)
				all[id].grow(x, start, y-1)
			}
		}
		position += m.Height
	}
	total := m.Width * m.Height
	for i := range all {
		if off := total - all[i].end; off > 0 {
			all[i].counts = append(all[i].counts, off)
		}
	}
	return all, nil
}

// add appends the run [from, to); one that touches the last run (across two columns) lengthens it.
func (r *runs) add(from, to int) {
	r.area += to - from
	if n := len(r.counts); n > 0 && from == r.end {
		r.counts[n-1] += to - from
	} else {
		r.counts = append(r.counts, from-r.end, to-from)
	}
	r.end = to
}

func (r *runs) grow(x, top, bottom int) {
	r.minX, r.maxX = min(r.minX, x), max(r.maxX, x)
	r.minY, r.maxY = min(r.minY, top), max(r.maxY, bottom)
}

// box is COCO's [x, y, width, height].
func (r *runs) box() [4]float64 {
	if r.area == 0 {
		return [4]float64{}
	}
	return [4]float64{float64(r.minX), float64(r.minY), float64(r.maxX - r.minX + 1), float64(r.maxY - r.minY + 1)}
}

// compress writes run lengths as COCO's characters.
func compress(counts []int) string {
	text := make([]byte, 0, 2*len(counts))
	for i, count := range counts {
		value := count
		if i > 2 {
			value -= counts[i-2]
		}
		for more := true; more; {
			group := value & 0x1f
			value >>= 5
			if group&0x10 != 0 {
				more = value != -1
			} else {
				more = value != 0
			}
			if more {
				group |= 0x20
			}
			text = append(text, byte(group+48))
		}
	}
	return string(text)
}

// EncodeRLE returns the encoding of the ids 0 to labels-1 of a mask, in order; an id without a pixel is one run of zeros.
func EncodeRLE(m *imaging.Mask, labels int) ([]RLE, error) {
	all, err := scan(m, labels)
	if err != nil {
		return nil, err
	}
	encoded := make([]RLE, labels)
	for i, r := range all {
		encoded[i] = RLE{Size: [2]int{m.Height, m.Width}, Counts: compress(r.counts)}
	}
	return encoded, nil
}

// check refuses a mask whose size and contents disagree.
func check(m *imaging.Mask) error {
	if m.Width <= 0 || m.Height <= 0 || len(m.ID) != m.Width*m.Height {
		return fmt.Errorf("mask: %d ids for %dx%d pixels", len(m.ID), m.Width, m.Height)
	}
	return nil
}
