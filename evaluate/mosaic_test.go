package evaluate

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/imaging"
)

// wordFinder finds names that are single words.
type wordFinder []string

func (w wordFinder) Find(text string) []int {
	var found []int
	for _, word := range strings.Fields(text) {
		if i := slices.Index(w, word); i >= 0 {
			found = append(found, i)
		}
	}
	return found
}

// listSource is a caption source in memory.
type listSource struct {
	samples []caption.Sample
	next    int
}

func (s *listSource) Next() (caption.Sample, error) {
	if s.next == len(s.samples) {
		return caption.Sample{}, io.EOF
	}
	s.next++
	return s.samples[s.next-1], nil
}
func (s *listSource) Hash() string             { return "0123456789abcdef" }
func (s *listSource) Len() int                 { return len(s.samples) }
func (s *listSource) Skipped() caption.Skipped { return caption.Skipped{} }
func (s *listSource) Close() error             { return nil }

func uniformPNG(t testing.TB, w, h int, gray uint8) []byte {
	t.Helper()
	picture := image.NewGray(image.Rect(0, 0, w, h))
	for i := range picture.Pix {
		picture.Pix[i] = gray
	}
	return encodePNG(t, picture)
}

func encodePNG(t testing.TB, picture image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// mosaicSource has photos whose gray value tells their main name.
func mosaicSource(t testing.TB) (*listSource, wordFinder) {
	names := wordFinder{"person", "man", "dog", "cat", "car", "bus", "rare", "grass"}
	source := &listSource{}
	add := func(name string, texts ...string) {
		data := uniformPNG(t, 40, 30, uint8(10*slices.Index(names, name)+5))
		source.samples = append(source.samples, caption.Sample{
			Key: fmt.Sprintf("photo%d", len(source.samples)), Texts: texts, Read: func() ([]byte, error) { return data, nil },
		})
	}
	for range 4 {
		add("dog", "a dog", "the dog and the man", "a dog on grass", "it")
		add("cat", "a cat", "one cat")
		add("car", "a car")
		add("bus", "a bus and no other")
		add("man", "a man", "this person")
	}
	add("rare", "a rare thing")
	add("dog", "a dog and a cat") // no main name
	return source, names
}

func TestMosaics(t *testing.T) {
	source, names := mosaicSource(t)
	o := MosaicOptions{Names: names, Find: names, Count: 30, Pixels: 64, Border: 0.25, Seed: 3}
	d, err := Mosaics(context.Background(), source, o)
	if err != nil {
		t.Fatal(err)
	}
	var classes []string
	for _, c := range d.Classes {
		classes = append(classes, c.Name)
	}
	if got := strings.Join(classes, " "); got != "person dog cat car bus" {
		t.Errorf("labels %q, expected the names with four photos, people being one", got)
	}
	if !slices.Equal(d.Classes[0].Words, []string{"person", "man"}) {
		t.Errorf("words of people: %q", d.Classes[0].Words)
	}
	seen := map[uint16]bool{}
	for _, item := range d.Items {
		photo, mask, err := d.Load(item)
		if err != nil {
			t.Fatal(err)
		}
		labels := map[uint16]int{}
		for i, id := range mask.ID {
			if id == Ignored {
				continue
			}
			labels[id]++
			seen[id] = true
			name := d.Classes[id].Name
			if name == "person" {
				name = "man"
			}
			if want := uint8(10*slices.Index(names, name) + 5); photo.Pix[3*i] != want {
				t.Fatalf("pixel %d is labelled %s but is of a photo with value %d", i, name, photo.Pix[3*i])
			}
		}
		if len(labels) != 4 {
			t.Fatalf("%s has %d labels, expected four", item.Key, len(labels))
		}
		for id, n := range labels {
			if n != 16*16 {
				t.Fatalf("label %d has %d scored pixels, expected the middle of the tile, 256", id, n)
			}
		}
	}
	if len(seen) != 5 {
		t.Errorf("%d labels were drawn in 30 mosaics, expected 5", len(seen))
	}

	// The same seed gives the same mosaics, another one others.
	keys := func(seed uint64) string {
		source.next = 0
		o.Seed = seed
		d, err := Mosaics(context.Background(), source, o)
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, item := range d.Items {
			_, mask, err := d.Load(item)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(&all, mask.ID[20*64+20], mask.ID[20*64+44], mask.ID[44*64+20], ";")
		}
		return all.String()
	}
	if first, again := keys(3), keys(3); first != again || first == keys(4) {
		t.Error("mosaics do not follow from their seed")
	}

	source.next = 0
	o.Keep = func(key string) bool { return key < "photo2" }
	if _, err := Mosaics(context.Background(), source, o); err == nil {
		t.Error("mosaics of four names were made from photos of fewer")
	}
}

// A segmenter that knows the gray values gets every mosaic right; one that swaps two names does not.
func TestSegmentationOfMosaics(t *testing.T) {
	source, names := mosaicSource(t)
	d, err := Mosaics(context.Background(), source, MosaicOptions{Names: names, Find: names, Count: 20, Pixels: 64})
	if err != nil {
		t.Fatal(err)
	}
	class := map[uint8]uint16{15: 0, 25: 1, 35: 2, 45: 3, 55: 4}
	oracle := SegmenterFunc(func(_ context.Context, photo *imaging.Image) (*imaging.Mask, error) {
		mask := &imaging.Mask{Width: photo.Width, Height: photo.Height, ID: make([]uint16, photo.Width*photo.Height)}
		for i := range mask.ID {
			mask.ID[i] = class[photo.Pix[3*i]]
		}
		return mask, nil
	})
	result, err := Segmentation(context.Background(), d, oracle, Protocol{Templates: "table"}, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if result.MIoU != 1 || result.PixelAccuracy != 1 {
		t.Errorf("the oracle gets %v, expected 1", result.MIoU)
	}
	const line = "mosaic n=20 window=whole templates=table synonyms=off background=ignored border=0 captions=0123456789ab labels=5 min=4 photos=all pixels=64 seed=0 tiles=2x2"
	if result.Protocol != line {
		t.Errorf("protocol %q, expected %q", result.Protocol, line)
	}
	class[15], class[25] = 1, 0
	result, err = Segmentation(context.Background(), d, oracle, Protocol{}, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *result.PerClass[0].IoU != 0 || *result.PerClass[1].IoU != 0 || *result.PerClass[2].IoU != 1 {
		t.Errorf("swapped names: %v %v %v", *result.PerClass[0].IoU, *result.PerClass[1].IoU, *result.PerClass[2].IoU)
	}
}
