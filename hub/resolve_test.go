package hub

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func makeDirs(t *testing.T, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(root, filepath.FromSlash(name)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestResolve(t *testing.T) {
	clearEnvironment(t)
	first, second, cache := t.TempDir(), t.TempDir(), t.TempDir()
	makeDirs(t, first, "vit-tiny", "both")
	makeDirs(t, second, "org/nested", "both")
	makeDirs(t, cache, "models--org--cached/refs/pr", "models--org--cached/snapshots/abc", "models--org--cached/snapshots/def")
	for name, commit := range map[string]string{"main": "abc\n", "pr/1": "def", "hostile": "../../../etc"} {
		if err := os.WriteFile(filepath.Join(cache, "models--org--cached", "refs", filepath.FromSlash(name)), []byte(commit), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PACL_MODELS", first+string(os.PathListSeparator)+string(os.PathListSeparator)+second)
	t.Setenv("HUGGINGFACE_HUB_CACHE", cache)
	snapshots := filepath.Join(cache, "models--org--cached", "snapshots")
	for reference, want := range map[string]string{
		first:               first,
		"vit-tiny":          filepath.Join(first, "vit-tiny"),
		"somebody/vit-tiny": filepath.Join(first, "vit-tiny"),
		"both":              filepath.Join(first, "both"),
		"org/nested":        filepath.Join(second, "org", "nested"),
		"org/cached":        filepath.Join(snapshots, "abc"),
		"org/cached@pr/1":   filepath.Join(snapshots, "def"),
		"org/cached@def":    filepath.Join(snapshots, "def"),
	} {
		if got, err := Resolve(reference); err != nil || got != want {
			t.Errorf("%s: %s, %v, expected %s", reference, got, err, want)
		}
	}
	for _, reference := range []string{"org/missing", "org/cached@other", "org/cached@hostile", "../" + filepath.Base(first), "missing", ""} {
		got, err := Resolve(reference)
		if err == nil {
			t.Errorf("%q resolves to %s", reference, got)
			continue
		}
		if strings.Contains(reference, "org/") {
			for _, want := range []string{first, second, cache, "pacl pull " + reference} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q: %v does not tell %s", reference, err, want)
				}
			}
		}
	}
}

func TestCacheDirFollowsPythonsTools(t *testing.T) {
	clearEnvironment(t)
	home := os.Getenv("HOME")
	for _, c := range []struct{ variable, value, want string }{
		{"", "", filepath.Join(home, ".cache", "huggingface", "hub")},
		{"XDG_CACHE_HOME", "/x", filepath.Join("/x", "huggingface", "hub")},
		{"HF_HOME", "/h", filepath.Join("/h", "hub")},
		{"HUGGINGFACE_HUB_CACHE", "/old", "/old"},
		{"HF_HUB_CACHE", "/new", "/new"},
	} {
		if c.variable != "" {
			t.Setenv(c.variable, c.value)
		}
		if got := CacheDir(); got != c.want {
			t.Errorf("%s=%s: %s, expected %s", c.variable, c.value, got, c.want)
		}
	}
}
