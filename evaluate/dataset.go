package evaluate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pacl/pacl/imaging"
)

// Item is a photo with its mask.
type Item struct {
	Key         string // the photo's name in the data set
	Photo, Mask string // paths; empty where the item is made, as mosaics are

	make func() (*imaging.Image, *imaging.Mask, error)
}

// Dataset is a set of photos with masks of known classes.
type Dataset struct {
	Name    string // as the command line has it: "voc20"
	Title   string // as protocols print it: "VOC20"
	Root    string
	Classes []Class
	// Background is the class that stands for the background where it competes, -1 where there is none.
	Background int
	Items      []Item

	ids        idTable
	published  publication
	protocolID []string // what protocols say beside the usual, "key=value"
}

// idTable says which class an id of a mask file means.
type idTable struct {
	class    []uint16 // [ids] class, Ignored or invalidID
	expected string   // the ids that may occur, in words
}

// invalidID marks ids that no mask may hold.
const invalidID = Ignored - 2

func newIDTable(expected string) idTable {
	t := idTable{class: make([]uint16, 256), expected: expected}
	for i := range t.class {
		t.class[i] = invalidID
	}
	return t
}

// publication says what was published: how many photos and where.
type publication struct {
	photos int
	where  string
}

// OpenOptions say which part of a data set is meant.
type OpenOptions struct {
	// Split is "val" unless another one is named: the list, or the folder, of the photos.
	Split string
	// Masks is "aug" for VOC's SegmentationClassAug.
	Masks string
}

// About describes a data set in words.
type About struct {
	Title  string // as protocols print it: "VOC20"
	About  string
	Layout string // of its folders, as it is unpacked
	Where  string // it is published
}

// layout knows how to read a data set.
type layout struct {
	About
	open func(d *Dataset, o OpenOptions) error
}

const (
	vocLayout     = "JPEGImages, SegmentationClass or SegmentationClassAug, ImageSets/Segmentation/val.txt"
	vocWhere      = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
	contextLayout = "VOC2010 with JPEGImages, SegmentationClassContext (PNG: 0 background, 1 to 59), ImageSets/SegmentationContext/val.txt"
	contextWhere  = "https://cs.stanford.edu/~roozbeh/pascal-context/, converted by mmsegmentation's tools/dataset_converters/pascal_context.py"
	cocoLayout    = "images/val2017 or val2017, stuffthingmaps_trainval2017/val2017 or annotations/val2017 (PNG: category less one, 255 unlabelled)"
	cocoWhere     = "http://images.cocodataset.org/zips/val2017.zip and " +
		"http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip"
)

var layouts = map[string]layout{
	"voc20":       {About{"VOC20", "PASCAL VOC 2012, 20 classes, background ignored", vocLayout, vocWhere}, openVOC20},
	"voc21":       {About{"VOC21", "PASCAL VOC 2012, 20 classes and the background as a class", vocLayout, vocWhere}, openVOC21},
	"context59":   {About{"Context59", "PASCAL Context, 59 classes, background ignored", contextLayout, contextWhere}, openContext59},
	"context60":   {About{"Context60", "PASCAL Context, 59 classes and the background as a class", contextLayout, contextWhere}, openContext60},
	"coco-stuff":  {About{"COCO-Stuff171", "COCO-Stuff 164k, 171 classes, unlabelled ignored", cocoLayout, cocoWhere}, openCOCOStuff},
	"coco-object": {About{"COCO-Object", "COCO, 80 things and the rest as the background, from the masks of COCO-Stuff", cocoLayout, cocoWhere}, openCOCOObject},
	"ade20k": {About{"ADE150", "ADE20K, 150 classes, other ignored",
		"images/validation, annotations/validation (PNG: 0 other, 1 to 150)",
		"http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"}, openADE20K},
	"cityscapes": {About{"Cityscapes19", "Cityscapes, 19 classes, all other ids ignored",
		"leftImg8bit/val/CITY, gtFine/val/CITY (*_gtFine_labelIds.png)",
		"https://www.cityscapes-dataset.com, leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip"}, openCityscapes},
	"folder": {About{"folder", "photos and masks of your own",
		"images/NAME.jpg (or .png, .webp, …), masks/NAME.png (line of classes.txt counted from 0, 255 ignored), classes.txt (one a line, synonyms behind comma and space)",
		"a data set of one's own: images/, masks/, classes.txt"}, openFolder},
}

