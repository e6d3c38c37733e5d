package evaluate

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func openVOC20(d *Dataset, o OpenOptions) error {
	d.ids = newIDTable("0 (background), 1 to 20 or 255 (void)")
	d.ids.class[0], d.ids.class[255] = Ignored, Ignored
	for i := range 20 {
		d.ids.class[i+1] = uint16(i)
	}
	return openVOC(d, o)
}

func openVOC21(d *Dataset, o OpenOptions) error {
	d.ids = newIDTable("0 (background), 1 to 20 or 255 (void)")
	d.ids.class[255] = Ignored
	for i := range 21 {
		d.ids.class[i] = uint16(i)
	}
	return openVOC(d, o)
}

// openVOC reads VOC2012's layout: ImageSets/Segmentation/SPLIT.txt, JPEGImages, SegmentationClass. The masks of the
// augmented set (trainaug) lie in SegmentationClassAug.
func openVOC(d *Dataset, o OpenOptions) error {
	switch o.Split {
	case "val":
		d.published.photos = 1449
	case "train":
		d.published.photos = 1464
	case "trainaug", "train_aug":
		d.published.photos = 10582
		d.published.where = "SegmentationClassAug of the SBD set, http://home.bharathh.info/pubs/codes/SBD/download.html"
	}
	root, err := firstFolder(d.Root, "JPEGImages", "VOC2012/JPEGImages", "VOCdevkit/VOC2012/JPEGImages")
	if err != nil {
		return fmt.Errorf("%w, published at %s", err, d.published.where)
	}
	root = filepath.Dir(root)
	folder := "SegmentationClass"
	switch {
	case o.Masks == "aug" || o.Masks == "" && strings.Contains(o.Split, "aug"):
		folder = "SegmentationClassAug"
	case o.Masks != "":
		return fmt.Errorf("masks %q, expected none or aug", o.Masks)
	}
	masks, err := firstFolder(root, folder)
	if err != nil {
		if o.Masks == "" && folder == "SegmentationClass" {
			masks, err = firstFolder(root, "SegmentationClass", "SegmentationClassAug")
		}
		if err != nil {
			return fmt.Errorf("%w, published at %s", err, d.published.where)
		}
	}
	d.Items, err = readList(filepath.Join(root, "ImageSets", "Segmentation", o.Split+".txt"), filepath.Join(root, "JPEGImages"), masks)
	return err
}

func openContext59(d *Dataset, o OpenOptions) error {
	d.ids = newIDTable("0 (background), 1 to 59 or 255")
	d.ids.class[0], d.ids.class[255] = Ignored, Ignored
	for i := range 59 {
		d.ids.class[i+1] = uint16(i)
	}
	return openContext(d, o)
}

func openContext60(d *Dataset, o OpenOptions) error {
	d.ids = newIDTable("0 (background), 1 to 59 or 255")
	d.ids.class[255] = Ignored
	for i := range 60 {
		d.ids.class[i] = uint16(i)
	}
	return openContext(d, o)
}

// openContext reads what mmsegmentation's tools/dataset_converters/pascal_context.py writes into VOC2010.
func openContext(d *Dataset, o OpenOptions) error {
	switch o.Split {
	case "val":
		d.published.photos = 5105
	case "train":
		d.published.photos = 4998
	}
	root, err := firstFolder(d.Root, "SegmentationClassContext", "VOC2010/SegmentationClassContext", "VOCdevkit/VOC2010/SegmentationClassContext")
	if err != nil {
		return fmt.Errorf("%w, published at %s", err, d.published.where)
	}
	masks := root
	root = filepath.Dir(root)
	d.Items, err = readList(filepath.Join(root, "ImageSets", "SegmentationContext", o.Split+".txt"), filepath.Join(root, "JPEGImages"), masks)
	return err
}

// readList reads the photos that a list names, NAME.jpg with NAME.png.
func readList(list, photos, masks string) ([]Item, error) {
	file, err := os.Open(list)
	if err != nil {
		return nil, fmt.Errorf("list of photos: %w", err)
	}
	defer file.Close()
	var items []Item
	seen := map[string]bool{}
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		name := strings.TrimSpace(lines.Text())
		if name == "" {
			continue
		}
		if strings.ContainsAny(name, "/\\ \t") || strings.Contains(name, "..") {
			return nil, fmt.Errorf("%s: line %d is %q, expected the name of a photo without folder and ending", list, number, name)
		}
		if seen[name] {
			return nil, fmt.Errorf("%s: line %d: %s is listed twice", list, number, name)
		}
		seen[name] = true
		items = append(items, Item{Key: name, Photo: filepath.Join(photos, name+".jpg"), Mask: filepath.Join(masks, name+".png")})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", list, err)
	}
	return items, checkFiles(items)
}
