package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	testCommit = "0123456789abcdef0123456789abcdef01234567"
	testToken  = "hf_secret"
)

// fakeHub speaks the hub's protocol: the list of a model's files, their hashes by HEAD, small files from itself and large
// ones from another host.
type fakeHub struct {
	t     testing.TB
	id    string
	files map[string][]byte
	large map[string]bool // kept on the other host, named by SHA-256

	// before may answer a request instead of the hub; it returns whether it did.
	before func(w http.ResponseWriter, r *http.Request) bool
	// body may send the bytes of a GET instead of the hub.
	body func(w http.ResponseWriter, r *http.Request, name string, content []byte) bool

	hub, cdn *httptest.Server
	mu       sync.Mutex
	requests []string // method and path, in order
}

func newFakeHub(t testing.TB) *fakeHub {
	h := &fakeHub{t: t, id: "org/tiny", files: map[string][]byte{}, large: map[string]bool{}}
	h.hub = httptest.NewServer(http.HandlerFunc(h.serveHub))
	h.cdn = httptest.NewServer(http.HandlerFunc(h.serveCDN))
	t.Cleanup(h.hub.Close)
	t.Cleanup(h.cdn.Close)
	return h
}

func (h *fakeHub) etag(name string) string {
	content := h.files[name]
	if h.large[name] {
		sum := sha256.Sum256(content)
		return hex.EncodeToString(sum[:])
	}
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...))
	return hex.EncodeToString(sum[:])
}

func (h *fakeHub) record(r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, r.Method+" "+r.URL.Path)
}

// count returns how many requests contained the text.
func (h *fakeHub) count(text string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, request := range h.requests {
		if strings.Contains(request, text) {
			n++
		}
	}
	return n
}

func (h *fakeHub) serveHub(w http.ResponseWriter, r *http.Request) {
	h.record(r)
	if h.before != nil && h.before(w, r) {
		return
	}
	if revision, ok := strings.CutPrefix(r.URL.Path, "/api/models/"+h.id+"/revision/"); ok {
		if revision != "main" && revision != testCommit && revision != "refs/pr/1" {
			w.Header().Set("X-Error-Code", "RevisionNotFound")
			http.NotFound(w, r)
			return
		}
		type sibling struct {
			Name string `json:"rfilename"`
		}
		answer := struct {
			SHA      string    `json:"sha"`
			Siblings []sibling `json:"siblings"`
		}{SHA: testCommit}
		for name := range h.files {
			answer.Siblings = append(answer.Siblings, sibling{name})
		}
		json.NewEncoder(w).Encode(answer)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/"+h.id+"/resolve/"+testCommit+"/")
	content, exists := h.files[name]
	if !ok || !exists {
		w.Header().Set("X-Error-Code", "RepoNotFound")
		http.Error(w, "Repository not found", http.StatusUnauthorized)
		return
	}
	w.Header().Set("X-Repo-Commit", testCommit)
	if h.large[name] {
		w.Header().Set("X-Linked-Etag", `"`+h.etag(name)+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(content)))
		http.Redirect(w, r, h.cdn.URL+"/"+name+"?signature=x", http.StatusFound)
		return
	}
	w.Header().Set("ETag", `W/"`+h.etag(name)+`"`)
	h.send(w, r, name, content)
}

func (h *fakeHub) serveCDN(w http.ResponseWriter, r *http.Request) {
	h.record(r)
	if r.Header.Get("Authorization") != "" {
		h.t.Errorf("the token was sent to another host: %s %s", r.Method, r.URL)
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	w.Header().Set("ETag", `"another-hash-of-the-store"`)
	h.send(w, r, name, h.files[name])
}

// send answers with the content, or with the part that a Range asks for.
func (h *fakeHub) send(w http.ResponseWriter, r *http.Request, name string, content []byte) {
	if r.Method == http.MethodGet && h.body != nil && h.body(w, r, name, content) {
		return
	}
	sendRange(w, r, content)
}

func sendRange(w http.ResponseWriter, r *http.Request, content []byte) {
	start := rangeStart(r)
	if start > 0 && start >= len(content) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(content)-start))
	if start > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content)-1, len(content)))
		w.WriteHeader(http.StatusPartialContent)
	}
	if r.Method == http.MethodGet {
		w.Write(content[start:])
	}
}

func rangeStart(r *http.Request) int {
	start := 0
	fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start)
	return start
}

// randomBytes are the same for the same seed.
func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	bytes := make([]byte, n)
	rand.NewChaCha8(key).Read(bytes)
	return bytes
}
