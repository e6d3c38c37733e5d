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
