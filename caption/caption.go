// Package caption reads captioned images from where people keep them: lists (TSV, CSV, JSONL, COCO's JSON), WebDataset
// shards, parquet files and folders with a text beside each picture. It also says what texts are made of a caption: the
// noun phrases in it and the templates they are put into.
//
// A Source streams. Lists keep their paths and captions, compactly, because the rows of one image may be anywhere in
// them; pictures are never held.
package caption

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// Sample is an image with its captions.
type Sample struct {
	// Key names the image and stays the same from run to run: its path as the list has it, or shard#member.
	Key string
	// Texts are the image's captions, trimmed, none of them empty, at least one.
	Texts []string
	// Read returns the encoded image. It may be called at any time before the Source is closed, from any goroutine.
	Read func() ([]byte, error)
}

// Source gives samples one after the other. It is used by one goroutine at a time.
type Source interface {
	// Next returns the next sample, and io.EOF after the last one.
	Next() (Sample, error)
	// Hash names the list's content: equal hashes mean the same images and captions, as far as that can be told
	// without reading the images.
	Hash() string
	// Len is the number of samples, -1 where only reading all would tell.
	Len() int
	// Skipped tells what was left out so far. Lists know all of it from the start.
	Skipped() Skipped
	Close() error
}

// Skipped counts the rows, members or pictures that gave no caption or no image.
type Skipped struct {
	// Seen counts all rows, Empty those without a caption, Malformed those that could not be read.
	Seen, Empty, Malformed int
	// Named are the first problems, each with its file and place.
	Named []string
}

const maxNamed = 20

func (s *Skipped) malformed(format string, args ...any) {
	s.Malformed++
	s.name(format, args...)
}

func (s *Skipped) empty(format string, args ...any) {
	s.Empty++
	s.name(format, args...)
}

func (s *Skipped) name(format string, args ...any) {
	if len(s.Named) < maxNamed {
		s.Named = append(s.Named, fmt.Sprintf(format, args...))
	}
}

func (s *Skipped) clone() Skipped {
	copied := *s
	copied.Named = append([]string(nil), s.Named...)
	return copied
}

// Format is the kind of a source.
type Format string

// The formats that Open reads.
const (
	Auto       Format = ""
	TSV        Format = "tsv"
	CSV        Format = "csv"
	JSONL      Format = "jsonl"
	COCO       Format = "coco"
	WebDataset Format = "webdataset"
	Parquet    Format = "parquet"
	Folder     Format = "folder"
)

// Options say how a source is read. The zero value does for files of the usual names.
type Options struct {
	// Format is told by the name and what it names where it is Auto.
	Format Format
	// ImageColumn and CaptionColumn name the columns (TSV, CSV, parquet), the fields (JSONL) or the caption's key in a
	// WebDataset's .json members. Where they are empty, the first of the usual names is taken.
	ImageColumn, CaptionColumn string
	// Root is the folder that image paths start from; by default the folder of the list.
	Root string
}

// The usual names of columns, in the order in which they are looked for.
var (
	imageColumns = []string{"image", "image_path", "imagepath", "path", "filepath", "file_path", "file_name", "filename",
		"file", "image_name", "image_file", "img", "img_path", "jpg", "png", "webp"}
	captionColumns = []string{"caption", "captions", "text", "texts", "sentence", "sentences", "description", "title",
		"raw", "comment", "alt_text", "prompt"}
)

// maxImage bounds the encoded size of one image.
const maxImage = 256 << 20

// Open opens a list, a shard or a pattern of shards (shard-{000..123}.tar, *.parquet), or a folder. A source in which no
// image with a caption can be is an error.
func Open(path string, o Options) (Source, error) {
	format := o.Format
	if format == Auto {
		var err error
		if format, err = detect(path); err != nil {
			return nil, err
		}
	}
	switch format {
	case TSV, CSV:
		return openTable(path, format, o)
	case JSONL:
		return openJSONL(path, o)
	case COCO:
		return openCOCO(path, o)
	case WebDataset:
		return openWebDataset(path, o)
	case Parquet:
		return openParquet(path, o)
	case Folder:
		return openFolder(path, o)
	}
	return nil, fmt.Errorf("open captions %s: unknown format %q", path, format)
}

// detect tells the format by the path's ending and, for a folder, by what is in it.
func detect(path string) (Format, error) {
	if format := formatOf(path); format != Auto {
		return format, nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Auto, fmt.Errorf("open captions %s: no such file or folder", path)
	case err != nil:
		return Auto, fmt.Errorf("open captions: %w", err)
	case info.IsDir():
		return Folder, nil
	}
	return Auto, fmt.Errorf("open captions %s: the name tells no format, expected .tsv, .csv, .jsonl, .json (COCO), .tar, .tar.gz, .parquet or a folder", path)
}

func formatOf(path string) Format {
	name := strings.ToLower(filepath.Base(path))
	name = strings.TrimSuffix(name, ".gz")
	switch filepath.Ext(name) {
	case ".tsv", ".txt":
		return TSV
	case ".csv":
		return CSV
	case ".jsonl", ".ndjson":
		return JSONL
	case ".json":
		return COCO
	case ".tar", ".tgz":
		return WebDataset
	case ".parquet":
		return Parquet
	}
	return Auto
}

// cleanText trims a caption; what is left of it is kept as it was written.
func cleanText(text string) string {
	return strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
}

// imageFile returns the reader of an image that a list names.
func imageFile(root, name string) func() ([]byte, error) {
	return func() ([]byte, error) {
		if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
			return nil, fmt.Errorf("read image %s: lists of addresses are not fetched, download the images first", name)
		}
		if strings.ContainsFunc(name, unicode.IsControl) {
			return nil, fmt.Errorf("read image %q: control characters in a path", name)
		}
		path := filepath.FromSlash(name)
		if !filepath.IsAbs(path) {
			path = filepath.Join(root, path)
		}
		return readImage(path)
	}
}

func readImage(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read image %s: not a file", path)
	}
	if info.Size() > maxImage {
		return nil, fmt.Errorf("read image %s: %d bytes, at most %d are read", path, info.Size(), maxImage)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	return data, nil
}
