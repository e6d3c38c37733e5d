package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whole processes with 1, 2, 3 and 16 workers write the same bytes: features and the head trained on them, an encoder that is
// pre-trained from nothing, masks and heat maps.
func TestSameBytesForAnyWorkers(t *testing.T) {
	w := newWorld(t)
	recipe := filepath.Join(w.root, "recipe.json")
	if err := os.WriteFile(recipe, []byte(`{"vision": {"image_size": 24, "patch_size": 8, "width": 32, "layers": 2, "heads": 2},
		"text": {"context": 32, "vocabulary": 560, "width": 24, "layers": 1, "heads": 2}, "projection": 16, "objective": "clip+pacl",
		"steps": 3, "batch": 24, "micro_batch": 5, "warm_up": 1}`), 0o644); err != nil {
		t.Fatal(err)
	}
	photo := filepath.Join(w.root, "data", "images", "003.png")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][32]byte
	for _, workers := range []int{1, 2, 3, 16} {
		out := filepath.Join(w.root, fmt.Sprintf("workers-%d", workers))
		for _, args := range [][]string{
			{"train", "--captions", w.captions, "--vision", w.vit, "--text", w.names, "--out", filepath.Join(out, "head"), "--batch", "16", "--epochs", "2", "--flip"},
			{"segment", "--model", filepath.Join(out, "head"), "--labels", "red, green, blue", "--heatmaps", "-o", filepath.Join(out, "segments"), photo},
			{"pretrain", "--scenes", "--config", recipe, "--out", filepath.Join(out, "clip")},
		} {
			if output, err := deployed(t, []string{fmt.Sprintf("GOMAXPROCS=%d", workers)}, self, append([]string{"-q"}, args...)...); err != nil {
				t.Fatalf("%s with %d workers: %v\n%s", args[0], workers, err, output)
			}
		}
		got := make(map[string][32]byte)
		err := filepath.WalkDir(out, func(path string, entry os.DirEntry, err error) error {
			switch filepath.Ext(path) {
			case ".safetensors", ".png":
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				name, err := filepath.Rel(out, path)
				// Curves are drawn over the time that steps took, and the checkpoint counts it.
				if !strings.Contains(name, "curves") && !strings.Contains(name, "checkpoint") {
					got[name] = sha256.Sum256(data)
				}
				return err
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
			for _, name := range []string{"head/head.safetensors", "clip/model.safetensors", "segments/003.mask.png", "segments/003.heat-00-red.png"} {
				if _, ok := got[filepath.FromSlash(name)]; !ok {
					t.Fatalf("%s is missing", name)
				}
			}
		}
		for name, sum := range want {
			if got[name] != sum {
				t.Errorf("%s differs with %d workers", name, workers)
			}
		}
	}
}
