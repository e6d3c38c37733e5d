// Package feature keeps what frozen encoders say about captioned images, so that they run once: patch tokens in bf16 and
// sentence vectors in f32, in memory-mapped shards beside a manifest that says what they were made from.
//
// A cache directory holds manifest.json, shards shard-NNNNN.safetensors and, when images failed, report.txt. Each shard is
// written under a temporary name, synced and renamed, so a killed run leaves whole shards only and a second run goes on
// after the last of them. A cache may be made in parts on several machines; Open puts them together in the order of the
// list of images, so that training does not see how the work was split.
package feature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// FormatVersion is the version of the cache's layout; a cache of another version is refused.
const FormatVersion = 1

const manifestName = "manifest.json"

// manifestLimit bounds what is read of a manifest.
const manifestLimit = 1 << 20

// EncoderRecord names an encoder by what it computes, not by where it was found.
type EncoderRecord struct {
	Family string `json:"family"`
	Name   string `json:"name"` // the directory's last element, for people
	Hash   string `json:"sha256"`
	Width  int    `json:"width"`

	// What a head that is trained on the cache will say of its encoders: the hub ids believed to hold them, what the encoder
	// makes of a fixed picture or text, and of a names table the template and the mean of its unit vectors.
	HubIDs   []string  `json:"hub_ids,omitempty"`
	Template string    `json:"template,omitempty"`
	Probe    []float32 `json:"probe,omitempty"`
	// ProbeText is the text where it is not the usual one.
	ProbeText string    `json:"probe_text,omitempty"`
	Mean      []float32 `json:"mean,omitempty"`
}

// identity is what the hash does not already say: nothing, so what only describes the encoder is left out.
func (r EncoderRecord) identity() EncoderRecord {
	r.HubIDs, r.Template, r.Probe, r.ProbeText, r.Mean = nil, "", nil, "", nil
	return r
}

// Fit says how a photo of any shape becomes a square input.
type Fit string

// The fits: short side resized and the centre cropped, or both sides resized.
const (
	FitCrop   Fit = "crop"
	FitSquash Fit = "squash"
)

// Preprocessing is how photos become the encoder's input and which of its tokens are kept.
type Preprocessing struct {
	Size   int        `json:"size"`   // side of the square input in pixels
	Stride int        `json:"stride"` // of the patch embedding
	Layer  int        `json:"layer"`  // block whose tokens are kept, 0 = the last
	Fit    Fit        `json:"fit"`
	Filter string     `json:"filter"`
	Mean   [3]float32 `json:"mean"`
	Std    [3]float32 `json:"std"`
	Views  Views      `json:"views"`
}

// Views are the augmentations that are cached beside the photo itself: its mirror image, and random crops (each mirrored
// or not) whose side is between MinScale and 1 of the photo's.
type Views struct {
	Flip     bool    `json:"flip"`
	Crops    int     `json:"crops"`
	MinScale float64 `json:"min_scale,omitempty"`
	Seed     uint64  `json:"seed,omitempty"`
}

// Count returns how many views of each photo there are, the photo itself included.
func (v Views) Count() int {
	n := 1 + v.Crops
	if v.Flip {
		n++
	}
	return n
}

// Phrases says which extra texts a caption brings along: the names that a table finds in it, or its noun phrases put into
// templates.
type Phrases struct {
	Names     bool     `json:"names"`
	Templates []string `json:"templates,omitempty"`
}

// Part says which part of a cache a directory holds: the images whose number in the list leaves Index when divided by Count.
type Part struct {
	Index int `json:"index"`
	Count int `json:"count"`
}

// Manifest says what a cache holds and what it was made from.
type Manifest struct {
	Version       int           `json:"version"`
	Vision        EncoderRecord `json:"vision"`
	Text          EncoderRecord `json:"text"`
	Preprocessing Preprocessing `json:"preprocessing"`
	Phrases       Phrases       `json:"phrases"`
	DataHash      string        `json:"data_sha256"` // of the list of images and captions
	Patches       int           `json:"patches"`     // T
	ShardSamples  int           `json:"shard_samples"`
	Part          Part          `json:"part"`
	Complete      bool          `json:"complete"`
	Shards        int           `json:"shards"` // known when complete
	Images        int           `json:"images"` // usable ones, known when complete
}

// identity is what two parts of one cache, or two runs into one directory, must agree on.
func (m Manifest) identity() Manifest {
	m.Part.Index, m.Complete, m.Shards, m.Images = 0, false, 0, 0
	m.Vision, m.Text = m.Vision.identity(), m.Text.identity()
	return m
}

