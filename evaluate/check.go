package evaluate

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// CheckReport is what Check found.
type CheckReport struct {
	Dataset  string   `json:"dataset"`
	Root     string   `json:"root"`
	Photos   int      `json:"photos"`
	Expected int      `json:"expected,omitempty"` // photos as published, 0 where that is not known
	Where    string   `json:"published_at"`
	Classes  int      `json:"classes"`
	Occurs   []int    `json:"photos_per_class"` // [classes] photos that show the class
	Missing  []string `json:"missing_classes,omitempty"`
	Problems []string `json:"problems"` // one line each, naming the file
	// Notes are not faults: a part of the published photos, classes that do not occur.
	Notes []string `json:"notes,omitempty"`
}

// OK reports whether nothing is wrong.
func (r *CheckReport) OK() bool { return len(r.Problems) == 0 }

// Check reads every photo and mask and reports what is wrong with them; its error is only for what keeps it from going
// on.
func (d *Dataset) Check(ctx context.Context, progress Progress) (*CheckReport, error) {
	report := &CheckReport{
		Dataset: d.Title, Root: d.Root, Photos: len(d.Items), Expected: d.published.photos, Where: d.published.where,
		Classes: len(d.Classes), Occurs: make([]int, len(d.Classes)), Problems: []string{},
	}
	problems := make([]string, len(d.Items))
	var mutex sync.Mutex
	done := 0
	err := forEach(ctx, len(d.Items), RunOptions{}.workers(), func(ctx context.Context, i int) error {
		_, mask, err := d.Load(d.Items[i])
		mutex.Lock()
		defer mutex.Unlock()
		if err != nil {
			problems[i] = err.Error()
		} else {
			seen := make([]bool, len(d.Classes))
			for _, id := range mask.ID {
				if int(id) < len(seen) {
					seen[id] = true
				}
			}
			for class, s := range seen {
				if s {
					report.Occurs[class]++
				}
			}
		}
		done++
		if progress != nil {
			progress(done, len(d.Items))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		if p != "" {
			report.Problems = append(report.Problems, p)
		}
	}
	if err := d.unpaired(report); err != nil {
		return nil, err
	}
	if report.Expected > 0 && report.Photos != report.Expected {
		report.Notes = append(report.Notes, fmt.Sprintf("%d photos, %d are published at %s", report.Photos, report.Expected, report.Where))
	}
	for class, n := range report.Occurs {
		if n == 0 {
			report.Missing = append(report.Missing, d.Classes[class].Name)
		}
	}
	if len(report.Missing) > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("%d classes are in no mask: %s", len(report.Missing), shortList(report.Missing)))
	}
	return report, nil
}

// unpaired reports masks that no photo has, where photos are not named by a list.
func (d *Dataset) unpaired(report *CheckReport) error {
	if len(d.Items) == 0 || d.Items[0].Mask == "" || slices.Contains([]string{"voc20", "voc21", "context59", "context60"}, d.Name) {
		return nil
	}
	wanted := map[string]bool{}
	folders := map[string]bool{}
	for _, item := range d.Items {
		wanted[item.Mask] = true
		folders[filepath.Dir(item.Mask)] = true
	}
	if d.Name == "cityscapes" { // one folder a city: look from above
		root := filepath.Dir(filepath.Dir(d.Items[0].Mask))
		folders = map[string]bool{root: true}
	}
	end := ".png"
	if d.Name == "cityscapes" {
		end = "_gtFine_labelIds.png"
	}
	for folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			// mmsegmentation's converter of COCO-Stuff leaves its own masks beside the published ones.
			if !entry.IsDir() && strings.HasSuffix(path, end) && !strings.HasSuffix(path, "_labelTrainIds.png") && !wanted[path] {
				report.Problems = append(report.Problems, fmt.Sprintf("mask %s has no photo", path))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(report.Problems)
	return nil
}

// String is the report for people.
func (r *CheckReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %s: %d photos with masks of %d classes\n", r.Dataset, r.Root, r.Photos, r.Classes)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	for _, problem := range r.Problems {
		fmt.Fprintf(&b, "problem: %s\n", problem)
	}
	if r.OK() {
		b.WriteString("sizes, ids and pairs are right\n")
	} else {
		fmt.Fprintf(&b, "%d problems; the data are published at %s\n", len(r.Problems), r.Where)
	}
	return b.String()
}
