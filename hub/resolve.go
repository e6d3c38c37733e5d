// Package hub finds model directories: by path, by a name in the directories of PACL_MODELS, or by an id in the cache that
// Hugging Face's tools share.
package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pacl/pacl/internal/lazyregexp"
)

// idPattern is what a hub id looks like: organisation/name, with a revision behind an @ where one is wanted.
var idPattern = lazyregexp.New(`^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?$`)

// IsID says whether a reference can be a hub id.
func IsID(reference string) bool {
	return idPattern().MatchString(reference) && !strings.Contains(reference, "..")
}

// NotFoundError says where a model was looked for.
type NotFoundError struct {
	Reference string
	Searched  []string
}

func (e *NotFoundError) Error() string {
	searched := strings.Join(e.Searched, ", ")
	if len(ModelRoots()) == 0 {
		searched = strings.TrimPrefix(searched+", the folders of PACL_MODELS (which is not set)", ", ")
	}
	message := fmt.Sprintf("model %q not found: looked in %s", e.Reference, searched)
	if IsID(e.Reference) {
		message += fmt.Sprintf("; get it with: pacl pull %s", e.Reference)
	}
	return message
}

// Resolve returns the directory or weights file that a path, a name in PACL_MODELS or a hub id stands for.
func Resolve(reference string) (string, error) {
	if reference == "" {
		return "", fmt.Errorf("no model named, expected a directory, a hub id or a name in PACL_MODELS")
	}
	if _, err := os.Stat(reference); err == nil {
		return reference, nil
	}
	dir, err := ResolveName(reference)
	if missing := (*NotFoundError)(nil); errors.As(err, &missing) {
		missing.Searched = append([]string{"the path itself"}, missing.Searched...)
	}
	return dir, err
}

// ResolveName is Resolve for references that are no paths.
func ResolveName(reference string) (string, error) {
	missing := &NotFoundError{Reference: reference}
	id, revision, _ := strings.Cut(reference, "@")
	for _, root := range ModelRoots() {
		missing.Searched = append(missing.Searched, root)
		if !filepath.IsLocal(filepath.FromSlash(id)) {
			continue
		}
		for _, name := range []string{id, filepath.Base(filepath.FromSlash(id))} {
			dir := filepath.Join(root, filepath.FromSlash(name))
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				return dir, nil
			}
		}
	}
	if IsID(reference) {
		cache := CacheDir()
		missing.Searched = append(missing.Searched, cache)
		if dir, ok := findSnapshot(cache, id, revision); ok {
			return dir, nil
		}
	}
	return "", missing
}

// ModelRoots are the directories of PACL_MODELS.
func ModelRoots() []string {
	return slices.DeleteFunc(filepath.SplitList(os.Getenv("PACL_MODELS")), func(dir string) bool { return dir == "" })
}

// CacheDir is the hub cache, as Hugging Face's tools find it.
func CacheDir() string {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := os.Getenv(name); dir != "" {
			return dir
		}
	}
	return filepath.Join(homeDir(), "hub")
}

// homeDir is the directory of Hugging Face's tools, which holds the cache and the token.
func homeDir() string {
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return dir
	}
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "."
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "huggingface")
}

// findSnapshot finds a revision of a model in the cache; the empty revision is main.
func findSnapshot(cache, id, revision string) (string, bool) {
	if revision == "" {
		revision = "main"
	}
	root := filepath.Join(cache, repositoryDir(id))
	if text, err := os.ReadFile(filepath.Join(root, "refs", filepath.FromSlash(revision))); err == nil {
		if commit := strings.TrimSpace(string(text)); filepath.IsLocal(commit) {
			revision = commit
		}
	}
	if !filepath.IsLocal(filepath.FromSlash(revision)) {
		return "", false
	}
	dir := filepath.Join(root, "snapshots", filepath.FromSlash(revision))
	info, err := os.Stat(dir)
	return dir, err == nil && info.IsDir()
}

// repositoryDir is the name of a model's folder in the cache.
func repositoryDir(id string) string { return "models--" + strings.ReplaceAll(id, "/", "--") }

// Snapshots returns the directories of all models in the cache, in the order of their ids: of each the revision main, or
// the last by name where main is not there.
func Snapshots() []string {
	roots, _ := filepath.Glob(filepath.Join(CacheDir(), "models--*"))
	var dirs []string
	for _, root := range roots {
		id := strings.ReplaceAll(strings.TrimPrefix(filepath.Base(root), "models--"), "--", "/")
		if dir, ok := findSnapshot(CacheDir(), id, ""); ok {
			dirs = append(dirs, dir)
			continue
		}
		others, _ := filepath.Glob(filepath.Join(root, "snapshots", "*"))
		if len(others) > 0 {
			dirs = append(dirs, others[len(others)-1])
		}
	}
	return dirs
}
