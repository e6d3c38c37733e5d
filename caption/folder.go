package caption

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// openFolder opens a folder of pictures, each with a text of the same name beside it whose lines are its captions; or of
// what Hugging Face's data sets have in a folder: metadata.csv or metadata.jsonl, parquet files, tar shards.
func openFolder(dir string, o Options) (Source, error) {
	for _, name := range []string{"metadata.jsonl", "metadata.csv"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return Open(filepath.Join(dir, name), o)
		}
	}
	for _, inner := range []string{"*.parquet", "data/*.parquet", "*/*.parquet"} {
		if files := trainingFiles(filepath.Join(dir, filepath.FromSlash(inner))); len(files) > 0 {
			return openParquetFiles(files, dir, o)
		}
	}
	for _, inner := range []string{"*.tar", "*.tar.gz", "*.tgz"} {
		if files, err := filepath.Glob(filepath.Join(dir, inner)); err == nil && len(files) > 0 {
			return openWebDataset(filepath.Join(dir, inner), o)
		}
	}
	return walkFolder(dir)
}

// trainingFiles returns what a pattern matches, only the files of the training split where names tell splits.
func trainingFiles(pattern string) []string {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	slices.Sort(files)
	training := slices.DeleteFunc(slices.Clone(files), func(name string) bool {
		return !strings.Contains(strings.ToLower(filepath.Base(name)), "train")
	})
	if len(training) > 0 {
		return training
	}
	return files
}

// folder knows the paths of its pictures from the start and reads a picture's text when it is its turn.
type folder struct {
	dir      string
	pictures arena
	names    []reference
	hash     string
	skipped  Skipped
	next     int
}

func walkFolder(dir string) (Source, error) {
	f := &folder{dir: dir}
	digest := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		extension := strings.ToLower(strings.TrimPrefix(filepath.Ext(path), "."))
		if entry.IsDir() || !slices.Contains(imageExtensions, extension) {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		size := int64(-1)
		if info, err := os.Stat(textBeside(path)); err == nil {
			size = info.Size()
		}
		fmt.Fprintf(digest, "%s\x00%d\x00", name, size)
		f.names = append(f.names, f.pictures.add(name))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open captions: %w", err)
	}
	if len(f.names) == 0 {
		return nil, fmt.Errorf("open captions %s: %w", dir, errNoSource)
	}
	f.hash = hex.EncodeToString(digest.Sum(nil))
	return f, nil
}

// textBeside returns the path of the text that belongs to a picture.
func textBeside(picture string) string {
	stem := strings.TrimSuffix(picture, filepath.Ext(picture))
	for _, extension := range textExtensions[1:] {
		if _, err := os.Stat(stem + "." + extension); err == nil {
			return stem + "." + extension
		}
	}
	return stem + "." + textExtensions[0]
}

func (f *folder) Next() (Sample, error) {
	for f.next < len(f.names) {
		name := f.pictures.get(f.names[f.next])
		f.next++
		f.skipped.Seen++
		path := filepath.Join(f.dir, filepath.FromSlash(name))
		texts, err := readTexts(textBeside(path))
		switch {
		case err != nil:
			f.skipped.malformed("%s: %v", path, err)
		case len(texts) == 0:
			f.skipped.empty("%s: no caption", path)
		default:
			return Sample{Key: name, Texts: texts, Read: func() ([]byte, error) { return readImage(path) }}, nil
		}
	}
	return Sample{}, io.EOF
}

func readTexts(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSidecar+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSidecar {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxSidecar)
	}
	return keepTexts(strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n")), nil
}

func (f *folder) Hash() string     { return f.hash }
func (f *folder) Len() int         { return len(f.names) }
func (f *folder) Skipped() Skipped { return f.skipped.clone() }
func (f *folder) Close() error     { return nil }
