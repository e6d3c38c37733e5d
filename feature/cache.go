package feature

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Text is a text with its sentence vector [D_t].
type Text struct {
	Text   string
	Vector []float32
}

// Caption is a caption of an image with the extra texts that it brings along: names or noun phrases found in it.
type Caption struct {
	Text   string
	Vector []float32
	Extras []Text
}

// Cache is a complete feature cache, mapped for reading; it may be used by several goroutines.
type Cache struct {
	manifest Manifest
	dirs     []string
	shards   []*shard
	rows     []row // images in the order of the list
}

type row struct {
	index int64
	shard int32
	row   int32
}

// Open opens a cache: a directory, a directory of parts, or several directories of parts. The parts must be of one cache
// and all there; a missing one is named.
func Open(dirs ...string) (*Cache, error) {
	if len(dirs) == 0 {
		return nil, errors.New("feature cache: no directory given")
	}
	var parts []string
	for _, dir := range dirs {
		found, err := partDirs(dir)
		if err != nil {
			return nil, err
		}
		parts = append(parts, found...)
	}
	c := &Cache{dirs: parts}
	if err := c.open(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Cache) open() error {
	status, err := inspect(c.dirs)
	if err != nil {
		return err
	}
	c.manifest = status.Manifest
	for _, p := range status.Parts {
		if p.Dir != "" && !p.Complete {
			return fmt.Errorf("feature cache: %s is not finished: run the same command again to finish it", p.Dir)
		}
	}
	if lost := status.Lost(); len(lost) > 0 {
		return fmt.Errorf("feature cache: of %d parts these are missing: %s", len(status.Parts), strings.Join(lost, ", "))
	}
	held := make([]string, len(status.Parts))
	for i, p := range status.Parts {
		held[i] = p.Dir
	}
	for _, dir := range held {
		if err := c.openPart(dir); err != nil {
			return err
		}
	}
	slices.SortFunc(c.rows, func(a, b row) int { return int(a.index - b.index) })
	for i := 1; i < len(c.rows); i++ {
		if c.rows[i].index == c.rows[i-1].index {
			return fmt.Errorf("feature cache: image %d of the list is there twice", c.rows[i].index)
		}
	}
	if len(c.rows) == 0 {
		return fmt.Errorf("feature cache: %s holds no usable image", strings.Join(c.dirs, ", "))
	}
	return nil
}

func (c *Cache) openPart(dir string) error {
	m, err := readManifest(dir)
	if err != nil {
		return err
	}
	images := 0
	for number := range m.Shards {
		s, err := openShard(shardPath(dir, number), m)
		if err != nil {
			return err
		}
		for i := range s.n {
			if s.index[i]%int64(m.Part.Count) != int64(m.Part.Index) {
				s.set.Close()
				return fmt.Errorf("feature cache: %s: image %d does not belong to part %d of %d", shardPath(dir, number), s.index[i], m.Part.Index+1, m.Part.Count)
			}
			c.rows = append(c.rows, row{s.index[i], int32(len(c.shards)), int32(i)})
		}
		c.shards = append(c.shards, s)
		images += s.n
	}
	if images != m.Images {
		return fmt.Errorf("feature cache: %s holds %d images, expected %d", filepath.Clean(dir), images, m.Images)
	}
	return nil
}

// Close unmaps the cache; what Tokens and Captions returned must not be used afterwards.
func (c *Cache) Close() error {
	var first error
	for _, s := range c.shards {
		if err := s.set.Close(); err != nil && first == nil {
			first = err
		}
	}
	c.shards = nil
	return first
}

// Manifest says what the cache was made from.
func (c *Cache) Manifest() Manifest { return c.manifest }

// Len returns the number of images.
func (c *Cache) Len() int { return len(c.rows) }

// Views returns the number of views of each image.
func (c *Cache) Views() int { return c.manifest.Preprocessing.Views.Count() }

// Patches returns T, the number of patch tokens of a view.
func (c *Cache) Patches() int { return c.manifest.Patches }

// TokenWidth returns D_in.
func (c *Cache) TokenWidth() int { return c.manifest.Vision.Width }

// TextWidth returns D_t.
func (c *Cache) TextWidth() int { return c.manifest.Text.Width }

// Hash names the cache's content: what it was made from and how many images came of it.
func (c *Cache) Hash() string {
	identity := c.manifest.identity()
	identity.Part, identity.Images, identity.ShardSamples = Part{}, len(c.rows), 0
	identity.Vision.Name, identity.Text.Name = "", ""
	text, err := json.Marshal(identity)
	if err != nil {
		panic(err) // a struct of numbers and strings
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Tokens returns the patch tokens of a view of image i in bf16, [T, D_in], where they are mapped. View 0 is the photo.
func (c *Cache) Tokens(i, view int) []uint16 {
	r := c.rows[i]
	size := c.Patches() * c.TokenWidth()
	start := (int(r.row)*c.Views() + view) * size
	return c.shards[r.shard].tokens[start : start+size]
}

// Key returns the stable name of image i.
func (c *Cache) Key(i int) string {
	r := c.rows[i]
	return c.shards[r.shard].keys.at(int(r.row))
}

// Index returns the number of image i in the list that the cache was made from.
func (c *Cache) Index(i int) int64 { return c.rows[i].index }

// CaptionCount returns how many captions image i has: at least one.
func (c *Cache) CaptionCount(i int) int {
	s, r := c.shards[c.rows[i].shard], c.rows[i].row
	return int(s.sentenceOffsets[r+1] - s.sentenceOffsets[r])
}

// ExtraCount returns how many extra texts a caption of image i has.
func (c *Cache) ExtraCount(i, caption int) int {
	s, m := c.sentence(i, caption)
	return int(s.extraOffsets[m+1] - s.extraOffsets[m])
}

// Caption returns a caption of image i with its sentence vector, where it is mapped.
func (c *Cache) Caption(i, caption int) Text {
	s, m := c.sentence(i, caption)
	width := c.TextWidth()
	return Text{s.sentenceTexts.at(m), s.sentences[m*width : (m+1)*width]}
}

// CaptionVector is Caption without the text.
func (c *Cache) CaptionVector(i, caption int) []float32 {
	s, m := c.sentence(i, caption)
	width := c.TextWidth()
	return s.sentences[m*width : (m+1)*width]
}

// Extra returns an extra text of a caption of image i.
func (c *Cache) Extra(i, caption, extra int) Text {
	s, m := c.sentence(i, caption)
	id := int(s.extraIDs[int(s.extraOffsets[m])+extra])
	return Text{s.extraTexts.at(id), s.extraVector(id, c.TextWidth())}
}

// ExtraVector is Extra without the text.
func (c *Cache) ExtraVector(i, caption, extra int) []float32 {
	s, m := c.sentence(i, caption)
	return s.extraVector(int(s.extraIDs[int(s.extraOffsets[m])+extra]), c.TextWidth())
}

func (s *shard) extraVector(id, width int) []float32 { return s.extras[id*width : (id+1)*width] }

// sentence returns the shard of image i and the number in it of one of its captions.
func (c *Cache) sentence(i, caption int) (*shard, int) {
	r := c.rows[i]
	s := c.shards[r.shard]
	return s, int(s.sentenceOffsets[r.row]) + caption
}

// Captions returns all captions of image i with their extra texts.
func (c *Cache) Captions(i int) []Caption {
	list := make([]Caption, c.CaptionCount(i))
	for k := range list {
		t := c.Caption(i, k)
		list[k] = Caption{Text: t.Text, Vector: t.Vector}
		for e := range c.ExtraCount(i, k) {
			list[k].Extras = append(list[k].Extras, c.Extra(i, k, e))
		}
	}
	return list
}

// Report says what became of the samples that the cache was made from.
type Report struct {
	Samples          int       `json:"samples"` // in the list, this part only
	Images           int       `json:"images"`  // usable
	TextlessCaptions int       `json:"textless_captions"`
	TextlessImages   int       `json:"textless_images"`
	Failures         []Failure `json:"failures"`
}

func (r *Report) add(s shardReport) {
	r.Samples += s.Samples
	r.TextlessCaptions += s.TextlessCaptions
	r.TextlessImages += s.TextlessImages
	r.Failures = append(r.Failures, s.Failures...)
	r.Images += s.Samples - len(s.Failures) - s.TextlessImages
}

// Report returns the counts of all parts.
func (c *Cache) Report() Report {
	var r Report
	for _, s := range c.shards {
		r.add(s.report)
	}
	return r
}
