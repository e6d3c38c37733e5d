package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A text encoder is trained from nothing for a locked vision encoder, by either objective, and a head with it; what cannot be
// trained is refused in one line.
func TestLockedVision(t *testing.T) {
	w := newWorld(t)
	recipe := func(objective string) string {
		path := filepath.Join(w.root, objective+".json")
		if err := os.WriteFile(path, fmt.Appendf(nil, `{"text": {"context": 16, "vocabulary": 560, "width": 24, "layers": 1, "heads": 2},
			"projection": 16, "objective": %q, "steps": 30, "batch": 16, "micro_batch": 8, "warm_up": 3, "learning_rate": 0.005}`, objective), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	photo := filepath.Join(w.root, "data", "images", "003.png")
	for _, objective := range []string{"pacl", "clip"} {
		text, head := filepath.Join(w.root, "text-"+objective), filepath.Join(w.root, "head-"+objective)
		must(t, "-q", "pretrain", "--vision", w.vit, "--captions", w.captions, "--config", recipe(objective), "--out", text)
		if _, err := os.Stat(filepath.Join(text, "curves.png")); err != nil {
			t.Error(err)
		}
		must(t, "-q", "train", "--captions", w.captions, "--vision", w.vit, "--text", text, "--out", head, "--batch", "16", "--epochs", "2")
		must(t, "-q", "segment", "--model", head, "--vision", w.vit, "--text", text, "--labels", "red, green", "-o", filepath.Join(w.root, "out-"+objective), photo)
	}
	out := filepath.Join(w.root, "both")
	status, _, stderr := execute(t, "-q", "pretrain", "--vision", w.vit, "--captions", w.captions, "--config", recipe("clip+pacl"), "--out", out)
	if status != 1 || !strings.Contains(stderr, "expected clip or pacl") || strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
		t.Errorf("both objectives: status %d, %s", status, stderr)
	}
	if _, err := os.Stat(out); err == nil {
		t.Errorf("%s was made for a recipe that was refused", out)
	}
}

// Settings of generated scenes mean nothing for photos; those that are asked for are not passed over in silence.
func TestScenesSettingsForPhotos(t *testing.T) {
	w := newWorld(t)
	for _, setting := range []string{`"easy_steps": 1`, `"clean_steps": 1`, `"monochrome": 0.1`, `"unnamed": 0.1`, `"small_steps": 1, "small_size": 8`} {
		recipe := filepath.Join(w.root, "recipe.json")
		if err := os.WriteFile(recipe, []byte("{"+setting+"}"), 0o644); err != nil {
			t.Fatal(err)
		}
		status, _, stderr := execute(t, "-q", "pretrain", "--captions", w.captions, "--config", recipe, "--out", filepath.Join(w.root, "photos"))
		if status != 1 || !strings.Contains(stderr, "for generated scenes") {
			t.Errorf("%s: status %d, %s", setting, status, stderr)
		}
	}
}

// A head that starts at a CLIP's own projection, and is not moved from there, segments as the CLIP read out plainly does; an
// encoder without a projection, or another than that of the features, cannot be started from.
func TestStartAtTheProjection(t *testing.T) {
	w := newWorld(t)
	clip, scenes := filepath.Join("..", "..", "models", "builtin", "clip"), filepath.Join(w.root, "scenes")
	must(t, "-q", "scenes", "--out", scenes, "--count", "24", "--width", "64")
	features := filepath.Join(w.root, "features")
	must(t, "-q", "features", "--captions", filepath.Join(scenes, "captions.tsv"), "--vision", clip, "--text", clip, "--precision", "f32", "--out", features)
	train := []string{"-q", "train", "--features", features, "--start", "projection", "--text-embedder", "none", "--batch", "8", "--epochs", "1", "--rate", "1e-9", "--precision", "f32"}
	head := filepath.Join(w.root, "started")
	must(t, append(train, "--vision", clip, "--out", head)...)
	photo, labels := filepath.Join(scenes, "images", "scene-00000003.png"), "star, house, tree, cat, car, moon, fish, key"
	masks := make([]string, 2)
	for i, model := range [][]string{{"--model", head, "--vision", clip, "--text", clip}, {"--model", clip, "--readout", "plain"}} {
		out := filepath.Join(w.root, fmt.Sprint("masks-", i))
		must(t, append([]string{"-q", "segment", "--labels", labels, "--templates", "none", "--precision", "f32", "--stride", "4", "-o", out, photo}, model...)...)
		data, err := os.ReadFile(filepath.Join(out, "scene-00000003.mask.png"))
		if err != nil {
			t.Fatal(err)
		}
		masks[i] = string(data)
	}
	if masks[0] != masks[1] {
		t.Error("the head's mask is not that of the plain read-out")
	}
	for _, test := range []struct {
		words string
		args  []string
	}{
		{"no vision encoder is named", nil},
		{"which the features were made by", []string{"--vision", w.vit}},
	} {
		status, _, stderr := execute(t, append(append(train, "--out", filepath.Join(w.root, "refused")), test.args...)...)
		if status != 1 || !strings.Contains(stderr, test.words) {
			t.Errorf("status %d, %s, expected %q", status, stderr, test.words)
		}
	}
	status, _, stderr := execute(t, "-q", "train", "--captions", w.captions, "--vision", w.vit, "--text", w.names, "--start", "projection", "--out", filepath.Join(w.root, "refused"))
	if status != 1 || !strings.Contains(stderr, "no projection") {
		t.Errorf("an encoder without a projection: status %d, %s", status, stderr)
	}
}
