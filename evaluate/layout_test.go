package evaluate

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes files below a new folder.
type tree struct {
	t    testing.TB
	root string
}

func newTree(t testing.TB) tree { return tree{t, t.TempDir()} }

func (tr tree) write(path string, data []byte) {
	tr.t.Helper()
	path = filepath.Join(tr.root, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) photo(path string, w, h int) {
	tr.t.Helper()
	picture := image.NewGray(image.Rect(0, 0, w, h))
	if strings.HasSuffix(path, ".png") {
		tr.write(path, encodePNG(tr.t, picture))
		return
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, nil); err != nil {
		tr.t.Fatal(err)
	}
	tr.write(path, b.Bytes())
}

// mask writes an indexed PNG of width 4 with the given ids.
func (tr tree) mask(path string, ids ...uint8) {
	tr.t.Helper()
	tr.write(path, encodePNG(tr.t, palettedMask(4, ids)))
}

func palettedMask(w int, ids []uint8) *image.Paletted {
	palette := make(color.Palette, 256)
	for i := range palette {
		palette[i] = color.RGBA{uint8(i), uint8(i * 7), uint8(i * 31), 255}
	}
	picture := image.NewPaletted(image.Rect(0, 0, w, len(ids)/w), palette)
	copy(picture.Pix, ids)
	return picture
}

// layoutCase is a data set of two photos in its published layout.
type layoutCase struct {
	name, title string
	classes     int
	photos      []string // path of each photo
	masks       []string // path of each mask
	list        string   // path of the list, or ""
	ids         []uint8  // ids of each mask, four a row
	want        []uint16 // what they mean
	wrong       uint8    // an id that no mask may hold
	extra       map[string]string
}

var layoutCases = []layoutCase{
	{
		name: "voc20", title: "VOC20", classes: 20, list: "ImageSets/Segmentation/val.txt",
		photos: []string{"JPEGImages/2007_1.jpg", "JPEGImages/2007_2.jpg"},
		masks:  []string{"SegmentationClass/2007_1.png", "SegmentationClass/2007_2.png"},
		ids:    []uint8{0, 1, 20, 255}, want: []uint16{Ignored, 0, 19, Ignored}, wrong: 21,
	},
	{
		name: "voc21", title: "VOC21", classes: 21, list: "VOC2012/ImageSets/Segmentation/val.txt",
		photos: []string{"VOC2012/JPEGImages/2007_1.jpg", "VOC2012/JPEGImages/2007_2.jpg"},
		masks:  []string{"VOC2012/SegmentationClassAug/2007_1.png", "VOC2012/SegmentationClassAug/2007_2.png"},
		ids:    []uint8{0, 1, 20, 255}, want: []uint16{0, 1, 20, Ignored}, wrong: 100,
	},
	{
		name: "context59", title: "Context59", classes: 59, list: "VOC2010/ImageSets/SegmentationContext/val.txt",
		photos: []string{"VOC2010/JPEGImages/2008_1.jpg", "VOC2010/JPEGImages/2008_2.jpg"},
		masks:  []string{"VOC2010/SegmentationClassContext/2008_1.png", "VOC2010/SegmentationClassContext/2008_2.png"},
		ids:    []uint8{0, 1, 59, 255}, want: []uint16{Ignored, 0, 58, Ignored}, wrong: 60,
	},
	{
		name: "context60", title: "Context60", classes: 60, list: "ImageSets/SegmentationContext/val.txt",
		photos: []string{"JPEGImages/2008_1.jpg", "JPEGImages/2008_2.jpg"},
		masks:  []string{"SegmentationClassContext/2008_1.png", "SegmentationClassContext/2008_2.png"},
		ids:    []uint8{0, 1, 59, 255}, want: []uint16{0, 1, 59, Ignored}, wrong: 60,
	},
	{
		name: "coco-stuff", title: "COCO-Stuff171", classes: 171,
		photos: []string{"images/val2017/000000000139.jpg", "images/val2017/000000000285.jpg"},
		masks:  []string{"annotations/val2017/000000000139.png", "annotations/val2017/000000000285.png"},
		ids:    []uint8{0, 12, 89, 91, 181, 255, 10, 24}, want: []uint16{0, 11, 79, 80, 170, Ignored, 10, 23}, wrong: 11,
	},
	{
		name: "coco-object", title: "COCO-Object", classes: 81,
		photos: []string{"val2017/000000000139.jpg", "val2017/000000000285.jpg"},
		masks:  []string{"stuffthingmaps_trainval2017/val2017/000000000139.png", "stuffthingmaps_trainval2017/val2017/000000000285.png"},
		ids:    []uint8{0, 12, 89, 91, 181, 255, 10, 24}, want: []uint16{1, 12, 80, 0, 0, Ignored, 11, 24}, wrong: 182,
	},
	{
		name: "ade20k", title: "ADE150", classes: 150,
		photos: []string{"images/validation/ADE_val_1.jpg", "images/validation/ADE_val_2.jpg"},
		masks:  []string{"annotations/validation/ADE_val_1.png", "annotations/validation/ADE_val_2.png"},
		ids:    []uint8{0, 1, 150, 5}, want: []uint16{Ignored, 0, 149, 4}, wrong: 151,
	},
	{
		name: "cityscapes", title: "Cityscapes19", classes: 19,
		photos: []string{"leftImg8bit/val/bonn/bonn_1_leftImg8bit.png", "leftImg8bit/val/ulm/ulm_1_leftImg8bit.png"},
		masks:  []string{"gtFine/val/bonn/bonn_1_gtFine_labelIds.png", "gtFine/val/ulm/ulm_1_gtFine_labelIds.png"},
		ids:    []uint8{0, 7, 33, 255, 9, 28, 31, 13}, want: []uint16{Ignored, 0, 18, Ignored, Ignored, 15, 16, 4}, wrong: 34,
	},
	{
		name: "folder", title: "folder", classes: 3,
		photos: []string{"images/a.jpg", "images/b.png"}, masks: []string{"masks/a.png", "masks/b.png"},
		ids: []uint8{0, 1, 2, 255}, want: []uint16{0, 1, 2, Ignored}, wrong: 3,
		extra: map[string]string{"classes.txt": "background\ncell, nucleus\ndirt\n"},
	},
}

func (c layoutCase) build(t testing.TB) tree {
	tr := newTree(t)
	var list strings.Builder
	for i, photo := range c.photos {
		tr.photo(photo, 4, len(c.ids)/4)
		tr.mask(c.masks[i], c.ids...)
		list.WriteString(strings.TrimSuffix(filepath.Base(photo), ".jpg") + "\n")
	}
	if c.list != "" {
		tr.write(c.list, []byte(list.String()))
	}
	for path, text := range c.extra {
		tr.write(path, []byte(text))
	}
	return tr
}

func TestLayouts(t *testing.T) {
	for _, c := range layoutCases {
		t.Run(c.name, func(t *testing.T) {
			tr := c.build(t)
			d, err := Open(c.name, tr.root, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Items) != 2 || len(d.Classes) != c.classes || d.Title != c.title {
				t.Fatalf("%s with %d photos and %d classes, expected %s, 2 and %d", d.Title, len(d.Items), len(d.Classes), c.title, c.classes)
			}
			for _, item := range d.Items {
				_, mask, err := d.Load(item)
				if err != nil {
					t.Fatal(err)
				}
				for i, id := range mask.ID {
					if id != c.want[i] {
						t.Errorf("%s: id %d became %d, expected %d", item.Key, c.ids[i], id, c.want[i])
					}
				}
			}
			report, err := d.Check(t.Context(), nil)
			if err != nil || len(report.Problems) != 0 || report.Photos != 2 {
				t.Errorf("check: %+v, %v", report, err)
			}
		})
	}
}

// Whatever is wrong with a file is an error that names it; nothing is skipped.
func TestLayoutErrors(t *testing.T) {
	for _, c := range layoutCases {
		last := c.masks[1]
		height := len(c.ids) / 4
		breakages := map[string]struct {
			do   func(tr tree)
			says []string
		}{
			"wrong id": {func(tr tree) {
				ids := append([]uint8{}, c.ids...)
				ids[2] = c.wrong
				tr.mask(last, ids...)
			}, []string{filepath.Base(last), "at (2, 0)", "expected"}},
			"missing mask":  {func(tr tree) { os.Remove(filepath.Join(tr.root, last)) }, []string{filepath.Base(last), "missing"}},
			"missing photo": {func(tr tree) { os.Remove(filepath.Join(tr.root, c.photos[1])) }, nil},
			"16 bits": {func(tr tree) {
				tr.write(last, encodePNG(t, image.NewGray16(image.Rect(0, 0, 4, height))))
			}, []string{filepath.Base(last), "16 bits", "expected"}},
			"colours": {func(tr tree) {
				picture := image.NewRGBA(image.Rect(0, 0, 4, height))
				picture.Pix[3] = 255
				picture.Pix[0] = 9
				tr.write(last, encodePNG(t, picture))
			}, []string{filepath.Base(last), "colours", "expected"}},
			"other size": {func(tr tree) { tr.mask(last, append(append([]uint8{}, c.ids...), c.ids...)...) },
				[]string{filepath.Base(last), "expected the size of"}},
			"cut off": {func(tr tree) {
				path := filepath.Join(tr.root, last)
				data, _ := os.ReadFile(path)
				tr.write(last, data[:len(data)-20])
			}, []string{filepath.Base(last)}},
			"text": {func(tr tree) { tr.write(last, []byte("this is no picture")) }, []string{filepath.Base(last)}},
		}
		for name, b := range breakages {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				tr := c.build(t)
				b.do(tr)
				d, err := Open(c.name, tr.root, OpenOptions{})
				if name == "missing photo" && c.list == "" {
					// Folders are read as they are: a mask without a photo is what check reports.
					if err != nil {
						t.Fatal(err)
					}
					report, err := d.Check(t.Context(), nil)
					if err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0], filepath.Base(last)) {
						t.Errorf("check: %q, %v, expected the mask without photo", report.Problems, err)
					}
					return
				}
				if err == nil {
					report, checkErr := d.Check(t.Context(), nil)
					if checkErr != nil || len(report.Problems) != 1 {
						t.Errorf("check found %q (%v), expected one problem", report.Problems, checkErr)
					}
					for _, item := range d.Items {
						if _, _, e := d.Load(item); e != nil {
							err = e
						}
					}
				}
				if err == nil {
					t.Fatal("no error")
				}
				for _, part := range b.says {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not say %q", err, part)
					}
				}
			})
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open("imagenet", t.TempDir(), OpenOptions{}); !errors.Is(err, ErrUnknownDataset) {
		t.Errorf("unknown name: %v", err)
	}
	for _, name := range Names() {
		if _, err := Open(name, t.TempDir(), OpenOptions{}); err == nil {
			t.Errorf("%s: an empty folder was opened", name)
		}
		if _, err := Open(name, filepath.Join(t.TempDir(), "none"), OpenOptions{}); err == nil {
			t.Errorf("%s: a missing folder was opened", name)
		}
	}
	c := layoutCases[0]
	for name, list := range map[string]string{"twice": "2007_1\n2007_1\n", "path": "../2007_1\n", "empty": "\n"} {
		tr := c.build(t)
		tr.write(c.list, []byte(list))
		if _, err := Open(c.name, tr.root, OpenOptions{}); err == nil {
			t.Errorf("list with %s: no error", name)
		}
	}
	tr := c.build(t)
	if _, err := Open(c.name, tr.root, OpenOptions{Split: "train"}); err == nil {
		t.Error("a list that is not there was read")
	}
	if _, err := Open(c.name, tr.root, OpenOptions{Masks: "fine"}); err == nil {
		t.Error("unknown masks were accepted")
	}
}

func TestClassNames(t *testing.T) {
	for name, count := range map[string]int{
		"voc20": 20, "voc21": 21, "context59": 59, "context60": 60, "coco-stuff": 171, "coco_object": 81, "ADE20K": 150, "cityscapes": 19,
	} {
		classes, err := Classes(name)
		if err != nil || len(classes) != count {
			t.Errorf("%s: %d classes (%v), expected %d", name, len(classes), err, count)
		}
		for i, c := range WithoutSynonyms(classes) {
			if len(c.Words) != 1 && (i != 0 || c.Name != "background") {
				t.Errorf("%s: class %q has the words %q, expected one", name, c.Name, c.Words)
			}
		}
	}
	if _, err := Classes("folder"); err == nil {
		t.Error("a folder's classes are known")
	}
}
