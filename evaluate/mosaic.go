package evaluate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/imaging"
)

// Finder finds known names in a caption: indices into a list of names, in any order.
type Finder interface {
	Find(text string) []int
}

// MosaicOptions say how mosaics are laid out.
//
// A mosaic is a square of Tiles x Tiles photos, each of another name, and its mask says which name each tile shows. It
// needs no masks, so hyper-parameters can be chosen by it. The photos have a main name: one that at least half of
// their captions mention, and twice as many as any other name that competes. A mosaic of one tile is a photo by itself:
// it says how well patches are named in their own surroundings and at their own scale, and nothing of borders.
type MosaicOptions struct {
	Names []string // the known names
	Find  Finder   // finds them in captions
	// Groups are names that are taken for one label, as words of it: people are called by many names that say the
	// same of a patch. Nil asks for DefaultGroups.
	Groups    [][]string
	Count     int     // mosaics; 0 is 200
	Tiles     int     // per side, 1 to 8; 0 is 2
	Pixels    int     // side of the mosaic; 0 is 448
	MinPhotos int     // a name competes when so many photos have it as their main name; 0 is 4
	Border    float64 // share of a tile's side that is not scored at each of its edges: objects are in the middle
	Seed      uint64
	// Keep chooses photos by key, as those of a validation split; nil keeps all.
	Keep func(key string) bool
	// Photos says in the protocol which photos Keep keeps, if not all.
	Photos string
}

// DefaultGroups are names in captions that mean the same to a segmenter.
var DefaultGroups = [][]string{
	{"person", "man", "woman", "boy", "girl", "child", "baby", "toddler", "lady", "guy", "player", "crowd"},
	{"dog", "puppy"},
	{"bicycle", "bike"},
	{"couch", "sofa"},
}

func (o MosaicOptions) withDefaults() (MosaicOptions, error) {
	if o.Groups == nil {
		o.Groups = DefaultGroups
	}
	if o.Count == 0 {
		o.Count = 200
	}
	if o.Tiles == 0 {
		o.Tiles = 2
	}
	if o.Pixels == 0 {
		o.Pixels = 448
	}
	if o.MinPhotos == 0 {
		o.MinPhotos = 4
	}
	switch {
	case o.Find == nil || len(o.Names) == 0:
		return o, errors.New("mosaics: no names, expected a names table or a list of names")
	case o.Count < 1 || o.Count > 1e6:
		return o, fmt.Errorf("mosaics: count %d, expected 1 to a million", o.Count)
	case o.Tiles < 1 || o.Tiles > 8:
		return o, fmt.Errorf("mosaics: %d tiles a side, expected 1 to 8", o.Tiles)
	case o.Pixels < 16*o.Tiles || o.Pixels > 8192:
		return o, fmt.Errorf("mosaics: side of %d pixels, expected %d to 8192", o.Pixels, 16*o.Tiles)
	case !(o.Border >= 0 && o.Border < 0.5):
		return o, fmt.Errorf("mosaics: border %v, expected 0 to below 0.5", o.Border)
	}
	return o, nil
}

// tilePhoto is a photo that may become a tile.
type tilePhoto struct {
	sample caption.Sample
	label  int
}

// Mosaics makes a data set of mosaics from captioned photos. The source must stay open as long as the data set is used.
func Mosaics(ctx context.Context, source caption.Source, options MosaicOptions) (*Dataset, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	group, words := o.grouped()
	var all []mentioned
	for {
		sample, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("mosaics: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if o.Keep != nil && !o.Keep(sample.Key) {
			continue
		}
		all = append(all, mention(sample, o.Find, group))
	}
	photos := map[int]int{} // main name -> photos
	for _, m := range all {
		if name := m.main(nil); name >= 0 {
			photos[name]++
		}
	}
	var labels []int
	for name, n := range photos {
		if n >= o.MinPhotos {
			labels = append(labels, name)
		}
	}
	slices.Sort(labels)
	perLabel := make([][]tilePhoto, len(labels))
	for _, m := range all {
		name := m.main(labels)
		if l, ok := slices.BinarySearch(labels, name); ok {
			perLabel[l] = append(perLabel[l], tilePhoto{m.sample, l})
		}
	}
	// A name all of whose photos show other names as well competes but has no tile.
	var drawn []int
	for l, photos := range perLabel {
		if len(photos) > 0 {
			drawn = append(drawn, l)
		}
	}
	tiles := o.Tiles * o.Tiles
	if len(drawn) < tiles {
		return nil, fmt.Errorf("mosaics: %d names are the main name of %d photos or more, expected at least %d for %dx%d tiles",
			len(drawn), o.MinPhotos, tiles, o.Tiles, o.Tiles)
	}
	d := &Dataset{Name: "mosaic", Title: "mosaic", Background: -1}
	for _, l := range labels {
		d.Classes = append(d.Classes, Class{Name: o.Names[l], Words: words[l]})
	}
	random := rand.New(rand.NewPCG(o.Seed, 0x6d6f73616963))
	for k := range o.Count {
		chosen := make([]tilePhoto, tiles)
		random.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
		for i := range chosen {
			candidates := perLabel[drawn[i]]
			chosen[i] = candidates[random.IntN(len(candidates))]
		}
		d.Items = append(d.Items, Item{
			Key:  fmt.Sprintf("mosaic-%05d", k),
			make: func() (*imaging.Image, *imaging.Mask, error) { return lay(chosen, o) },
		})
	}
	if o.Photos == "" {
		o.Photos = "all"
	}
	hash := source.Hash()
	d.protocolID = []string{
		fmt.Sprintf("tiles=%dx%d", o.Tiles, o.Tiles), fmt.Sprintf("pixels=%d", o.Pixels), fmt.Sprintf("seed=%d", o.Seed),
		fmt.Sprintf("min=%d", o.MinPhotos), "border=" + strconv.FormatFloat(o.Border, 'g', -1, 64),
		fmt.Sprintf("labels=%d", len(labels)), "captions=" + hash[:min(12, len(hash))], "photos=" + o.Photos,
	}
	return d, nil
}

