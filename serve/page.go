package serve

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/scene"
)

//go:embed page
var pageFiles embed.FS

//go:embed openapi.json
var openAPIDocument []byte

// pagePolicy lets the page use its own files, photos that it holds itself, and nothing of anybody else's.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
	"media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// addPage serves the embedded page and its examples.
func (s *Server) addPage(mux *http.ServeMux) error {
	err := fs.WalkDir(pageFiles, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := pageFiles.ReadFile(name)
		if err != nil {
			return err
		}
		address := strings.TrimPrefix(name, "page")
		if address == "/index.html" {
			address = "/{$}"
		}
		mux.Handle("GET "+address, static(mime.TypeByExtension(path.Ext(name)), data))
		return nil
	})
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	mux.HandleFunc("GET /examples", s.listExamples)
	mux.HandleFunc("GET /examples/{name}", serveExample)
	return nil
}

// static serves bytes that are the program's own.
func static(kind string, data []byte) http.Handler {
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", kind)
		header.Set("ETag", tag)
		header.Set("Cache-Control", "no-cache")
		header.Set("Content-Security-Policy", pagePolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
}

func (s *Server) openAPI(w http.ResponseWriter, r *http.Request) {
	static("application/json", openAPIDocument).ServeHTTP(w, r)
}

// exampleSeeds are scenes that show several things well apart.
var exampleSeeds = []uint64{3, 8, 14, 21, 27, 33}

const (
	exampleWidth  = 560
	exampleHeight = 420
)

// example is a scene of the gallery: an invented picture and the words for what it shows.
type example struct {
	Source string `json:"src"`
	// Labels are English, KoreanLabels the same in Korean.
	Labels       []string `json:"labels"`
	KoreanLabels []string `json:"labels_ko"`
	// Captions in English and Korean describe the picture for those who do not see it.
	English string `json:"en"`
	Korean  string `json:"ko"`
	// png draws the picture the first time.
	png func() ([]byte, error)
}

var examples = sync.OnceValue(func() []example {
	list := make([]example, len(exampleSeeds))
	for i, seed := range exampleSeeds {
		s := scene.New(scene.Options{MinObjects: 4, MaxObjects: 6, Aspect: float64(exampleWidth) / exampleHeight}, seed)
		e := example{
			Source: "/examples/" + strconv.Itoa(i) + ".png", png: sync.OnceValues(func() ([]byte, error) { return drawExample(s) }),
			English: s.Caption(scene.English, 0), Korean: s.Caption(scene.Korean, 0),
		}
		seen := make(map[int]bool)
		for _, object := range s.Objects {
			if !seen[object.Kind] {
				seen[object.Kind] = true
				e.Labels = append(e.Labels, scene.Kinds[object.Kind].Name())
				e.KoreanLabels = append(e.KoreanLabels, scene.Kinds[object.Kind].Korean[0])
			}
		}
		list[i] = e
	}
	return list
})

func drawExample(s *scene.Scene) ([]byte, error) {
	var buffer bytes.Buffer
	if err := imaging.EncodePNG(&buffer, s.Render(exampleWidth, exampleHeight).Image()); err != nil {
		return nil, fmt.Errorf("example: %w", err)
	}
	return buffer.Bytes(), nil
}

// listExamples leaves out words that the model does not know.
func (s *Server) listExamples(w http.ResponseWriter, r *http.Request) {
	list := examples()
	m, err := s.model(r.URL.Query().Get("model"))
	if err != nil {
		writeFailure(w, failureOf(r.Context(), err), requestID(r.Context()))
		return
	}
	if m.description.FixedVocabulary {
		list = slices.Clone(list)
		for i := range list {
			list[i].Labels = slices.DeleteFunc(slices.Clone(list[i].Labels), func(word string) bool {
				_, err := s.vocabulary(r.Context(), m, []pacl.Label{{Name: word, Words: []string{word}}})
				return err != nil
			})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

func serveExample(w http.ResponseWriter, r *http.Request) {
	list := examples()
	number, err := strconv.Atoi(strings.TrimSuffix(r.PathValue("name"), ".png"))
	if err != nil || number < 0 || number >= len(list) {
		writeFailure(w, fail(http.StatusNotFound, "not_found", "no such example"), requestID(r.Context()))
		return
	}
	picture, err := list[number].png()
	if err != nil {
		writeFailure(w, failureOf(r.Context(), err), requestID(r.Context()))
		return
	}
	static("image/png", picture).ServeHTTP(w, r)
}
