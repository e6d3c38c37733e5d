package caption

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxSidecar bounds a text or JSON member beside an image.
const maxSidecar = 16 << 20

var (
	imageExtensions = []string{"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"}
	textExtensions  = []string{"txt", "text", "caption"}
)

// webDataset reads tar shards whose neighbouring members of one name, up to the first dot, make a sample.
type webDataset struct {
	shards  []string
	options Options
	hash    string
	skipped Skipped

	file    *os.File
	tape    *tar.Reader
	packed  bool        // compressed: a member cannot be found again, its image is kept with the sample
	pending *tar.Header // the header that ended the last sample
}

func openWebDataset(pattern string, o Options) (Source, error) {
	shards, err := expandShards(pattern)
	if err != nil {
		return nil, err
	}
	hash, err := hashFiles(shards)
	if err != nil {
		return nil, err
	}
	return &webDataset{shards: shards, options: o, hash: hash}, nil
}

func (w *webDataset) Hash() string     { return w.hash }
func (w *webDataset) Len() int         { return -1 }
func (w *webDataset) Skipped() Skipped { return w.skipped.clone() }

func (w *webDataset) Close() error {
	w.shards = nil
	return w.closeShard()
}

func (w *webDataset) closeShard() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file, w.tape, w.pending = nil, nil, nil
	return err
}

func (w *webDataset) openShard() error {
	file, err := os.Open(w.shards[0])
	if err != nil {
		return fmt.Errorf("open captions: %w", err)
	}
	var magic [2]byte
	n, err := file.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		file.Close()
		return fmt.Errorf("open captions %s: %w", w.shards[0], err)
	}
	w.file, w.packed = file, n == 2 && magic == [2]byte{0x1f, 0x8b}
	if !w.packed {
		w.tape = tar.NewReader(file)
		return nil
	}
	unpacked, err := gzip.NewReader(bufio.NewReaderSize(file, 1<<18))
	if err != nil {
		w.file = nil
		file.Close()
		return fmt.Errorf("open captions %s: %w", w.shards[0], err)
	}
	w.tape = tar.NewReader(unpacked)
	return nil
}

// Next returns the next sample. A damaged shard is an error that names it: what follows the damage cannot be found.
func (w *webDataset) Next() (Sample, error) {
	for {
		if w.tape == nil {
			if len(w.shards) == 0 {
				return Sample{}, io.EOF
			}
			if err := w.openShard(); err != nil {
				return Sample{}, err
			}
		}
		sample, err := w.nextInShard()
		if err == io.EOF {
			w.shards = w.shards[1:]
			if err := w.closeShard(); err != nil {
				return Sample{}, fmt.Errorf("read captions: %w", err)
			}
			continue
		}
		if err != nil {
			err = fmt.Errorf("read captions %s: %w", w.file.Name(), err)
			w.shards = nil
			_ = w.closeShard()
			return Sample{}, err
		}
		if sample.Read != nil {
			return sample, nil
		}
	}
}

// nextInShard gathers the members of the next sample. One without image or caption is counted and returned without Read.
func (w *webDataset) nextInShard() (Sample, error) {
	var (
		key     string
		started bool
		texts   []string
		read    func() ([]byte, error)
		problem string
	)
	for {
		header, err := w.member()
		if err == io.EOF && started {
			break
		}
		if err != nil {
			return Sample{}, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		stem, extension := splitMember(header.Name)
		if !started {
			key, started = stem, true
		} else if stem != key {
			w.pending = header
			break
		}
		switch {
		case slices.Contains(imageExtensions, extension):
			read, err = w.memberImage(header)
		case slices.Contains(textExtensions, extension), extension == "json", extension == "cls":
			var found []string
			if found, problem, err = w.memberTexts(header, extension); err == nil {
				texts = append(texts, found...)
			}
		}
		if err != nil {
			return Sample{}, fmt.Errorf("member %q: %w", header.Name, err)
		}
	}
	w.skipped.Seen++
	where := filepath.Base(w.file.Name()) + "#" + key
	switch {
	case read == nil:
		w.skipped.malformed("%s: no image", where)
	case len(texts) == 0 && problem != "":
		w.skipped.malformed("%s: %s", where, problem)
		read = nil
	case len(texts) == 0:
		w.skipped.empty("%s: no caption", where)
		read = nil
	}
	return Sample{Key: where, Texts: texts, Read: read}, nil
}

func (w *webDataset) member() (*tar.Header, error) {
	if header := w.pending; header != nil {
		w.pending = nil
		return header, nil
	}
	return w.tape.Next()
}

// splitMember cuts a member's name at the first dot of its last part.
func splitMember(name string) (stem, extension string) {
	dir, base := path.Split(name)
	stem, extension, _ = strings.Cut(base, ".")
	return dir + stem, strings.ToLower(extension)
}

// memberImage returns the reader of an image: from its place in a plain shard, from memory in a compressed one.
func (w *webDataset) memberImage(header *tar.Header) (func() ([]byte, error), error) {
	if header.Size > maxImage {
		return nil, fmt.Errorf("%d bytes, at most %d are read", header.Size, maxImage)
	}
	shard, member := w.file.Name(), header.Name
	if w.packed {
		data, err := io.ReadAll(io.LimitReader(w.tape, maxImage))
		if err != nil {
			return nil, err
		}
		return func() ([]byte, error) { return data, nil }, nil
	}
	// The tar reader takes whole blocks from the file, so that after a header the file stands at the member's data.
	at, err := w.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	return func() ([]byte, error) {
		file, err := os.Open(shard)
		if err != nil {
			return nil, fmt.Errorf("read image: %w", err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return nil, fmt.Errorf("read image: %w", err)
		}
		if at+header.Size > info.Size() {
			return nil, fmt.Errorf("read image %q of %s: the shard ends within it", member, shard)
		}
		data := make([]byte, header.Size)
		if _, err := file.ReadAt(data, at); err != nil {
			return nil, fmt.Errorf("read image %q of %s: %w", member, shard, err)
		}
		return data, nil
	}, nil
}

// memberTexts reads the captions of a text, JSON or class member; problem tells what is wrong with its content.
func (w *webDataset) memberTexts(header *tar.Header, extension string) (texts []string, problem string, err error) {
	if header.Size > maxSidecar {
		return nil, fmt.Sprintf(".%s of %d bytes, at most %d are read", extension, header.Size, maxSidecar), nil
	}
	data, err := io.ReadAll(io.LimitReader(w.tape, maxSidecar))
	if err != nil {
		return nil, "", err
	}
	switch extension {
	case "json":
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(data, &fields); err != nil {
			return nil, fmt.Sprintf("its .json is no JSON object: %v", err), nil
		}
		if texts, err = findTexts(fields, w.options.CaptionColumn); err != nil {
			return nil, "its .json has " + err.Error(), nil
		}
	case "cls":
		// A class without a name says nothing about the image.
		if _, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			return nil, "its .cls is a number, expected a name", nil
		}
		texts = []string{string(data)}
	default:
		texts = []string{string(data)}
	}
	return keepTexts(texts), "", nil
}

// keepTexts trims captions and drops empty ones.
func keepTexts(texts []string) []string {
	kept := texts[:0]
	for _, words := range texts {
		if words = cleanText(words); words != "" {
			kept = append(kept, words)
		}
	}
	return kept
}

var errNoSource = errors.New("holds neither pictures with texts nor shards")
