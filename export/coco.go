// Package export writes masks in the formats that annotation tools and evaluators read: COCO annotations with run lengths
// or polygons, COCO results, LabelMe files and plain gray PNG, so that a segmentation can be the first draft of an annotation.
package export

import (
	"fmt"

	"github.com/pacl/pacl/imaging"
)

// Shape says how a COCO annotation describes its pixels.
type Shape int

const (
	// RunLengths is compressed run lengths: exact and small.
	RunLengths Shape = iota
	// Outlines is polygons, which annotation tools let people edit. Holes are cut open (see Polygon.Keyhole).
	Outlines
)

// COCO is a data set in COCO's annotation format, https://cocodataset.org/#format-data.
type COCO struct {
	Info        Info         `json:"info"`
	Images      []Image      `json:"images"`
	Annotations []Annotation `json:"annotations"`
	Categories  []Category   `json:"categories"`
}

// Info describes the data set.
type Info struct {
	Description string `json:"description"`
	Version     string `json:"version"`
}

// Image is one picture of the data set.
type Image struct {
	ID       int    `json:"id"`
	FileName string `json:"file_name"`
	Width    int    `json:"width"`
	Height   int    `json:"height"`
}

// Category is one label; ids begin with 1.
type Category struct {
	ID            int    `json:"id"`
	Name          string `json:"name"`
	Supercategory string `json:"supercategory"`
}

// Annotation is one label's pixels in one picture.
type Annotation struct {
	ID         int `json:"id"`
	ImageID    int `json:"image_id"`
	CategoryID int `json:"category_id"`
	// Segmentation is an RLE, or a list of polygons [x1, y1, x2, y2, ...].
	Segmentation any `json:"segmentation"`
	// Area is the number of pixels, whatever the polygons leave out.
	Area float64 `json:"area"`
	// Box is [x, y, width, height].
	Box     [4]float64 `json:"bbox"`
	IsCrowd int        `json:"iscrowd"`
}

// NewCOCO begins a data set of the given labels; the mask id i is category i+1.
func NewCOCO(labels []string) *COCO {
	c := &COCO{
		Info:        Info{Description: "segmented by pacl", Version: "1.0"},
		Images:      []Image{},
		Annotations: []Annotation{},
		Categories:  make([]Category, len(labels)),
	}
	for i, label := range labels {
		c.Categories[i] = Category{ID: i + 1, Name: label}
	}
	return c
}

// Add appends a picture and one annotation for each label that it shows. Ids from the number of labels on (background,
// void) are left out.
func (c *COCO) Add(fileName string, m *imaging.Mask, shape Shape, o PolygonOptions) error {
	all, err := scan(m, len(c.Categories))
	if err != nil {
		return fmt.Errorf("coco: %s: %w", fileName, err)
	}
	var outlines [][]Polygon
	if shape == Outlines {
		if outlines, err = Polygons(m, len(c.Categories), o); err != nil {
			return fmt.Errorf("coco: %s: %w", fileName, err)
		}
	}
	picture := Image{ID: len(c.Images) + 1, FileName: fileName, Width: m.Width, Height: m.Height}
	c.Images = append(c.Images, picture)
	for i, r := range all {
		if r.area == 0 || shape == Outlines && len(outlines[i]) == 0 {
			continue
		}
		annotation := Annotation{
			ID: len(c.Annotations) + 1, ImageID: picture.ID, CategoryID: i + 1, Area: float64(r.area), Box: r.box(),
		}
		if shape == Outlines {
			annotation.Segmentation = flatten(outlines[i])
		} else {
			annotation.Segmentation = RLE{Size: [2]int{m.Height, m.Width}, Counts: compress(r.counts)}
		}
		c.Annotations = append(c.Annotations, annotation)
	}
	return nil
}

// flatten writes each part as COCO's list of numbers. It has six or more, as readers take four for a box.
func flatten(parts []Polygon) [][]float64 {
	lists := make([][]float64, 0, len(parts))
	for _, part := range parts {
		list := make([]float64, 0, 2*len(part.Keyhole))
		for _, p := range part.Keyhole {
			list = append(list, p.X, p.Y)
		}
		lists = append(lists, list)
	}
	return lists
}

// Result is one label's pixels in COCO's format of results, as pycocotools' loadRes reads them.
type Result struct {
	ImageID      int     `json:"image_id"`
	CategoryID   int     `json:"category_id"`
	Label        string  `json:"label"`
	Segmentation RLE     `json:"segmentation"`
	Score        float64 `json:"score"`
}

// Results lists the labels that a mask shows. The scores are those of the labels, in order; nil counts as 1 each.
func Results(m *imaging.Mask, labels []string, scores []float64, imageID int) ([]Result, error) {
	all, err := scan(m, len(labels))
	if err != nil {
		return nil, fmt.Errorf("coco results: %w", err)
	}
	results := []Result{}
	for i, r := range all {
		if r.area == 0 {
			continue
		}
		result := Result{
			ImageID: imageID, CategoryID: i + 1, Label: labels[i], Score: 1,
			Segmentation: RLE{Size: [2]int{m.Height, m.Width}, Counts: compress(r.counts)},
		}
		if scores != nil {
			result.Score = scores[i]
		}
		results = append(results, result)
	}
	return results, nil
}
