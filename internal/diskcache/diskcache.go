// Package diskcache keeps results that can be computed again in files: small, bounded, and never needed. A cache that
// cannot be read or written is no error; what is read from it must be checked as any file.
package diskcache

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pacl/pacl/internal/atomicfile"
)

// Dir is where the caches are: PACL_CACHE, or the folder pacl in the user's cache directory; "" where PACL_CACHE is "off"
// or the system names no such directory.
func Dir() string {
	switch dir := os.Getenv("PACL_CACHE"); dir {
	case "off":
		return ""
	case "":
		base, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		return filepath.Join(base, "pacl")
	default:
		return dir
	}
}

// Cache is one kind of results.
type Cache struct {
	Name string // of its folder
	// Total bounds the bytes of all files, Entry those of one.
	Total, Entry int64
	// Synced files are on disk before they have their names, so that who finds one finds all of it, even behind a power cut: for
	// results whose every byte is not looked at when they are read.
	Synced bool
}

// Key names a result by all that it depends on.
func Key(parts ...string) string {
	digest := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(digest, "%d:%s;", len(part), part)
	}
	return hex.EncodeToString(digest.Sum(nil))
}

func (c Cache) path(key string) string {
	dir := Dir()
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, c.Name, key)
}

// open opens what is stored under a key, if it is a file of a size that the cache would write.
func (c Cache) open(key string) (*os.File, os.FileInfo, bool) {
	path := c.path(key)
	if path == "" {
		return nil, nil, false
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, false
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > c.Entry {
		file.Close()
		return nil, nil, false
	}
	return file, info, true
}

// Get returns what is stored under a key.
func (c Cache) Get(key string) ([]byte, bool) {
	file, info, ok := c.open(key)
	if !ok {
		return nil, false
	}
	defer file.Close()
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, false
	}
	c.used(file.Name(), info)
	return data, true
}

// used notes the time of the last use, which decides what is dropped first.
func (c Cache) used(path string, info os.FileInfo) {
	if now := time.Now(); now.Sub(info.ModTime()) > time.Hour {
		_ = os.Chtimes(path, now, now)
	}
}

// Put stores a result, and drops those that were used longest ago where there are too many.
func (c Cache) Put(key string, data []byte) error {
	return c.Write(key, int64(len(data)), bytes.NewReader(data))
}

// largePage is the size of a large page of amd64, and of arm64 with pages of 4 KB.
const largePage = 2 << 20

// Write is Put for a result of so many bytes from a reader. A result above the limit of one is not stored.
func (c Cache) Write(key string, size int64, r io.Reader) error {
	path := c.path(key)
	if path == "" || size > c.Entry {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	c.makeRoom(filepath.Dir(path), size)
	write := atomicfile.Write
	if c.Synced {
		write = atomicfile.WriteSynced
	}
	return write(path, func(w io.Writer) error {
		// Whole large pages at once, so that the system may keep them as such.
		piece := make([]byte, min(size, largePage))
		for left := size; left > 0; left -= int64(len(piece)) {
			piece = piece[:min(left, largePage)]
			if _, err := io.ReadFull(r, piece); err != nil {
				return err
			}
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
		return nil
	})
}

// blockBytes is about what a small file takes on a disk.
const blockBytes = 4096

func (c Cache) makeRoom(dir string, more int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var files []os.FileInfo
	total := more
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			if strings.HasPrefix(info.Name(), ".") && time.Since(info.ModTime()) < time.Hour {
				continue // somebody is writing it
			}
			files = append(files, info)
			total += max(info.Size(), blockBytes)
		}
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int { return cmp.Compare(a.ModTime().UnixNano(), b.ModTime().UnixNano()) })
	for _, info := range files {
		if total <= c.Total {
			return
		}
		if os.Remove(filepath.Join(dir, info.Name())) == nil {
			total -= max(info.Size(), blockBytes)
		}
	}
}
