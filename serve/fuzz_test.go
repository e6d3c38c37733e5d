package serve

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzHandlers sends any body of any kind to each end point: the answer is JSON or a picture, and never a panic or 500.
func FuzzHandlers(f *testing.F) {
	server, err := New(Config{
		Models: []Engine{&colourEngine{name: "colours"}}, MaxBytes: 1 << 16, MaxPixels: 1 << 14, MaxPatches: 2000, CacheBytes: 1 << 20,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(server.Close)
	photo := halves(16, 16)
	kind, body := form(map[string]string{"labels": "red", "background": "0.5"}, photo)
	good, _ := json.Marshal(map[string]any{"image": photo, "labels": "red,blue", "format": "polygons", "options": map[string]any{"stride": 4}})
	f.Add(uint8(0), "application/json", "", good)
	f.Add(uint8(1), "image/png", "labels=red&size=32", photo)
	f.Add(uint8(0), kind, "format=labelme", body.Bytes())
	f.Add(uint8(2), "image/png", "", photo[:40])
	f.Add(uint8(3), "application/json", "texts=red", []byte(`{"texts":["blue"]}`))
	paths := []string{"/v1/segment", "/v1/heatmaps", "/v1/embed/image", "/v1/embed/text", "/v1/images"}
	f.Fuzz(func(t *testing.T, path uint8, kind, query string, body []byte) {
		request := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		request.URL.Path, request.URL.RawQuery = paths[int(path)%len(paths)], query
		request.Header.Set("Content-Type", kind)
		answer := httptest.NewRecorder()
		server.Handler().ServeHTTP(answer, request)
		if answer.Code >= 500 {
			t.Errorf("%d %s", answer.Code, answer.Body)
		}
		if answer.Header().Get("Content-Type") == "application/json" && !json.Valid(answer.Body.Bytes()) {
			t.Errorf("not JSON: %s", answer.Body)
		}
		if held := server.bodies.used.Load(); held != 0 {
			t.Errorf("%d bytes are still held", held)
		}
		if all := server.config.DecodedBytes; !server.decoded.TryAcquire(all) {
			t.Error("a photo still counts as decoded")
		} else {
			server.decoded.Release(all)
		}
	})
}

// FuzzMultipart reads forms: what is taken over is never larger than what was sent.
func FuzzMultipart(f *testing.F) {
	_, body := form(map[string]string{"labels": "red", "options": `{"size":3}`}, []byte("photo"))
	boundary, _, _ := strings.Cut(strings.TrimPrefix(body.String(), "--"), "\r\n")
	f.Add(boundary, body.Bytes())
	f.Add("x", []byte("--x\r\nContent-Disposition: form-data; name=\"image\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n--x--"))
	f.Fuzz(func(t *testing.T, boundary string, body []byte) {
		held := &loan{budget: &budget{limit: 1 << 20}}
		req := new(request)
		err := req.readMultipart(multipart.NewReader(bytes.NewReader(body), boundary), boundary, 1<<10, held)
		if len(req.Image) > 1<<10 || len(req.Image) > len(body) || len(req.Labels) > len(body) {
			t.Errorf("a photo of %d bytes from a body of %d", len(req.Image), len(body))
		}
		if err != nil && failureOf(t.Context(), err).Status >= 500 {
			t.Errorf("the client's mistake is called the service's: %v", err)
		}
		held.end()
		if held.budget.used.Load() != 0 {
			t.Error("bytes are still held")
		}
	})
}

// FuzzLabels reads label lists: names and words are never empty, never twice, and within the limit.
func FuzzLabels(f *testing.F) {
	f.Add("cat, dog|puppy, person")
	f.Add("|,|, ,a||b")
	f.Add("고양이, 강아지")
	f.Fuzz(func(t *testing.T, text string) {
		labels, err := parseLabels(text, 100)
		if err != nil {
			return
		}
		words := 0
		seen := make(map[string]bool)
		for _, label := range labels {
			key := strings.ToLower(label.Name)
			if label.Name == "" || seen[key] {
				t.Errorf("name %q is empty or stands twice", label.Name)
			}
			seen[key] = true
			words += len(label.Words)
			if len(label.Words) == 0 || label.Words[0] != label.Name {
				t.Errorf("words %q of %q", label.Words, label.Name)
			}
		}
		if len(labels) == 0 || words > 100 {
			t.Errorf("%d labels with %d words", len(labels), words)
		}
	})
}
