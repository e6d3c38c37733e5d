package export

import (
	"fmt"

	"github.com/pacl/pacl/imaging"
)

// LabelMe is an annotation file of https://github.com/wkentaro/labelme. The picture is not in it but beside it.
type LabelMe struct {
	Version     string          `json:"version"`
	Flags       map[string]bool `json:"flags"`
	Shapes      []LabelMeShape  `json:"shapes"`
	ImagePath   string          `json:"imagePath"`
	ImageData   *string         `json:"imageData"`
	ImageHeight int             `json:"imageHeight"`
	ImageWidth  int             `json:"imageWidth"`
}

// LabelMeShape is one polygon. All parts of a label share a group.
type LabelMeShape struct {
	Label       string          `json:"label"`
	Points      [][2]float64    `json:"points"`
	GroupID     *int            `json:"group_id"`
	Description string          `json:"description"`
	ShapeType   string          `json:"shape_type"`
	Flags       map[string]bool `json:"flags"`
}

// NewLabelMe draws the labels of a mask as polygons. LabelMe has no holes either: they are cut open as for COCO.
func NewLabelMe(fileName string, m *imaging.Mask, labels []string, o PolygonOptions) (*LabelMe, error) {
	outlines, err := Polygons(m, len(labels), o)
	if err != nil {
		return nil, fmt.Errorf("labelme: %s: %w", fileName, err)
	}
	file := &LabelMe{
		Version: "5.5.0", Flags: map[string]bool{}, Shapes: []LabelMeShape{},
		ImagePath: fileName, ImageHeight: m.Height, ImageWidth: m.Width,
	}
	for i, parts := range outlines {
		var group *int
		if len(parts) > 1 {
			group = new(int)
			*group = i + 1
		}
		for _, part := range parts {
			shape := LabelMeShape{
				Label: labels[i], GroupID: group, ShapeType: "polygon", Flags: map[string]bool{},
				Points: make([][2]float64, len(part.Keyhole)),
			}
			for j, p := range part.Keyhole {
				shape.Points[j] = [2]float64{p.X, p.Y}
			}
			file.Shapes = append(file.Shapes, shape)
		}
	}
	return file, nil
}
