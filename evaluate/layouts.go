package evaluate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// notInStuff are the ids of COCO's 182 categories, less one, that no mask uses: eleven things that were never annotated.
var notInStuff = []int{11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}

func openCOCOStuff(d *Dataset, o OpenOptions) error {
	d.ids = newIDTable("0 to 181 (COCO category less one) but the eleven unused ones, or 255 (unlabelled)")
	d.ids.class[255] = Ignored
	class := 0
	for id := range 182 {
		if !slices.Contains(notInStuff, id) {
			d.ids.class[id] = uint16(class)
			class++
		}
	}
	return openCOCO(d, o)
}

// openCOCOObject takes the things as classes 1 to 80 and all stuff as the background; unlabelled pixels are not scored.
func openCOCOObject(d *Dataset, o OpenOptions) error {
	d.ids = newIDTable("0 to 181 (COCO category less one) but the eleven unused ones, or 255 (unlabelled)")
	d.ids.class[255] = Ignored
	class := 1
	for id := range 182 {
		switch {
		case slices.Contains(notInStuff, id):
		case class <= 80:
			d.ids.class[id] = uint16(class)
			class++
		default:
			d.ids.class[id] = 0
		}
	}
	return openCOCO(d, o)
}

// openCOCO reads the photos of COCO 2017 and stuffthingmaps_trainval2017.
func openCOCO(d *Dataset, o OpenOptions) error {
	split := o.Split
	switch split {
	case "val", "val2017":
		split, d.published.photos = "val2017", 5000
	case "train", "train2017":
		split, d.published.photos = "train2017", 118287
	}
	photos, err := firstFolder(d.Root, "images/"+split, split)
	if err != nil {
		return fmt.Errorf("%w, published at %s", err, d.published.where)
	}
	masks, err := firstFolder(d.Root, "annotations/"+split, "stuffthingmaps_trainval2017/"+split, "stuffthingmaps/"+split)
	if err != nil {
		return fmt.Errorf("%w, published at %s", err, d.published.where)
	}
	d.Items, err = pair(photos, ".jpg", masks, ".png")
	return err
}

func openADE20K(d *Dataset, o OpenOptions) error {
	d.ids = newIDTable("0 (other), 1 to 150")
	d.ids.class[0] = Ignored
	for i := range 150 {
		d.ids.class[i+1] = uint16(i)
	}
	split := o.Split
	switch split {
	case "val", "validation":
		split, d.published.photos = "validation", 2000
	case "train", "training":
		split, d.published.photos = "training", 20210
	}
	photos, err := firstFolder(d.Root, "images/"+split, "ADEChallengeData2016/images/"+split)
	if err != nil {
		return fmt.Errorf("%w, published at %s", err, d.published.where)
	}
	root := filepath.Dir(filepath.Dir(photos))
	masks, err := firstFolder(root, "annotations/"+split)
	if err != nil {
		return fmt.Errorf("%w, published at %s", err, d.published.where)
	}
	d.Items, err = pair(photos, ".jpg", masks, ".png")
	return err
}

// cityscapesIDs are the label ids of the 19 classes that are evaluated, in the order of their train ids.
var cityscapesIDs = []int{7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}

func openCityscapes(d *Dataset, o OpenOptions) error {
	switch o.Split {
	case "val":
		d.published.photos = 500
	case "train":
		d.published.photos = 2975
	}
	d.ids = newIDTable("label ids 0 to 33 or 255 (licence plate)")
	d.ids.class[255] = Ignored
	for id := range 34 {
		d.ids.class[id] = Ignored
	}
	for class, id := range cityscapesIDs {
		d.ids.class[id] = uint16(class)
	}
	photos, err := firstFolder(d.Root, "leftImg8bit/"+o.Split)
	if err != nil {
		return fmt.Errorf("%w, published at %s", err, d.published.where)
	}
	masks, err := firstFolder(d.Root, "gtFine/"+o.Split)
	if err != nil {
		return fmt.Errorf("%w, published at %s", err, d.published.where)
	}
	d.Items, err = pair(photos, "_leftImg8bit.png", masks, "_gtFine_labelIds.png")
	return err
}

// photoEnds are the endings of photos in a folder data set.
var photoEnds = []string{".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}

// openFolder reads one's own data: images/NAME.*, masks/NAME.png and classes.txt, whose line k (from 0) names id k.
func openFolder(d *Dataset, _ OpenOptions) error {
	var err error
	if d.Classes, err = ReadClasses(filepath.Join(d.Root, "classes.txt")); err != nil {
		return err
	}
	if strings.EqualFold(d.Classes[0].Name, "background") {
		d.Background = 0
	}
	d.ids = idTable{class: make([]uint16, max(256, len(d.Classes))), expected: fmt.Sprintf("0 to %d or 255 (ignored)", len(d.Classes)-1)}
	for id := range d.ids.class {
		d.ids.class[id] = invalidID
		if id < len(d.Classes) {
			d.ids.class[id] = uint16(id)
		}
	}
	d.ids.class[255] = Ignored
	if len(d.Classes) > 255 {
		return fmt.Errorf("%d classes, expected at most 255: id 255 is ignored", len(d.Classes))
	}
	photos, err := firstFolder(d.Root, "images")
	if err != nil {
		return err
	}
	masks, err := firstFolder(d.Root, "masks")
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(photos)
	if err != nil {
		return err
	}
	stems := map[string]string{}
	for _, entry := range entries {
		end := strings.ToLower(filepath.Ext(entry.Name()))
		if entry.IsDir() || !slices.Contains(photoEnds, end) {
			continue
		}
		stem := strings.TrimSuffix(entry.Name(), filepath.Ext(entry.Name()))
		if other, ok := stems[stem]; ok {
			return fmt.Errorf("%s and %s would share the mask %s.png", other, entry.Name(), stem)
		}
		stems[stem] = entry.Name()
		d.Items = append(d.Items, Item{Key: stem, Photo: filepath.Join(photos, entry.Name()), Mask: filepath.Join(masks, stem+".png")})
	}
	return checkFiles(d.Items)
}
