package pacl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindPhotos(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a.jpg", "b.PNG", "notes.txt", "sub/a.jpg", "twin/x.jpg", "twin/x.png"} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	empty := t.TempDir()
	at := func(name string) string { return filepath.Join(root, filepath.FromSlash(name)) }
	tests := []struct {
		name      string
		arguments []string
		stems     []string
		err       string
	}{
		{"folder", []string{root}, []string{"a", "b", "sub/a", "twin/x.jpg", "twin/x.png"}, ""},
		{"file and pattern", []string{at("b.PNG"), at("*.jpg"), at("a.jpg")}, []string{"b", "a"}, ""},
		{"same name in two folders", []string{at("a.jpg"), at("sub/a.jpg")}, []string{"a.jpg", "a.jpg-2"}, ""},
		{"any ending when named", []string{at("notes.txt")}, []string{"notes"}, ""},
		{"missing", []string{at("no.jpg")}, nil, "no.jpg"},
		{"no match", []string{at("*.webp")}, nil, "no file matches"},
		{"empty folder", []string{empty}, nil, "no photo found"},
		{"nothing", nil, nil, "no photo named"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			photos, err := FindPhotos(test.arguments)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var stems []string
			for _, photo := range photos {
				stems = append(stems, filepath.ToSlash(photo.Stem))
			}
			if diff := cmp.Diff(test.stems, stems); diff != "" {
				t.Errorf("stems (-want +got):\n%s", diff)
			}
		})
	}
}