// Names lists the data sets that Open reads.
func Names() []string {
	names := make([]string, 0, len(layouts))
	for name := range layouts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Describe says what a data set is; it is empty for an unknown name.
func Describe(name string) About { return layouts[canonical(name)].About }

// canonical accepts the spellings that people use for a data set.
func canonical(name string) string {
	name = strings.ToLower(strings.NewReplacer("_", "-", " ", "-").Replace(name))
	switch name {
	case "cocostuff", "coco-stuff171", "coco-stuff-171", "cocostuff171", "stuff":
		return "coco-stuff"
	case "cocoobject", "object":
		return "coco-object"
	case "ade", "ade150", "ade20k-150", "ade20k150":
		return "ade20k"
	case "cityscapes19", "city-scapes":
		return "cityscapes"
	}
	return name
}

// ErrUnknownDataset is what Open and Classes return for a name that is no data set.
var ErrUnknownDataset = errors.New("unknown data set")

// Classes returns the classes of a public data set with their synonyms.
func Classes(name string) ([]Class, error) {
	switch canonical(name) {
	case "voc20":
		return parseClasses(voc20Names), nil
	case "voc21":
		return append([]Class{background(stuffWords)}, parseClasses(voc20Names)...), nil
	case "context59":
		return parseClasses(context59Names), nil
	case "context60":
		return append([]Class{background("background")}, parseClasses(context59Names)...), nil
	case "coco-stuff":
		return parseClasses(cocoStuffNames), nil
	case "coco-object":
		return append([]Class{background(stuffWords)}, parseClasses(cocoObjectNames)...), nil
	case "ade20k":
		return parseClasses(ade20kNames), nil
	case "cityscapes":
		return parseClasses(cityscapesNames), nil
	case "folder":
		return nil, fmt.Errorf("a folder data set has the class names in its own classes.txt")
	}
	return nil, unknown(name)
}

func unknown(name string) error {
	return fmt.Errorf("%w %q, expected one of %s", ErrUnknownDataset, name, strings.Join(Names(), ", "))
}

// Open reads which photos and masks a data set has. The files themselves are read by Load. Every listed photo must have
// its files: what is missing is an error and nothing is skipped.
func Open(name, root string, o OpenOptions) (*Dataset, error) {
	kind, ok := layouts[canonical(name)]
	if !ok {
		return nil, unknown(name)
	}
	d := &Dataset{Name: canonical(name), Title: kind.Title, Root: root, Background: -1, published: publication{where: kind.Where}}
	if o.Split == "" {
		o.Split = "val"
	}
	if info, err := os.Stat(root); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Title, err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: %s is a file, expected the data set's folder", d.Title, root)
	}
	if d.Name != "folder" {
		classes, err := Classes(d.Name)
		if err != nil {
			return nil, err
		}
		d.Classes = classes
		if classes[0].Name == "background" {
			d.Background = 0
		}
	}
	if err := kind.open(d, o); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Title, err)
	}
	if o.Split != "val" {
		d.protocolID = append(d.protocolID, "split="+o.Split)
	}
	if o.Masks != "" {
		d.protocolID = append(d.protocolID, "masks="+o.Masks)
	}
	if len(d.Items) == 0 {
		return nil, fmt.Errorf("%s: no photo in %s (%s)", d.Title, root, d.published.where)
	}
	return d, nil
}

// BackgroundRule is how protocols call what is done with the background.
func (d *Dataset) BackgroundRule() string {
	if d.Background >= 0 {
		return "class"
	}
	return "ignored"
}

// Limit returns the data set with its first n photos, all of them where n is 0.
func (d *Dataset) Limit(n int) *Dataset {
	if n <= 0 || n >= len(d.Items) {
		return d
	}
	limited := *d
	limited.Items = d.Items[:n]
	return &limited
}

// Load reads an item: the photo, and the mask in class ids, Ignored where a pixel is not scored.
func (d *Dataset) Load(item Item) (*imaging.Image, *imaging.Mask, error) {
	if item.make != nil {
		return item.make()
	}
	photo, err := imaging.Open(item.Photo)
	if err != nil {
		return nil, nil, err
	}
	mask, err := d.LoadMask(item)
	if err != nil {
		return nil, nil, err
	}
	if photo.Width != mask.Width || photo.Height != mask.Height {
		return nil, nil, fmt.Errorf("mask %s is %dx%d, expected the size of %s, %dx%d",
			item.Mask, mask.Width, mask.Height, item.Photo, photo.Width, photo.Height)
	}
	return photo, mask, nil
}

