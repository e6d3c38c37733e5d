package main

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/hub"
)

// smallHub serves directories as models, without any of the faults that package hub's own tests have.
func smallHub(t *testing.T, models map[string]string) *httptest.Server {
	const commit = "89abcdef0123456789abcdef0123456789abcdef"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for id, dir := range models {
			if r.URL.Path == "/api/models/"+id+"/revision/main" {
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Error(err)
				}
				var names []string
				for _, entry := range entries {
					names = append(names, fmt.Sprintf(`{"rfilename": %q}`, entry.Name()))
				}
				fmt.Fprintf(w, `{"sha": %q, "siblings": [%s]}`, commit, strings.Join(names, ", "))
				return
			}
			if name, ok := strings.CutPrefix(r.URL.Path, "/"+id+"/resolve/"+commit+"/"); ok {
				content, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Error(err)
				}
				sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...))
				w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(content)))
				return
			}
		}
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	return server
}

// What pull loads is found by its id by every command, also without the network.
func TestPullAndUseByID(t *testing.T) {
	w := newWorld(t)
	server := smallHub(t, map[string]string{"example/vit": w.vit, "example/names": w.names, "example/head": w.head})
	t.Setenv("PACL_MODELS", "")
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("HF_TOKEN", "")
	photo := filepath.Join(w.root, "data", "images", "003.png")
	segment := func(out string, more ...string) []string {
		return append([]string{"segment", "--labels", "red, green", "-o", filepath.Join(w.root, out), photo}, more...)
	}
	status, _, stderr := execute(t, segment("none", "--model", "example/head")...)
	if status != 1 || !strings.Contains(stderr, "pacl pull example/head") {
		t.Errorf("before: status %d, %s", status, stderr)
	}
	status, stdout, stderr := execute(t, "pull", "example/vit", "example/names", "example/head")
	if status != 0 {
		t.Fatalf("pull: %s", stderr)
	}
	if lines := strings.Fields(stdout); len(lines) != 3 || !strings.HasPrefix(lines[0], filepath.Join(w.root, "hub", "hub", "models--example--vit", "snapshots")) {
		t.Errorf("pull prints %q, expected three directories of the cache", stdout)
	}
	if !strings.Contains(stderr, "example/vit [########################] 100 %") {
		t.Errorf("no full bar: %s", stderr)
	}
	server.Close()
	t.Setenv("HF_HUB_OFFLINE", "1")
	must(t, "pull", "example/vit")
	must(t, "-q", "train", "--captions", w.captions, "--vision", "example/vit", "--text", "example/names", "--out", filepath.Join(w.root, "second"), "--epochs", "1", "--batch", "16", "--precision", "f32")
	must(t, segment("a", "--model", "example/head", "--vision", "example/vit", "--text", "example/names")...)
	// The head that was just trained knows its encoders' ids, and pull tells which of them are missing: of a
	// names table the encoder that made it.
	second := filepath.Join(w.root, "second")
	if missing, err := pacl.MissingEncoders(second); err != nil || len(missing) > 0 {
		t.Errorf("missing %v, %v", missing, err)
	}
	for name, want := range map[string][]string{second: {"example/vit", "example/encoder"}, w.vit: nil} {
		t.Setenv("HF_HUB_CACHE", t.TempDir())
		if missing, err := pacl.MissingEncoders(name); err != nil || !slices.Equal(missing, want) {
			t.Errorf("%s misses %v, %v, expected %v", name, missing, err, want)
		}
		t.Setenv("HF_HUB_CACHE", "")
	}
	must(t, segment("b", "--model", filepath.Join(w.root, "second"))...)
	for _, reference := range []string{"example/vit", "example/names", "example/head"} {
		must(t, "info", reference)
	}
	for reference, want := range map[string]string{
		"example/other": "HF_HUB_OFFLINE", "vit": "expected a hub id", "../models/vit": "expected a hub id", filepath.Join(w.root, "models"): "is a path",
	} {
		if status, _, stderr := execute(t, "pull", reference); status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("pull %s: status %d, %s", reference, status, stderr)
		}
	}
}

func TestDownloadBar(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	bar := downloadBar{name: "org/name", started: start, had: -1}
	for _, c := range []struct {
		done  int64
		after time.Duration
		want  string
	}{
		{100e6, 0, "org/name [######..................]  25 % of 400.0 MB"},
		{200e6, 10 * time.Second, "org/name [############............]  50 % of 400.0 MB, 10.0 MB/s, 20s left"},
		{400e6, 30 * time.Second, "org/name [########################] 100 % of 400.0 MB, 10.0 MB/s"},
	} {
		if got := bar.line(hub.Progress{File: "model.safetensors", Done: c.done, Total: 400e6}, start.Add(c.after)); got != c.want {
			t.Errorf("%q, expected %q", got, c.want)
		}
	}
	if got := bar.line(hub.Progress{File: "model.safetensors", Done: 1500}, start); got != "org/name: 1.5 kB of model.safetensors" {
		t.Errorf("without a size: %q", got)
	}
}
