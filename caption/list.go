package caption

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"math"
)

// list is a Source whose images and captions are known from the start, as a table's rows that may name one image in many
// places. A million captions take about 150 MB: strings lie in large blocks without a pointer each.
type list struct {
	root    string
	skipped Skipped
	digest  hash.Hash

	strings arena
	images  []image
	texts   []text
	seed    maphash.Seed
	byName  map[uint64]int32 // hash of an image's name -> the last image of that hash
	next    int
}

type image struct {
	name        reference
	first, last int32 // texts
	collision   int32 // the image before with the same hash, -1
}

type text struct {
	words reference
	next  int32 // the image's next text, -1
}

func newList(root string) *list {
	return &list{root: root, digest: sha256.New(), seed: maphash.MakeSeed(), byName: map[uint64]int32{}}
}

// image returns the index of the image of that name, adding it if it is new.
func (l *list) image(name string) (int32, error) {
	key := maphash.String(l.seed, name)
	last, ok := l.byName[key]
	if !ok {
		last = -1
	}
	for i := last; i >= 0; i = l.images[i].collision {
		if l.strings.equal(l.images[i].name, name) {
			return i, nil
		}
	}
	if len(l.images) == math.MaxInt32 {
		return 0, fmt.Errorf("more than %d images in one list", math.MaxInt32)
	}
	added := int32(len(l.images))
	l.images = append(l.images, image{name: l.strings.add(name), first: -1, last: -1, collision: last})
	l.byName[key] = added
	return added, nil
}

// add appends a caption to an image.
func (l *list) add(i int32, words string) error {
	if len(l.texts) == math.MaxInt32 {
		return fmt.Errorf("more than %d captions in one list", math.MaxInt32)
	}
	added := int32(len(l.texts))
	l.texts = append(l.texts, text{l.strings.add(words), -1})
	if im := &l.images[i]; im.last < 0 {
		im.first, im.last = added, added
	} else {
		l.texts[im.last].next = added
		im.last = added
	}
	fmt.Fprintf(l.digest, "%d\x00%s\x00", i, words)
	return nil
}

// addRow adds one row of a list: an image and its captions. Where tells the row in a message.
func (l *list) addRow(name string, texts []string, where func() string) error {
	l.skipped.Seen++
	if name == "" {
		l.skipped.malformed("%s: no image", where())
		return nil
	}
	kept := texts[:0]
	for _, words := range texts {
		if words = cleanText(words); words != "" {
			kept = append(kept, words)
		}
	}
	if len(kept) == 0 {
		l.skipped.empty("%s: no caption for %s", where(), name)
		return nil
	}
	before := len(l.images)
	i, err := l.image(name)
	if err != nil {
		return err
	}
	if len(l.images) > before {
		fmt.Fprintf(l.digest, "%s\x00", name)
	}
	for _, words := range kept {
		if err := l.add(i, words); err != nil {
			return err
		}
	}
	return nil
}

func (l *list) Next() (Sample, error) {
	// Images without a caption are there where a format lists images apart from captions.
	for l.next < len(l.images) && l.images[l.next].first < 0 {
		l.next++
	}
	if l.next >= len(l.images) {
		return Sample{}, io.EOF
	}
	im := l.images[l.next]
	l.next++
	name := l.strings.get(im.name)
	sample := Sample{Key: name, Read: imageFile(l.root, name)}
	for i := im.first; i >= 0; i = l.texts[i].next {
		sample.Texts = append(sample.Texts, l.strings.get(l.texts[i].words))
	}
	return sample, nil
}

func (l *list) Hash() string { return hex.EncodeToString(l.digest.Sum(nil)) }

func (l *list) Len() int {
	count := 0
	for _, im := range l.images {
		if im.first >= 0 {
			count++
		}
	}
	return count
}

func (l *list) Skipped() Skipped { return l.skipped.clone() }
func (l *list) Close() error     { return nil }

// arena keeps strings one after the other in blocks.
type arena struct{ blocks [][]byte }

type reference struct{ block, start, length uint32 }

const blockSize = 1 << 20

func (a *arena) add(s string) reference {
	last := len(a.blocks) - 1
	if last < 0 || cap(a.blocks[last])-len(a.blocks[last]) < len(s) {
		a.blocks = append(a.blocks, make([]byte, 0, max(blockSize, len(s))))
		last++
	}
	start := len(a.blocks[last])
	a.blocks[last] = append(a.blocks[last], s...)
	return reference{uint32(last), uint32(start), uint32(len(s))}
}

func (a *arena) get(r reference) string {
	return string(a.blocks[r.block][r.start : r.start+r.length])
}

func (a *arena) equal(r reference, s string) bool {
	return string(a.blocks[r.block][r.start:r.start+r.length]) == s
}
