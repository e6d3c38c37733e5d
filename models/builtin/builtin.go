// Package builtin holds a small CLIP that was trained from nothing on generated scenes, and a PACL head on it. It knows
// scenes, not photos; README.md beside it is its card. The build tag nobuiltin leaves it out of the binary.
package builtin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Name is what the model is called where a model is named.
const Name = "builtin"

// ErrLeftOut says that the binary was built without the model.
var ErrLeftOut = errors.New("this binary was built without the built-in model (build tag nobuiltin)")

// clipFolder is the CLIP directory within the model's.
const clipFolder = "clip"

// Dir returns the model's PACL directory and the CLIP directory of its encoders as files: they are written to the user's
// cache the first time, under a name that holds their hash.
func Dir() (model, clip string, err error) {
	if files == nil {
		return "", "", ErrLeftOut
	}
	model, err = extract(files)
	if err != nil {
		return "", "", fmt.Errorf("unpack the built-in model: %w", err)
	}
	return model, filepath.Join(model, clipFolder), nil
}

func extract(files fs.FS) (string, error) {
	hash := sha256.New()
	contents := map[string][]byte{}
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		contents[path] = data
		fmt.Fprintf(hash, "%s %d\n", path, len(data))
		hash.Write(data)
		return err
	})
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	parent := filepath.Join(cache, "pacl")
	dir := filepath.Join(parent, "builtin-"+hex.EncodeToString(hash.Sum(nil)[:6]))
	if complete(dir, contents) {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(parent, ".partial-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	for path, data := range contents {
		target := filepath.Join(work, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			return "", err
		}
	}
	os.RemoveAll(dir) // an incomplete one
	if err := os.Rename(work, dir); err != nil && !complete(dir, contents) {
		return "", err // and nobody else has put it there meanwhile
	}
	return dir, nil
}

// complete says whether all files are there in full.
func complete(dir string, contents map[string][]byte) bool {
	for path, data := range contents {
		info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil || info.Size() != int64(len(data)) {
			return false
		}
	}
	return len(contents) > 0
}
