package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pacl/pacl/evaluate"
)

type datasetCommand struct {
	List    datasetListCommand    `cmd:"" help:"The data sets that pacl reads, and where they are published."`
	Check   datasetCheckCommand   `cmd:"" help:"Verify counts, sizes, ids and pairs of an unpacked data set."`
	Classes datasetClassesCommand `cmd:"" help:"Print the classes of a data set with their synonyms."`
}

type datasetListCommand struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

func (c *datasetListCommand) Run(s *session) error {
	type entry struct {
		Name   string `json:"name"`
		About  string `json:"about"`
		Layout string `json:"layout"`
		Where  string `json:"published_at"`
	}
	var list []entry
	for _, name := range evaluate.Names() {
		about := evaluate.Describe(name)
		list = append(list, entry{name, about.About, about.Layout, about.Where})
	}
	if c.JSON {
		return s.printJSON(list)
	}
	for _, e := range list {
		fmt.Fprintf(s.stdout, "%-12s %s\n%12s layout: %s\n%12s from: %s\n", e.Name, e.About, "", e.Layout, "", e.Where)
	}
	return nil
}

type datasetCheckCommand struct {
	Dataset string `arg:"" help:"voc20, voc21, context59, context60, coco-stuff, coco-object, ade20k, cityscapes or folder."`
	Data    string `arg:"" placeholder:"DIR" help:"The data set as it is unpacked."`
	Split   string `placeholder:"NAME" help:"The list or folder of photos. Default: val."`
	Masks   string `placeholder:"KIND" help:"VOC: aug for SegmentationClassAug."`
	JSON    bool   `name:"json" help:"Print one JSON object."`
}

// errProblems ends a check that found some; they are printed already.
var errProblems = errors.New("the data set is not as it was published")

func (c *datasetCheckCommand) Run(s *session) error {
	d, err := evaluate.Open(c.Dataset, c.Data, evaluate.OpenOptions{Split: c.Split, Masks: c.Masks})
	if err != nil {
		return err
	}
	show := s.progress()
	report, err := d.Check(s, func(done, total int) { show(fmt.Sprintf("%d of %d masks", done, total), done == total) })
	if err != nil {
		return err
	}
	if c.JSON {
		err = s.printJSON(report)
	} else {
		_, err = fmt.Fprint(s.stdout, report)
	}
	if err == nil && !report.OK() {
		err = errProblems
	}
	return err
}

type datasetClassesCommand struct {
	Dataset string `arg:"" help:"voc20, voc21, context59, context60, coco-stuff, coco-object, ade20k, cityscapes, or folder with --data."`
	Data    string `type:"existingdir" placeholder:"DIR" help:"Of a folder data set, whose classes.txt is read."`
	outputFlags
}

// Run prints a line a class as label files have it: its words separated by comma and space.
func (c *datasetClassesCommand) Run(s *session) error {
	classes, err := evaluate.Classes(c.Dataset)
	if c.Dataset == "folder" {
		if c.Data == "" {
			return usageError("a folder data set has its class names in its own classes.txt: name it with --data")
		}
		classes, err = evaluate.ReadClasses(filepath.Join(c.Data, "classes.txt"))
	}
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		return s.printJSON(classes)
	case c.CSV:
		rows := [][]string{{"id", "name", "words"}}
		for id, class := range classes {
			rows = append(rows, []string{fmt.Sprint(id), class.Name, strings.Join(class.Words, ", ")})
		}
		return csv.NewWriter(s.stdout).WriteAll(rows)
	}
	for _, class := range classes {
		fmt.Fprintln(s.stdout, strings.Join(class.Words, ", "))
	}
	return nil
}
