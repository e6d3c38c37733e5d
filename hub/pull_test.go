package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clearEnvironment lets a test not depend on who runs it.
func clearEnvironment(t *testing.T) {
	for _, name := range []string{
		"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH",
		"HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "PACL_MODELS", "XDG_CACHE_HOME",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("USERPROFILE", os.Getenv("HOME"))
}

// tinyModel fills a hub with a model and files that nobody needs.
func tinyModel(t *testing.T) *fakeHub {
	clearEnvironment(t)
	h := newFakeHub(t)
	h.files = map[string][]byte{
		"config.json":                      []byte(`{"model_type": "clip"}`),
		"tokenizer.json":                   randomBytes(1, 5000),
		"1_Pooling/config.json":            []byte("{}"),
		"model-00001-of-00002.safetensors": randomBytes(2, 700_000),
		"model-00002-of-00002.safetensors": randomBytes(3, 300_000),
		"model.safetensors.index.json":     []byte(`{"weight_map": {}}`),
		"pytorch_model.bin":                []byte("a second copy"),
		"README.md":                        []byte("hello"),
		"onnx/model.onnx":                  []byte("another format"),
		"../escape.json":                   []byte("hostile"),
	}
	h.large["model-00001-of-00002.safetensors"] = true
	h.large["model-00002-of-00002.safetensors"] = true
	return h
}

func (h *fakeHub) options(t *testing.T) PullOptions {
	return PullOptions{
		Endpoint: h.hub.URL, Token: testToken, CacheDir: t.TempDir(), Stall: 20 * time.Second,
		Sleep: func(ctx context.Context, d time.Duration) error { return ctx.Err() },
	}
}

var tinyNeeded = []string{
	"1_Pooling/config.json", "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
	"model.safetensors.index.json", "tokenizer.json",
}

// checkSnapshot compares a snapshot with the hub's files.
func (h *fakeHub) checkSnapshot(t *testing.T, dir string, names []string) {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		found = append(found, name)
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(content, h.files[name]) {
			t.Errorf("%s: %d bytes are not the hub's %d", name, len(content), len(h.files[name]))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	if diff := cmp.Diff(names, found); diff != "" {
		t.Errorf("files of the snapshot: %s", diff)
	}
}

func TestPullKeepsTheSharedLayout(t *testing.T) {
	h := tinyModel(t)
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		if got := r.Header.Get("Authorization"); got != "Bearer "+testToken {
			t.Errorf("authorization %q", got)
		}
		return false
	}
	options := h.options(t)
	var last Progress
	options.Progress = func(p Progress) {
		if p.Done < last.Done || p.Done > p.Total {
			t.Errorf("progress went from %+v to %+v", last, p)
		}
		last = p
	}
	dir, err := Pull(t.Context(), "org/tiny", options)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(options.CacheDir, "models--org--tiny")
	if want := filepath.Join(root, "snapshots", testCommit); dir != want {
		t.Errorf("snapshot %s, expected %s", dir, want)
	}
	h.checkSnapshot(t, dir, tinyNeeded)
	if commit, err := os.ReadFile(filepath.Join(root, "refs", "main")); err != nil || string(commit) != testCommit {
		t.Errorf("refs/main holds %q, %v", commit, err)
	}
	for name, target := range map[string]string{
		"config.json":                      "../../blobs/",
		"1_Pooling/config.json":            "../../../blobs/",
		"model-00001-of-00002.safetensors": "../../blobs/",
	} {
		got, err := os.Readlink(filepath.Join(dir, name))
		if want := target + h.etag(name); err != nil || filepath.ToSlash(got) != want {
			t.Errorf("%s links to %s, %v, expected %s", name, got, err, want)
		}
	}
	blobs, err := os.ReadDir(filepath.Join(root, "blobs"))
	if err != nil || len(blobs) != len(tinyNeeded) {
		t.Errorf("%d blobs, expected %d (%v)", len(blobs), len(tinyNeeded), err)
	}
	if last.Done != last.Total || last.Total < 1_000_000 {
		t.Errorf("the last progress is %+v", last)
	}

	before := h.count("GET /org/") + h.count("GET /model")
	last = Progress{}
	if _, err := Pull(t.Context(), "org/tiny", options); err != nil {
		t.Fatal(err)
	}
	if after := h.count("GET /org/") + h.count("GET /model"); after != before {
		t.Errorf("a second pull loaded %d files again", after-before)
	}
	t.Setenv("HF_HUB_CACHE", options.CacheDir)
	for _, reference := range []string{"org/tiny", "org/tiny@main", "org/tiny@" + testCommit} {
		if got, err := Resolve(reference); err != nil || got != dir {
			t.Errorf("%s resolves to %s, %v", reference, got, err)
		}
	}
}

// TestPullThroughFaults lets connections break at random places, servers refuse for a while and ignore ranges: what
// arrives is right, and nothing that was received is asked for again but where the server ignores ranges.
func TestPullThroughFaults(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			h := tinyModel(t)
			random := rand.New(rand.NewPCG(seed, 1))
			honoursRanges := seed%2 == 0
			sent := map[string]int{}
			h.before = func(w http.ResponseWriter, r *http.Request) bool {
				switch random.IntN(6) {
				case 0:
					w.Header().Set("Retry-After", "3")
					w.WriteHeader(http.StatusTooManyRequests)
				case 1:
					w.WriteHeader(http.StatusBadGateway)
				case 2:
					panic(http.ErrAbortHandler)
				default:
					return false
				}
				return true
			}
			h.body = func(w http.ResponseWriter, r *http.Request, name string, content []byte) bool {
				start := rangeStart(r)
				if !honoursRanges {
					start = 0
				}
				if start > 0 && start != sent[name] && honoursRanges {
					// Fewer bytes may have arrived than were sent; never more.
					if start > sent[name] {
						t.Errorf("%s: asked from byte %d on, %d were sent", name, start, sent[name])
					}
				}
				n := min(1+random.IntN(len(content)), len(content)-start)
				if random.IntN(4) == 0 {
					n = len(content) - start
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(content)-start))
				if start > 0 {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content)-1, len(content)))
					w.WriteHeader(http.StatusPartialContent)
				}
				w.Write(content[start : start+n])
				sent[name] = start + n
				if start+n < len(content) {
					w.(http.Flusher).Flush()
					panic(http.ErrAbortHandler)
				}
				return true
			}
			options := h.options(t)
			options.Attempts = 1000
			dir, err := Pull(t.Context(), "org/tiny", options)
			if err != nil {
				t.Fatal(err)
			}
			h.checkSnapshot(t, dir, tinyNeeded)
		})
	}
}

