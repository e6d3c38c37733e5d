package pacl

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pacl/pacl/models/builtin"
	"github.com/pacl/pacl/weights"
)

func TestVocabulariesAreEmbeddedOnce(t *testing.T) {
	t.Setenv("PACL_CACHE", t.TempDir())
	ctx := context.Background()
	m, err := Open(ctx, Options{Model: builtin.Name})
	if errors.Is(err, builtin.ErrLeftOut) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	labels, err := ParseLabels("red circle|disc, blue square, ground")
	if err != nil {
		t.Fatal(err)
	}
	list := func() []string {
		files, err := filepath.Glob(filepath.Join(os.Getenv("PACL_CACHE"), "texts", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	embed := func(templates string) []float32 {
		v, err := m.Vocabulary(ctx, labels, VocabularyOptions{Templates: templates})
		if err != nil {
			t.Fatal(err)
		}
		return v.vectors
	}
	want := embed("pacl7")
	if len(list()) != 1 {
		t.Fatalf("files %v", list())
	}
	path := list()[0]
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := embed("pacl7"); !slices.Equal(got, want) {
		t.Error("other vectors from the cache")
	}
	if again, err := os.Stat(path); err != nil || again.ModTime() != info.ModTime() {
		t.Errorf("the file was written again (%v)", err)
	}
	if embed("none"); len(list()) != 2 {
		t.Errorf("other templates, files %v", list())
	}
	labels = labels[:2]
	if embed("pacl7"); len(list()) != 3 {
		t.Errorf("other labels, files %v", list())
	}
	labels = labels[:3]

	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := func(vectors []float32, words int, key string) []byte {
		var b bytes.Buffer
		if err := weights.Encode(&b, []weights.Tensor{weights.NewFloat32("vectors", vectors, words, len(vectors)/words)}, map[string]string{"key": key}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	key := filepath.Base(path)
	for name, data := range map[string][]byte{
		"empty": {}, "cut": whole[:len(whole)/2], "no file of tensors": []byte("vectors"),
		"of another key":   other(want, 4, "x"),
		"of another shape": other(want, 2, key),
		"not unit vectors": other(make([]float32, len(want)), 4, key),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := embed("pacl7"); !slices.Equal(got, want) {
			t.Errorf("%s: other vectors from a damaged file", name)
		}
	}
}
