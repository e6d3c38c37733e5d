package diskcache

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHash(t *testing.T) {
	t.Setenv("PACL_CACHE", t.TempDir())
	path := filepath.Join(t.TempDir(), "file")
	old := time.Now().Add(-time.Hour)
	write := func(size int, when time.Time) []File {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return []File{{path, info}}
	}
	computed := 0
	hash := func(kind string, files []File) string {
		got, err := Hash(kind, files, func() (string, error) {
			computed++
			return strings.Repeat("5a", 32), nil
		})
		if err != nil || got != strings.Repeat("5a", 32) {
			t.Fatalf("hash %q, error %v", got, err)
		}
		return got
	}
	for _, c := range []struct {
		name  string
		kind  string
		files []File
		want  int // how often it was computed so far
	}{
		{"new", "a", write(worthHashing, old), 1},
		{"known", "a", write(worthHashing, old), 1},
		{"another kind", "b", write(worthHashing, old), 2},
		{"another size", "a", write(worthHashing+1, old), 3},
		{"another time", "a", write(worthHashing, old.Add(time.Minute)), 4},
		{"known again", "a", write(worthHashing, old), 4},
		{"just written", "a", write(worthHashing, time.Now()), 5},
		{"just written, again", "a", write(worthHashing, time.Now()), 6},
		{"small", "a", write(worthHashing-1, old), 7},
		{"small, again", "a", write(worthHashing-1, old), 8},
		{"nothing known", "a", []File{{path, nil}}, 9},
		{"nothing known, again", "a", []File{{path, nil}}, 10},
	} {
		if hash(c.kind, c.files); computed != c.want {
			t.Errorf("%s: computed %d times, expected %d", c.name, computed, c.want)
			computed = c.want
		}
	}
	failure := errors.New("unreadable")
	if _, err := Hash("fails", write(worthHashing, old), func() (string, error) { return "", failure }); !errors.Is(err, failure) {
		t.Errorf("error %v, expected %v", err, failure)
	}
	if _, err := Hash("fails", write(worthHashing, old), func() (string, error) { return "", failure }); !errors.Is(err, failure) {
		t.Error("what could not be computed was kept")
	}
	// What is no hash is computed again.
	files := write(worthHashing, old)
	if err := hashes.Put(filesKey("a", files), []byte("not hexadecimal")); err != nil {
		t.Fatal(err)
	}
	before := computed
	if hash("a", files); computed != before+1 {
		t.Error("a damaged entry was believed")
	}
}
