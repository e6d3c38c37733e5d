package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/export"
	"github.com/pacl/pacl/internal/atomicfile"
)

// formatFlags ask for masks in the formats of other programs, beside those that are always written.
type formatFlags struct {
	Format    []string `enum:"coco,polygons,rle,labelme,png" placeholder:"FORMAT" help:"Write also STEM.coco.json (COCO, run lengths), STEM.polygons.json (COCO, polygons), STEM.rle.json (COCO results), STEM.labelme.json or STEM.ids.png (gray ids); several with commas. Of several photos COCO is written as one data set, too: annotations.coco.json, annotations.polygons.json."`
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

// formats are those that are asked for, each once.
func (f formatFlags) formats() []string {
	return slices.Compact(slices.Sorted(slices.Values(f.Format)))
}

// extra returns what writes the formats of one photo; nil where none is asked for.
func (f formatFlags) extra() func(stem string, photo pacl.Photo, s *pacl.Segmentation) error {
	if len(f.Format) == 0 {
		return nil
	}
	formats := f.formats()
	return func(stem string, photo pacl.Photo, s *pacl.Segmentation) error {
		for _, format := range formats {
			if err := f.write(format, stem, photo, s); err != nil {
				return err
			}
		}
		return nil
	}
}

func (f formatFlags) write(format, stem string, photo pacl.Photo, s *pacl.Segmentation) error {
	names := make([]string, len(s.Labels))
	scores := make([]float64, len(s.Labels))
	for i, l := range s.Labels {
		names[i], scores[i] = l.Label.Name, l.MeanScore
	}
	outlines := export.PolygonOptions{Tolerance: f.Tolerance, MinArea: f.MinArea}
	var value any
	var err error
	switch format {
	case "png":
		return atomicfile.Write(stem+".ids.png", func(w io.Writer) error { return export.WritePNG(w, s.Mask) })
	case "rle":
		value, err = export.Results(s.Mask, names, scores, 1)
	case "labelme":
		value, err = export.NewLabelMe(pathFrom(filepath.Dir(stem), photo.Path), s.Mask, names, outlines)
	default:
		set := export.NewCOCO(names)
		shape := export.RunLengths
		if format == "polygons" {
			shape = export.Outlines
		}
		// The photo's name below the folder that it was found in.
		name := filepath.ToSlash(filepath.Join(filepath.Dir(photo.Stem), filepath.Base(photo.Path)))
		err = set.Add(name, s.Mask, shape, outlines)
		value = set
	}
	if err != nil {
		return err
	}
	return atomicfile.Write(stem+"."+format+".json", func(w io.Writer) error { return json.NewEncoder(w).Encode(value) })
}

// pathFrom is the way from a folder to a file, as LabelMe follows it from its own file; the whole path where there is none.
func pathFrom(folder, file string) string {
	from, err := filepath.Abs(folder)
	if err == nil {
		if to, err := filepath.Abs(file); err == nil {
			if way, err := filepath.Rel(from, to); err == nil {
				return filepath.ToSlash(way)
			}
		}
	}
	return filepath.ToSlash(file)
}

// wholeSet is the stem of the files in which all photos are, in formats that can hold more than one.
const wholeSet = "annotations"

// merge writes what was written for each of several photos once more as one data set, which is what annotation tools take.
func (f formatFlags) merge(out string, photos []pacl.Photo) (written []string, err error) {
	if len(photos) < 2 {
		return nil, nil
	}
	for _, format := range f.formats() {
		if format != "coco" && format != "polygons" {
			continue
		}
		paths := make([]string, len(photos))
		for i, photo := range photos {
			if photo.Stem == wholeSet {
				return nil, fmt.Errorf("%s: the file of this photo has the name of that for all photos: rename the photo", photo.Path)
			}
			paths[i] = filepath.Join(out, photo.Stem) + "." + format + ".json"
		}
		path := filepath.Join(out, wholeSet+"."+format+".json")
		if err := atomicfile.Write(path, func(w io.Writer) error { return export.Merge(w, paths) }); err != nil {
			return nil, err
		}
		written = append(written, path)
	}
	return written, nil
}
