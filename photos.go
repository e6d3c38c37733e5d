package pacl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// photoExtensions are the endings under which a folder's photos are found; a file named outright may have any.
var photoExtensions = []string{".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}

// Photo is a photo to segment and the stem of what is written for it.
type Photo struct {
	Path string
	// Stem is the output path without its ending, relative to the output folder: the photo's name, below the folder that it
	// was found in.
	Stem string
}

// FindPhotos expands files, folders (with all below them) and glob patterns into photos, each once, in the order given and
// by name within a folder. Two photos whose outputs would have the same name keep their endings in it.
func FindPhotos(arguments []string) ([]Photo, error) {
	var photos []Photo
	seen := make(map[string]bool)
	add := func(path, stem string) {
		if clean := filepath.Clean(path); !seen[clean] {
			seen[clean] = true
			photos = append(photos, Photo{Path: path, Stem: stem})
		}
	}
	for _, argument := range arguments {
		info, err := os.Stat(argument)
		switch {
		case err == nil && info.IsDir():
			before := len(photos)
			if err := walkPhotos(argument, add); err != nil {
				return nil, err
			}
			if len(photos) == before {
				return nil, fmt.Errorf("folder %s: no photo found, expected files ending in %s",
					argument, strings.Join(photoExtensions, ", "))
			}
		case err == nil:
			add(argument, filepath.Base(argument))
		case strings.ContainsAny(argument, "*?["):
			matches, globErr := filepath.Glob(argument)
			if globErr != nil {
				return nil, fmt.Errorf("pattern %s: %w", argument, globErr)
			}
			if len(matches) == 0 {
				return nil, fmt.Errorf("pattern %s: no file matches", argument)
			}
			for _, match := range matches {
				if info, err := os.Stat(match); err == nil && !info.IsDir() {
					add(match, filepath.Base(match))
				}
			}
		default:
			return nil, fmt.Errorf("photo: %w", err)
		}
	}
	if len(photos) == 0 {
		return nil, errors.New("no photo named, expected files, folders or patterns")
	}
	nameStems(photos)
	return photos, nil
}

func walkPhotos(root string, add func(path, stem string)) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("folder %s: %w", root, err)
		}
		if entry.IsDir() || !slices.Contains(photoExtensions, strings.ToLower(filepath.Ext(path))) {
			return nil
		}
		stem, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		add(path, stem)
		return nil
	})
}

// nameStems takes the ending off each stem unless two photos would then share it.
func nameStems(photos []Photo) {
	bare := func(stem string) string { return strings.TrimSuffix(stem, filepath.Ext(stem)) }
	count := make(map[string]int, len(photos))
	for _, photo := range photos {
		count[strings.ToLower(bare(photo.Stem))]++
	}
	used := make(map[string]bool, len(photos))
	for i := range photos {
		stem := bare(photos[i].Stem)
		if count[strings.ToLower(stem)] > 1 {
			stem = photos[i].Stem
		}
		unique := stem
		for n := 2; used[strings.ToLower(unique)]; n++ {
			unique = fmt.Sprintf("%s-%d", stem, n)
		}
		used[strings.ToLower(unique)] = true
		photos[i].Stem = unique
	}
}
