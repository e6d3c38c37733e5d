package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/export"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/atomicfile"
)

// formatFlags ask for masks in the formats of other programs, beside those that are always written.
type formatFlags struct {
	Format    []string `enum:"coco,polygons,rle,labelme,png" placeholder:"FORMAT" help:"Write also STEM.coco.json (COCO, run lengths), STEM.polygons.json (COCO, polygons), STEM.rle.json (COCO results), STEM.labelme.json or STEM.ids.png (gray ids); several with commas."`
	Tolerance float64  `default:"0" placeholder:"PIXELS" help:"Let polygons leave the mask's edge by so much; 0 is exact, 1 is good to edit."`
	MinArea   int      `default:"0" placeholder:"PIXELS" help:"Leave parts of fewer pixels out of polygons."`
}

// key names what extra writes.
func (f formatFlags) key() string {
	if len(f.Format) == 0 {
		return ""
	}
	return fmt.Sprint(f.Format, f.Tolerance, f.MinArea)
}

// extra returns what writes the formats of one photo; nil where none is asked for.
func (f formatFlags) extra() func(stem string, photo *imaging.Image, s *pacl.Segmentation) error {
	if len(f.Format) == 0 {
		return nil
	}
	formats := slices.Compact(slices.Sorted(slices.Values(f.Format)))
	return func(stem string, _ *imaging.Image, s *pacl.Segmentation) error {
		for _, format := range formats {
			if err := f.write(format, stem, s); err != nil {
				return err
			}
		}
		return nil
	}
}

func (f formatFlags) write(format, stem string, s *pacl.Segmentation) error {
	names := make([]string, len(s.Labels))
	scores := make([]float64, len(s.Labels))
	for i, l := range s.Labels {
		names[i], scores[i] = l.Label.Name, l.MeanScore
	}
	photo := filepath.Base(stem)
	outlines := export.PolygonOptions{Tolerance: f.Tolerance, MinArea: f.MinArea}
	var value any
	var err error
	switch format {
	case "png":
		return atomicfile.Write(stem+".ids.png", func(w io.Writer) error { return export.WritePNG(w, s.Mask) })
	case "rle":
		value, err = export.Results(s.Mask, names, scores, 1)
	case "labelme":
		value, err = export.NewLabelMe(photo, s.Mask, names, outlines)
	default:
		set := export.NewCOCO(names)
		shape := export.RunLengths
		if format == "polygons" {
			shape = export.Outlines
		}
		err = set.Add(photo, s.Mask, shape, outlines)
		value = set
	}
	if err != nil {
		return err
	}
	return atomicfile.Write(stem+"."+format+".json", func(w io.Writer) error { return json.NewEncoder(w).Encode(value) })
}
