package weights

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pacl/pacl/internal/diskcache"
)

// Set holds named tensors from one or more files.
type Set struct {
	path     string
	tensors  map[string]Tensor
	metadata map[string]string
	files    []*mapping
	hash     func() string
}

// files that hold a directory's weights, the first that exists counts.
var weightFiles = []string{
	"model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors",
	"pytorch_model.bin", "open_clip_pytorch_model.bin", "pytorch_model.bin.index.json",
}

// Open maps the tensors of a safetensors file, of an index with its shards, of a PyTorch archive, or of the one of these that
// a directory holds.
func Open(path string) (*Set, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	if info.IsDir() {
		if path, err = findWeights(path); err != nil {
			return nil, err
		}
	}
	set := newSet(path)
	if strings.HasSuffix(path, ".index.json") {
		err = set.addIndex(path)
	} else {
		err = set.addFile(path)
	}
	if err != nil {
		set.Close()
		return nil, err
	}
	return set, nil
}

// Parse reads a safetensors file that is in memory; the tensors are views of it. The name stands in messages.
func Parse(name string, data []byte) (*Set, error) {
	set := newSet(name)
	if err := set.addSafetensors(name, data); err != nil {
		return nil, err
	}
	return set, nil
}

func newSet(path string) *Set {
	set := &Set{path: path, tensors: map[string]Tensor{}, metadata: map[string]string{}}
	set.hash = sync.OnceValue(set.computeHash)
	return set
}

func findWeights(dir string) (string, error) {
	for _, name := range weightFiles {
		if path := filepath.Join(dir, name); exists(path) {
			return path, nil
		}
	}
	var found []string
	for _, pattern := range []string{"*.safetensors", "*.pt", "*.pth", "*.bin"} {
		matches, _ := filepath.Glob(filepath.Join(dir, pattern))
		found = append(found, matches...)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("directory %s: no weights found, expected %s or a single .safetensors, .pt, .pth or .bin file",
			dir, strings.Join(weightFiles[:3], ", "))
	}
	return "", fmt.Errorf("directory %s: %d files of weights, expected one of them: %s", dir, len(found), strings.Join(found, ", "))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (s *Set) addIndex(path string) error {
	const largest = 64 << 20
	if info, err := os.Stat(path); err != nil || info.Size() > largest {
		return fmt.Errorf("weights index %s: missing, or larger than %d bytes", path, largest)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("weights index: %w", err)
	}
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return fmt.Errorf("weights index %s: %w", path, err)
	}
	var shards []string
	for name, shard := range index.Map {
		if !filepath.IsLocal(shard) {
			return fmt.Errorf("weights index %s: tensor %s lies in %q, outside the directory", path, name, shard)
		}
		if !slices.Contains(shards, shard) {
			shards = append(shards, shard)
		}
	}
	if len(shards) == 0 {
		return fmt.Errorf("weights index %s: weight_map names no file", path)
	}
	slices.Sort(shards)
	for _, shard := range shards {
		if err := s.addFile(filepath.Join(filepath.Dir(path), shard)); err != nil {
			return err
		}
	}
	for name, shard := range index.Map {
		if _, ok := s.tensors[name]; !ok {
			return fmt.Errorf("weights index %s: tensor %s is not in %s", path, name, shard)
		}
	}
	return nil
}

func (s *Set) addFile(path string) error {
	file, err := mapFile(path)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	s.files = append(s.files, file)
	switch start := string(file.data[:min(16, len(file.data))]); {
	case strings.HasPrefix(start, "PK\x03\x04"):
		return s.addArchive(path, file.data)
	case strings.HasPrefix(start, legacyMagic):
		return fmt.Errorf("weights %s: %w", path, errLegacy)
	}
	return s.addSafetensors(path, file.data)
}

func (s *Set) addSafetensors(path string, data []byte) error {
	tensors, metadata, err := parseSafetensors(data)
	if err != nil {
		return fmt.Errorf("weights %s: %w", path, err)
	}
	for key, value := range metadata {
		s.metadata[key] = value
	}
	return s.add(path, tensors)
}

func (s *Set) add(path string, tensors []Tensor) error {
	for _, t := range tensors {
		if _, twice := s.tensors[t.Name]; twice {
			return fmt.Errorf("weights %s: tensor %s is there twice", path, t.Name)
		}
		s.tensors[t.Name] = t
	}
	return nil
}

// Path is the file that the tensors were read from, the index where there are shards.
func (s *Set) Path() string { return s.path }

// Names returns the names of all tensors, sorted.
func (s *Set) Names() []string {
	names := make([]string, 0, len(s.tensors))
	for name := range s.tensors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Get returns a tensor and whether there is one of that name.
func (s *Set) Get(name string) (Tensor, bool) {
	t, ok := s.tensors[name]
	return t, ok
}

// Need returns a tensor of the given shape, in which -1 stands for any size.
func (s *Set) Need(name string, shape ...int) (Tensor, error) {
	t, ok := s.tensors[name]
	if !ok {
		return Tensor{}, fmt.Errorf("weights %s: tensor %s is missing", s.path, name)
	}
	fits := len(t.Shape) == len(shape)
	for i := 0; fits && i < len(shape); i++ {
		fits = shape[i] == -1 || shape[i] == t.Shape[i]
	}
	if !fits {
		return Tensor{}, fmt.Errorf("weights %s: tensor %s has shape %v, expected %v", s.path, name, t.Shape, shape)
	}
	return t, nil
}

// Metadata returns the strings that a safetensors file holds beside its tensors.
func (s *Set) Metadata() map[string]string { return s.metadata }

// Hash is the SHA-256 over names, types, shapes and bytes of all tensors in the order of their names: it is the same
// however they are spread over files.
func (s *Set) Hash() string { return s.hash() }

func (s *Set) computeHash() string {
	files := make([]diskcache.File, len(s.files))
	for i, f := range s.files {
		files[i] = diskcache.File{Path: f.name, Info: f.info}
	}
	hash, _ := diskcache.Hash("tensors 1", files, func() (string, error) { return s.hashTensors(), nil }) // which does not fail
	return hash
}

func (s *Set) hashTensors() string {
	digest := sha256.New()
	for _, name := range s.Names() {
		t := s.tensors[name]
		fmt.Fprintf(digest, "%q %s %v %d\n", t.Name, t.DType, t.Shape, len(t.Data))
		digest.Write(t.Data)
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// Close gives back the mapped files; the tensors must not be used any more.
func (s *Set) Close() error {
	var errs []error
	for _, file := range s.files {
		errs = append(errs, file.close())
	}
	s.files, s.tensors = nil, nil
	return errors.Join(errs...)
}