// TestPullIsContinued ends a download in the middle; the next one asks for the rest only, and until then no snapshot is found.
func TestPullIsContinued(t *testing.T) {
	h := tinyModel(t)
	const name, cut = "model-00001-of-00002.safetensors", 400_000
	options := h.options(t)
	ctx, cancel := context.WithCancel(t.Context())
	h.body = func(w http.ResponseWriter, r *http.Request, file string, content []byte) bool {
		if file != name {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.Write(content[:cut])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	options.Progress = func(p Progress) {
		if p.File == name && p.Done >= cut {
			cancel()
		}
	}
	if _, err := Pull(ctx, "org/tiny", options); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	t.Setenv("HF_HUB_CACHE", options.CacheDir)
	if dir, err := Resolve("org/tiny"); err == nil {
		t.Errorf("half a model is found in %s", dir)
	}
	incomplete := filepath.Join(options.CacheDir, "models--org--tiny", "blobs", h.etag(name)+".incomplete")
	info, err := os.Stat(incomplete)
	if err != nil || info.Size() == 0 {
		t.Fatalf("what was received is lost: %v", err)
	}
	asked := -1
	h.body = func(w http.ResponseWriter, r *http.Request, file string, content []byte) bool {
		if file == name {
			asked = rangeStart(r)
		}
		return false
	}
	options.Progress = nil
	dir, err := Pull(t.Context(), "org/tiny", options)
	if err != nil {
		t.Fatal(err)
	}
	h.checkSnapshot(t, dir, tinyNeeded)
	if asked != int(info.Size()) || asked < 1 {
		t.Errorf("continued at byte %d, %d were there", asked, info.Size())
	}
}

// TestPullMendsAWrongBeginning continues a file whose first part is another's.
func TestPullMendsAWrongBeginning(t *testing.T) {
	for _, size := range []int{1, 699_999, 700_000, 800_000} {
		h := tinyModel(t)
		options := h.options(t)
		blobs := filepath.Join(options.CacheDir, "models--org--tiny", "blobs")
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			t.Fatal(err)
		}
		const name = "model-00001-of-00002.safetensors"
		if err := os.WriteFile(filepath.Join(blobs, h.etag(name)+".incomplete"), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
		dir, err := Pull(t.Context(), "org/tiny", options)
		if err != nil {
			t.Fatal(err)
		}
		h.checkSnapshot(t, dir, tinyNeeded)
	}
}

// TestPullRefuses are answers that must end in an error and leave nothing that could be taken for a model.
func TestPullRefuses(t *testing.T) {
	const shard = "model-00002-of-00002.safetensors"
	status := func(code int, header ...string) func(*fakeHub) {
		return func(h *fakeHub) {
			h.before = func(w http.ResponseWriter, r *http.Request) bool {
				for i := 0; i < len(header); i += 2 {
					w.Header().Set(header[i], header[i+1])
				}
				w.WriteHeader(code)
				return true
			}
		}
	}
	content := func(change func([]byte) []byte) func(*fakeHub) {
		return func(h *fakeHub) {
			h.body = func(w http.ResponseWriter, r *http.Request, name string, content []byte) bool {
				if name != shard {
					return false
				}
				sendRange(w, r, change(slices.Clone(content)))
				return true
			}
		}
	}
	head := func(name, value string) func(*fakeHub) {
		return func(h *fakeHub) {
			h.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodHead || !strings.HasSuffix(r.URL.Path, shard) {
					return false
				}
				w.Header().Set("X-Linked-Etag", h.etag(shard))
				w.Header().Set("X-Linked-Size", strconv.Itoa(len(h.files[shard])))
				w.Header().Set(name, value)
				w.Header().Set("Location", h.cdn.URL+"/"+shard)
				w.WriteHeader(http.StatusFound)
				return true
			}
		}
	}
	for name, c := range map[string]struct {
		reference string
		fault     func(*fakeHub)
		want      string
	}{
		"no id":              {"tiny", nil, "expected a hub id"},
		"escaping id":        {"org/..", nil, "expected a hub id"},
		"unknown revision":   {"org/tiny@nowhere", nil, "no such revision"},
		"unknown model":      {"org/other", nil, "no such model"},
		"unauthorized":       {"", status(401), "HF_TOKEN"},
		"gated":              {"", status(403, "X-Error-Code", "GatedRepo"), "on request"},
		"forbidden":          {"", status(403), "HF_TOKEN"},
		"not found":          {"", status(404), "the hub has no"},
		"always busy":        {"", status(429, "Retry-After", "1"), "gave up after 3 attempts"},
		"always broken":      {"", status(503), "gave up after 3 attempts"},
		"endless redirects":  {"", status(302, "Location", "/again"), "redirects more than"},
		"strange redirect":   {"", status(302, "Location", "file:///etc/passwd"), "refused"},
		"wrong bytes":        {"", content(func(b []byte) []byte { b[7] ^= 1; return b }), "hash"},
		"too short":          {"", content(func(b []byte) []byte { return b[:len(b)-1] }), "ended after"},
		"too long":           {"", content(func(b []byte) []byte { return append(b, 0) }), "announces"},
		"a lie of size":      {"", head("X-Linked-Size", "299999"), "announces"},
		"a larger lie":       {"", head("X-Linked-Size", "300001"), "ended after"},
		"a negative size":    {"", head("X-Linked-Size", "-5"), "expected a number of bytes"},
		"another's hash":     {"", head("X-Linked-Etag", strings.Repeat("0", 64)), "hash"},
		"no hash":            {"", head("X-Linked-Etag", `"abc"`), "names no hash"},
		"a path for a hash":  {"", head("X-Linked-Etag", "../../../etc/passwd"), "names no hash"},
		"no weights":         {"", func(h *fakeHub) { h.files = map[string][]byte{"config.json": {}} }, "no weights"},
		"not JSON":           {"", func(h *fakeHub) { h.before = plain(h, "<html>") }, "list of files"},
		"a path as a commit": {"", func(h *fakeHub) { h.before = plain(h, `{"sha": "../../x", "siblings": []}`) }, "commit"},
	} {
		t.Run(name, func(t *testing.T) {
			h := tinyModel(t)
			if c.fault != nil {
				c.fault(h)
			}
			if c.reference == "" {
				c.reference = "org/tiny"
			}
			options := h.options(t)
			options.Attempts = 3
			_, err := Pull(t.Context(), c.reference, options)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, expected one line that tells %q", err, c.want)
			}
			if dirs, err := filepath.Glob(filepath.Join(options.CacheDir, "*", "snapshots", "*", "*")); err != nil || len(dirs) > 0 {
				t.Errorf("left behind: %v, %v", dirs, err)
			}
			if _, err := os.Stat(filepath.Join(options.CacheDir, "models--org--tiny", "blobs", h.etag(shard))); err == nil && h.files[shard] != nil {
				t.Error("a file that is wrong got its name")
			}
		})
	}
}

