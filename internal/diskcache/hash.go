package diskcache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// hashes are kept on disk: those of large files take longer than what is done with the files.
var hashes = Cache{Name: "hashes", Total: 4 << 20, Entry: 2 * sha256.Size}

const (
	// worthHashing is from how many bytes on a hash is looked up rather than computed.
	worthHashing = 256 << 10
	// settled is how long a file must not have been changed for its time to vouch for its content, as file systems count
	// time in steps.
	settled = 5 * time.Second
)

// File is a file whose content goes into a hash, and what was known of it before it was read.
type File struct {
	Path string
	Info os.FileInfo // nil: nothing vouches for the content
}

// Hash returns a SHA-256 over the content of files, in hexadecimal, which compute makes where it is not known from another time: paths, sizes
// and times name the content, as for make and git. The kind tells hashes over the same files that are computed otherwise.
func Hash(kind string, files []File, compute func() (string, error)) (string, error) {
	key := filesKey(kind, files)
	if key == "" {
		return compute()
	}
	if known, ok := hashes.Get(key); ok {
		if raw, err := hex.DecodeString(string(known)); err == nil && len(raw) == sha256.Size {
			return string(known), nil
		}
	}
	hash, err := compute()
	if err == nil {
		_ = hashes.Put(key, []byte(hash)) // without it the next one takes longer
	}
	return hash, err
}

// filesKey is "" where the files' times do not vouch for their content, or hashing them takes no time.
func filesKey(kind string, files []File) string {
	parts, total := []string{kind}, int64(0)
	for _, f := range files {
		path, err := filepath.Abs(f.Path)
		if err != nil || f.Info == nil || time.Since(f.Info.ModTime()) < settled {
			return ""
		}
		parts = append(parts, path, fmt.Sprint(f.Info.Size(), f.Info.ModTime().UnixNano(), identity(f.Info)))
		total += f.Info.Size()
	}
	if total < worthHashing {
		return ""
	}
	return Key(parts...)
}
