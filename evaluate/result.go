package evaluate

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pacl/pacl/internal/atomicfile"
)

// WriteText prints the result for people: a line for each class that occurs, the means and the protocol.
func (r *SegmentationResult) WriteText(w io.Writer) error {
	width := len("class")
	for _, c := range r.PerClass {
		width = max(width, len([]rune(c.Name)))
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%-*s  %6s  %8s  %12s\n", width, "class", "IoU", "accuracy", "pixels")
	absent := 0
	for _, c := range r.PerClass {
		if c.IoU == nil {
			absent++
			continue
		}
		fmt.Fprintf(out, "%-*s  %6.2f  %8.2f  %12d\n", width, c.Name, 100**c.IoU, 100**c.Accuracy, c.Pixels)
	}
	if absent > 0 {
		fmt.Fprintf(out, "(%d classes do not occur in the masks and are left out of the means)\n", absent)
	}
	fmt.Fprintf(out, "\nmIoU %.2f   pixel accuracy %.2f   mean accuracy %.2f\n%s\n", 100*r.MIoU, 100*r.PixelAccuracy, 100*r.MeanAccuracy, r.Protocol)
	return out.Flush()
}

// WriteJSON prints the result as one JSON object.
func (r *SegmentationResult) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// WriteCSV prints one line a class, then the means; the protocol stands in each line.
func (r *SegmentationResult) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	number := func(v *float64) string {
		if v == nil {
			return ""
		}
		return strconv.FormatFloat(*v, 'g', -1, 64)
	}
	rows := [][]string{{"class", "iou", "accuracy", "pixels", "protocol"}}
	for _, c := range r.PerClass {
		rows = append(rows, []string{c.Name, number(c.IoU), number(c.Accuracy), strconv.FormatInt(c.Pixels, 10), r.Protocol})
	}
	for _, mean := range []struct {
		name  string
		value float64
	}{{"miou", r.MIoU}, {"pixel_accuracy", r.PixelAccuracy}, {"mean_accuracy", r.MeanAccuracy}} {
		rows = append(rows, []string{"# " + mean.name, number(&mean.value), "", "", r.Protocol})
	}
	if err := out.WriteAll(rows); err != nil {
		return err
	}
	return out.Error()
}

// Record is a run as it is kept on disk: its header and one line an image. Two records of the same data can be compared.
type Record struct {
	Protocol string       `json:"protocol"`
	Model    string       `json:"model,omitempty"` // what was measured, in the user's words
	Measure  string       `json:"measure"`         // "miou", "accuracy" or "auc"
	Classes  []string     `json:"classes,omitempty"`
	Images   []ImageScore `json:"-"`
}

// measureNames are what records measure, as people are told.
var measureNames = map[string]string{"miou": "mIoU", "accuracy": "accuracy", "auc": "AUC"}

// Record returns what compare needs of the result.
func (r *SegmentationResult) Record(model string) *Record {
	record := &Record{Protocol: r.Protocol, Model: model, Measure: "miou", Images: r.PerImage}
	for _, c := range r.PerClass {
		record.Classes = append(record.Classes, c.Name)
	}
	return record
}

// WriteFile writes the record as JSON lines: the header first, then an image a line.
func (r *Record) WriteFile(path string) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(r); err != nil {
			return err
		}
		for _, image := range r.Images {
			if err := encoder.Encode(image); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReadRecord reads what WriteFile wrote.
func ReadRecord(path string) (*Record, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	defer file.Close()
	record, err := decodeRecord(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return record, nil
}

func decodeRecord(r io.Reader) (*Record, error) {
	decoder := json.NewDecoder(bufio.NewReader(r))
	var record Record
	if err := decoder.Decode(&record); err != nil {
		return nil, fmt.Errorf("first line is no record of an evaluation: %w", err)
	}
	if measureNames[record.Measure] == "" {
		return nil, fmt.Errorf("the record measures %q, expected miou, accuracy or auc", record.Measure)
	}
	if len(record.Classes) > maxClasses {
		return nil, fmt.Errorf("the record has %d classes, at most %d are allowed", len(record.Classes), maxClasses)
	}
	for {
		var image ImageScore
		err := decoder.Decode(&image)
		if errors.Is(err, io.EOF) {
			return &record, nil
		}
		if err != nil {
			return nil, fmt.Errorf("image %d: %w", len(record.Images)+1, err)
		}
		for _, e := range image.Confusion {
			if e[0] < 0 || e[0] >= int64(len(record.Classes)) || e[1] < 0 || e[1] > int64(len(record.Classes)) || e[2] < 0 {
				return nil, fmt.Errorf("image %q: count %v, expected classes below %d", image.Key, e, len(record.Classes))
			}
		}
		record.Images = append(record.Images, image)
	}
}

// Extremes returns the keys of the n best and worst images of a record.
func (r *Record) Extremes(n int) (best, worst []string) {
	type scored struct {
		key   string
		value float64
	}
	var all []scored
	for _, image := range r.Images {
		if v, ok := r.imageValue(image); ok {
			all = append(all, scored{image.Key, v})
		}
	}
	slices.SortStableFunc(all, func(a, b scored) int {
		switch {
		case a.value > b.value:
			return -1
		case a.value < b.value:
			return 1
		}
		return strings.Compare(a.key, b.key)
	})
	n = min(n, len(all)/2)
	for i := range n {
		best = append(best, all[i].key)
		worst = append(worst, all[len(all)-1-i].key)
	}
	return best, worst
}

// imageValue is the measure of one image alone: for mIoU the mean over the classes in its own truth.
func (r *Record) imageValue(image ImageScore) (float64, bool) {
	if r.Measure != "miou" {
		return image.Right / image.Total, image.Total > 0
	}
	c := NewConfusion(len(r.Classes))
	if c.AddEntries(image.Confusion) != nil {
		return 0, false
	}
	m := c.Metrics()
	return m.MIoU, m.MIoU == m.MIoU
}