// LoadMask reads the mask of an item alone.
func (d *Dataset) LoadMask(item Item) (*imaging.Mask, error) {
	if item.make != nil {
		_, mask, err := item.make()
		return mask, err
	}
	data, err := os.ReadFile(item.Mask)
	if err != nil {
		return nil, fmt.Errorf("mask: %w", err)
	}
	// A PNG's bit depth and colour type follow its size in the header. Gray of another depth is scaled by decoders, so
	// that its values are no ids any more.
	if len(data) >= 26 && bytes.HasPrefix(data, []byte("\x89PNG")) {
		if depth, colour := data[24], data[25]; depth == 16 || depth < 8 && colour == 0 {
			return nil, fmt.Errorf("mask %s: PNG of %d bits a pixel, expected class ids of 8 bits", item.Mask, depth)
		}
	}
	mask, err := imaging.DecodeMask(data)
	if err != nil {
		return nil, fmt.Errorf("mask %s: %w", item.Mask, err)
	}
	for i, id := range mask.ID {
		class := uint16(invalidID)
		if int(id) < len(d.ids.class) {
			class = d.ids.class[id]
		}
		if class == invalidID {
			return nil, fmt.Errorf("mask %s: id %d at (%d, %d), expected %s", item.Mask, id, i%mask.Width, i/mask.Width, d.ids.expected)
		}
		mask.ID[i] = class
	}
	return mask, nil
}

// Progress is called from time to time by long work; total is -1 where it is not known.
type Progress func(done, total int)

// exists reports whether a path can be read as a file.
func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// firstFolder returns the first of the candidates below root that is a folder.
func firstFolder(root string, candidates ...string) (string, error) {
	for _, c := range candidates {
		path := filepath.Join(root, filepath.FromSlash(c))
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s has no folder %s", root, strings.Join(candidates, " or "))
}

// pair lists the files of photos/ that end with photoEnd, each with its mask of the same stem that ends with maskEnd.
func pair(photos, photoEnd, masks, maskEnd string) ([]Item, error) {
	var items []Item
	err := filepath.WalkDir(photos, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || !strings.HasSuffix(path, photoEnd) {
			return nil
		}
		relative, err := filepath.Rel(photos, path)
		if err != nil {
			return err
		}
		stem := strings.TrimSuffix(relative, photoEnd)
		items = append(items, Item{Key: filepath.ToSlash(stem), Photo: path, Mask: filepath.Join(masks, stem+maskEnd)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(items, func(a, b Item) int { return strings.Compare(a.Key, b.Key) })
	return items, checkFiles(items)
}

// checkFiles reports the photos and masks that do not exist.
func checkFiles(items []Item) error {
	missing, first := 0, ""
	for _, item := range items {
		for _, path := range []string{item.Photo, item.Mask} {
			if !exists(path) {
				if missing == 0 {
					first = path
				}
				missing++
			}
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d files are missing, the first is %s", missing, 2*len(items), first)
	}
	return nil
}

// Fingerprint hashes the names and sizes of the photos and masks: it changes with most changes of the data.
func (d *Dataset) Fingerprint() (string, error) {
	paths := []string{d.Title}
	for _, item := range d.Items {
		paths = append(paths, item.Photo, item.Mask)
	}
	for _, class := range d.Classes {
		paths[0] += "\n" + strings.Join(class.Words, ", ")
	}
	return fingerprint(paths[0], d.Root, paths[1:])
}

// Fingerprint hashes the names and sizes of the photos, their classes and the words of these.
func (p *Photos) Fingerprint() (string, error) {
	var about strings.Builder
	for _, class := range p.Classes {
		fmt.Fprintln(&about, class.Words)
	}
	var paths []string
	for _, item := range p.Items {
		fmt.Fprintln(&about, item.Key, item.Class)
		paths = append(paths, item.Photo)
	}
	return fingerprint(about.String(), p.Root, paths)
}

func fingerprint(about, root string, paths []string) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, about)
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			relative = path
		}
		fmt.Fprintln(hash, filepath.ToSlash(relative), info.Size())
	}
	return hex.EncodeToString(hash.Sum(nil)[:12]), nil
}