// plain answers the list of files with a text.
func plain(_ *fakeHub, text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		fmt.Fprint(w, text)
		return true
	}
}

func TestPullWaitsAsAsked(t *testing.T) {
	h := tinyModel(t)
	answers := []func(http.ResponseWriter){
		func(w http.ResponseWriter) { w.Header().Set("Retry-After", "17"); w.WriteHeader(429) },
		func(w http.ResponseWriter) { w.WriteHeader(500) },
		func(w http.ResponseWriter) { w.WriteHeader(500) },
		func(w http.ResponseWriter) { w.Header().Set("Retry-After", "999999"); w.WriteHeader(503) },
	}
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		if len(answers) == 0 {
			return false
		}
		answers[0](w)
		answers = answers[1:]
		return true
	}
	var waits []time.Duration
	options := h.options(t)
	options.Sleep = func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	}
	if _, err := Pull(t.Context(), "org/tiny", options); err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{17 * time.Second, 2 * time.Second, 4 * time.Second, longestWait}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Error(diff)
	}
}

// TestPullLeavesSilentServers gives up a connection on which nothing comes.
func TestPullLeavesSilentServers(t *testing.T) {
	h := tinyModel(t)
	h.body = func(w http.ResponseWriter, r *http.Request, name string, content []byte) bool {
		if !h.large[name] {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.Write(content[:10])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	options := h.options(t)
	options.Stall, options.Attempts = 100*time.Millisecond, 2
	if _, err := Pull(t.Context(), "org/tiny", options); err == nil || !strings.Contains(err.Error(), "nothing received for") {
		t.Errorf("error %v", err)
	}
}

func TestPullCopiesWhereLinksAreForbidden(t *testing.T) {
	h := tinyModel(t)
	p := newPuller(h.options(t))
	p.link = func(string, string) error { return errors.New("a required privilege is not held by the client") }
	for range 2 {
		dir, err := p.pull(t.Context(), h.id, "main")
		if err != nil {
			t.Fatal(err)
		}
		h.checkSnapshot(t, dir, tinyNeeded)
		if info, err := os.Lstat(filepath.Join(dir, "config.json")); err != nil || !info.Mode().IsRegular() {
			t.Errorf("config.json is no copy: %v", err)
		}
	}
}

func TestPullReadsTheEnvironment(t *testing.T) {
	h := tinyModel(t)
	home := t.TempDir()
	t.Setenv("HF_HOME", home)
	t.Setenv("HF_ENDPOINT", h.hub.URL+"/")
	if err := os.WriteFile(filepath.Join(home, "token"), []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "Bearer from-file"
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		if got := r.Header.Get("Authorization"); got != want {
			t.Errorf("authorization %q, expected %q", got, want)
		}
		return false
	}
	dir, err := Pull(t.Context(), "org/tiny@refs/pr/1", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(home, "hub", "models--org--tiny")
	if dir != filepath.Join(root, "snapshots", testCommit) {
		t.Errorf("snapshot in %s", dir)
	}
	if _, err := os.Stat(filepath.Join(root, "refs", "refs", "pr", "1")); err != nil {
		t.Error(err)
	}
	want = "Bearer from-variable"
	t.Setenv("HF_TOKEN", "from-variable")
	if _, err := Pull(t.Context(), "org/tiny", PullOptions{}); err != nil {
		t.Fatal(err)
	}

	t.Setenv("HF_HUB_OFFLINE", "1")
	before := len(h.requests)
	if got, err := Pull(t.Context(), "org/tiny", PullOptions{}); err != nil || got != dir {
		t.Errorf("offline: %s, %v", got, err)
	}
	if _, err := Pull(t.Context(), "org/other", PullOptions{}); err == nil || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Errorf("offline: %v", err)
	}
	if len(h.requests) != before {
		t.Error("offline, the hub was asked")
	}
}

func TestPullsAtTheSameTime(t *testing.T) {
	h := tinyModel(t)
	options := h.options(t)
	options.Sleep = nil
	errs := make(chan error)
	for range 4 {
		go func() {
			_, err := Pull(t.Context(), "org/tiny", options)
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := h.count("GET /model-00001"); n != 1 {
		t.Errorf("a shard was loaded %d times", n)
	}
}

func TestNeededFiles(t *testing.T) {
	for name, c := range map[string]struct{ files, want []string }{
		"safetensors before pickles": {
			[]string{"pytorch_model.bin", "model.safetensors", "config.json", "flax_model.msgpack", "tf_model.h5"},
			[]string{"config.json", "model.safetensors"},
		},
		"OpenCLIP": {
			[]string{"open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin", "merges.txt"},
			[]string{"open_clip_config.json", "merges.txt", "open_clip_model.safetensors"},
		},
		"shards of a pickle": {
			[]string{"pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin", "other-00001-of-00001.bin"},
			[]string{"pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"},
		},
		"a published checkpoint": {[]string{"README.md", "EUPE-ViT-B.pt"}, []string{"EUPE-ViT-B.pt"}},
		"a head": {
			[]string{"pacl.json", "head.safetensors", "README.md", "curves.png"},
			[]string{"pacl.json", "README.md", "head.safetensors"},
		},
	} {
		got, err := neededFiles(c.files)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
