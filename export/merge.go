package export

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
)

// Merge writes data sets in COCO's annotation format as one, in order, with ids of its own. All must have the same
// categories. One set is held in memory at a time.
func Merge(w io.Writer, paths []string) error {
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	images := []Image{}
	categories := []Category{}
	annotations := 0
	// Errors of writing stay in out, and Flush returns them.
	part := func(text string, value any) error {
		_, _ = out.WriteString(text)
		return encoder.Encode(value)
	}
	if err := part(`{"info":`, NewCOCO(nil).Info); err != nil {
		return fmt.Errorf("coco: %w", err)
	}
	_, _ = out.WriteString(`,"annotations":[`)
	for i, path := range paths {
		set, err := readCOCO(path)
		if err != nil {
			return err
		}
		if i == 0 {
			categories = set.Categories
		} else if !slices.Equal(categories, set.Categories) {
			return fmt.Errorf("coco: %s has other categories than %s", path, paths[0])
		}
		ids := make(map[int]int, len(set.Images))
		for _, picture := range set.Images {
			ids[picture.ID] = len(images) + 1
			picture.ID = len(images) + 1
			images = append(images, picture)
		}
		for _, a := range set.Annotations {
			image, ok := ids[a.ImageID]
			if !ok {
				return fmt.Errorf("coco: %s: annotation %d is of image %d, which is missing", path, a.ID, a.ImageID)
			}
			separator := ""
			if annotations > 0 {
				separator = ","
			}
			annotations++
			a.ID, a.ImageID = annotations, image
			if err := part(separator, a); err != nil {
				return fmt.Errorf("coco: %s: %w", path, err)
			}
		}
	}
	if err := part(`],"images":`, images); err != nil {
		return fmt.Errorf("coco: %w", err)
	}
	if err := part(`,"categories":`, categories); err != nil {
		return fmt.Errorf("coco: %w", err)
	}
	_, _ = out.WriteString("}\n")
	return out.Flush()
}

// readCOCO reads a set that this package wrote; segmentations stay as they are.
func readCOCO(path string) (*COCO, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("coco: %w", err)
	}
	set := new(COCO)
	if err := json.Unmarshal(text, set); err != nil {
		return nil, fmt.Errorf("coco: %s: %w", path, err)
	}
	return set, nil
}