// difference names the first thing in which two manifests that should agree do not, or returns "".
func (m Manifest) difference(other Manifest) string {
	a, b := m.identity(), other.identity()
	for _, f := range []struct {
		name         string
		found, other any
	}{
		{"format version", a.Version, b.Version},
		{"vision encoder", a.Vision.Name + " " + short(a.Vision.Hash), b.Vision.Name + " " + short(b.Vision.Hash)},
		{"text encoder", a.Text.Name + " " + short(a.Text.Hash), b.Text.Name + " " + short(b.Text.Hash)},
		{"preprocessing", a.Preprocessing, b.Preprocessing},
		{"extra texts", a.Phrases, b.Phrases},
		{"data list", short(a.DataHash), short(b.DataHash)},
		{"patches", a.Patches, b.Patches},
		{"samples a shard", a.ShardSamples, b.ShardSamples},
		{"number of parts", a.Part.Count, b.Part.Count},
	} {
		// The names of directories are for people: the hash alone says which encoder it is.
		if f.name == "vision encoder" && a.Vision.Hash == b.Vision.Hash || f.name == "text encoder" && a.Text.Hash == b.Text.Hash {
			continue
		}
		if !reflect.DeepEqual(f.found, f.other) {
			return fmt.Sprintf("%s %+v, not %+v", f.name, f.found, f.other)
		}
	}
	return ""
}

func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return hash
}

// readManifest reads the manifest of a directory; the error wraps fs.ErrNotExist where there is none.
func readManifest(dir string) (Manifest, error) {
	path := filepath.Join(dir, manifestName)
	info, err := os.Stat(path)
	if err != nil {
		return Manifest{}, fmt.Errorf("feature cache: %w", err)
	}
	if info.Size() > manifestLimit {
		return Manifest{}, fmt.Errorf("feature cache: %s has %d bytes, expected at most %d", path, info.Size(), manifestLimit)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, fmt.Errorf("feature cache: %w", err)
	}
	m, err := parseManifest(text)
	if err != nil {
		return Manifest{}, fmt.Errorf("feature cache: %s: %w", path, err)
	}
	return m, nil
}

// sizeLimit bounds widths and counts in a manifest; whatever is above it is damage.
const sizeLimit = 1 << 24

func parseManifest(text []byte) (Manifest, error) {
	var m Manifest
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&m); err != nil {
		return m, fmt.Errorf("not a manifest: %w", err)
	}
	if m.Version != FormatVersion {
		return m, fmt.Errorf("format version is %d, expected %d", m.Version, FormatVersion)
	}
	for _, n := range []struct {
		name       string
		value, min int
	}{
		{"patches", m.Patches, 1}, {"vision width", m.Vision.Width, 1}, {"text width", m.Text.Width, 1},
		{"samples a shard", m.ShardSamples, 1}, {"part count", m.Part.Count, 1}, {"part index", m.Part.Index, 0},
		{"shards", m.Shards, 0}, {"images", m.Images, 0}, {"crops", m.Preprocessing.Views.Crops, 0},
	} {
		if n.value < n.min || n.value > sizeLimit {
			return m, fmt.Errorf("%s is %d, expected %d to %d", n.name, n.value, n.min, sizeLimit)
		}
	}
	if m.Part.Index >= m.Part.Count {
		return m, fmt.Errorf("part %d of %d does not exist", m.Part.Index, m.Part.Count)
	}
	return m, nil
}

// write stores the manifest atomically.
func (m Manifest) write(dir string, write writeFile) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return write(filepath.Join(dir, manifestName), func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// partDirs returns the directories that hold parts: dir itself, or its folders part-*.
func partDirs(dir string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, manifestName)); err == nil {
		return []string{dir}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("feature cache: %s does not exist", dir)
		}
		return nil, fmt.Errorf("feature cache: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "part-") {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("feature cache: %s holds no %s", dir, manifestName)
	}
	return dirs, nil
}

// IsCache says whether a directory holds a feature cache or parts of one, finished or not.
func IsCache(dir string) bool {
	parts, err := partDirs(dir)
	return err == nil && exists(filepath.Join(parts[0], manifestName))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// partDir returns where a part of a cache in dir is kept.
func partDir(dir string, p Part) string {
	if p.Count == 1 {
		return dir
	}
	return filepath.Join(dir, fmt.Sprintf("part-%03d-of-%03d", p.Index+1, p.Count))
}