// grouped returns for each name the one that stands for its group, and the words of each name that stands for itself.
func (o MosaicOptions) grouped() (group []int, words map[int][]string) {
	index := make(map[string]int, len(o.Names))
	group = make([]int, len(o.Names))
	for i, name := range o.Names {
		group[i] = i
		index[strings.ToLower(name)] = i
	}
	words = map[int][]string{}
	for _, members := range o.Groups {
		first := -1
		for _, member := range members {
			i, ok := index[member]
			if !ok {
				continue
			}
			if first < 0 {
				first = i
			}
			group[i] = first
			words[first] = append(words[first], o.Names[i])
		}
	}
	for i, name := range o.Names {
		if group[i] == i && words[i] == nil {
			words[i] = []string{name}
		}
	}
	return group, words
}

// mentioned counts how many captions of a photo mention a name.
type mentioned struct {
	sample   caption.Sample
	captions int
	count    map[int]int
}

func mention(sample caption.Sample, find Finder, group []int) mentioned {
	m := mentioned{sample: sample, captions: len(sample.Texts), count: map[int]int{}}
	for _, text := range sample.Texts {
		seen := map[int]bool{}
		for _, name := range find.Find(text) {
			if name = group[name]; !seen[name] {
				seen[name] = true
				m.count[name]++
			}
		}
	}
	return m
}

// main returns the main name of a photo or -1. Where labels are given, they are the names that compete; otherwise the
// most frequent name is enough, the first in the table of equally frequent ones.
func (m mentioned) main(labels []int) int {
	best, second := -1, 0
	for name, n := range m.count {
		if labels != nil {
			if _, competes := slices.BinarySearch(labels, name); !competes {
				continue
			}
		}
		switch {
		case best < 0 || n > m.count[best] || n == m.count[best] && name < best:
			if best >= 0 {
				second = max(second, m.count[best])
			}
			best = name
		default:
			second = max(second, n)
		}
	}
	if best < 0 || 2*m.count[best] < m.captions || labels != nil && 2*second > m.count[best] {
		return -1
	}
	return best
}

// lay decodes the photos and puts them side by side.
func lay(photos []tilePhoto, o MosaicOptions) (*imaging.Image, *imaging.Mask, error) {
	side := o.Pixels
	mosaic := &imaging.Image{Width: side, Height: side, Pix: make([]uint8, 3*side*side)}
	mask := &imaging.Mask{Width: side, Height: side, ID: make([]uint16, side*side)}
	for i := range mask.ID {
		mask.ID[i] = Ignored
	}
	for i, photo := range photos {
		data, err := photo.sample.Read()
		if err != nil {
			return nil, nil, fmt.Errorf("mosaic: %w", err)
		}
		image, err := imaging.Decode(data, imaging.Limits{})
		if err != nil {
			return nil, nil, fmt.Errorf("mosaic: %s: %w", photo.sample.Key, err)
		}
		x0, x1 := i%o.Tiles*side/o.Tiles, (i%o.Tiles+1)*side/o.Tiles
		y0, y1 := i/o.Tiles*side/o.Tiles, (i/o.Tiles+1)*side/o.Tiles
		square := min(image.Width, image.Height)
		tile := image.Crop((image.Width-square)/2, (image.Height-square)/2, square, square)
		tile = imaging.Resize(tile, x1-x0, y1-y0, imaging.Bicubic)
		for y := y0; y < y1; y++ {
			copy(mosaic.Pix[3*(y*side+x0):3*(y*side+x1)], tile.Pix[3*(y-y0)*(x1-x0):])
		}
		dx, dy := int(math.Round(o.Border*float64(x1-x0))), int(math.Round(o.Border*float64(y1-y0)))
		for y := y0 + dy; y < y1-dy; y++ {
			for x := x0 + dx; x < x1-dx; x++ {
				mask.ID[y*side+x] = uint16(photo.label)
			}
		}
	}
	return mosaic, mask, nil
}
