package serve

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/readout"
)

// route is one end point.
type route struct {
	pattern string
	handler http.Handler
}

// table lists all end points; the OpenAPI document names the same.
func (s *Server) table() []route {
	return []route{
		{"POST /v1/segment", s.work(s.segment)},
		{"POST /v1/heatmaps", s.work(s.heatmaps)},
		{"POST /v1/embed/image", s.work(s.embedImage)},
		{"POST /v1/embed/text", s.work(s.embedText)},
		{"POST /v1/images", s.work(s.addImage)},
		{"DELETE /v1/images/{id}", http.HandlerFunc(s.dropImage)},
		{"GET /v1/models", http.HandlerFunc(s.listModels)},
		{"GET /healthz", http.HandlerFunc(s.health)},
		{"GET /readyz", http.HandlerFunc(s.ready)},
		{"GET /metrics", s.metrics},
		{"GET /openapi.json", http.HandlerFunc(s.openAPI)},
	}
}

func (s *Server) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	for _, r := range s.table() {
		mux.Handle(r.pattern, r.handler)
	}
	if err := s.addPage(mux); err != nil {
		return nil, err
	}
	answered := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			s.nowhere(mux, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
	guarded, err := s.guarded(answered)
	if err != nil {
		return nil, err
	}
	return s.observed(guarded), nil
}

// nowhere answers requests that no route takes, as errors look everywhere else.
func (s *Server) nowhere(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := mux.Handler(other); pattern != "" {
			w.Header().Set("Allow", method)
			writeFailure(w, fail(http.StatusMethodNotAllowed, "method", "%s takes %s, not %s", quoted(r.URL.Path), method, quoted(r.Method)),
				requestID(r.Context()))
			return
		}
	}
	writeFailure(w, fail(http.StatusNotFound, "not_found", "nothing is at %s", quoted(r.URL.Path)), requestID(r.Context()))
}

// answer is the body of a good answer.
type answer struct {
	kind     string
	body     []byte
	fileName string
	status   int
}

func asJSON(v any) (*answer, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return &answer{kind: "application/json", body: body}, nil
}

// work reads a request, waits for its turn, does it within its time and answers.
func (s *Server) work(do func(ctx context.Context, r *http.Request, req *request) (*answer, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection := http.NewResponseController(w)
		// A writer of tests has no connection, and no deadlines.
		_ = connection.SetReadDeadline(time.Now().Add(s.config.ReadTimeout))
		held := &loan{budget: &s.bodies}
		defer held.end()
		made, err := s.perform(r, connection, held, do)
		if err == nil {
			// A client that does not read its answer holds it until the deadline below.
			err = held.take(int64(len(made.body)))
		}
		_ = connection.SetWriteDeadline(time.Now().Add(s.config.WriteTimeout))
		if err != nil {
			failure := failureOf(r.Context(), err)
			switch failure.Status {
			case http.StatusInternalServerError:
				var caught *panicError
				if errors.As(err, &caught) {
					s.metrics.panics.Inc()
					s.config.Log.Error("panic", "id", requestID(r.Context()), "reason", fmt.Sprint(caught.reason), "stack", string(caught.stack))
				} else {
					s.config.Log.Error("failed", "id", requestID(r.Context()), "error", err.Error())
				}
			case http.StatusTooManyRequests, http.StatusServiceUnavailable:
				w.Header().Set("Connection", "close")
			}
			writeFailure(w, failure, requestID(r.Context()))
			return
		}
		header := w.Header()
		header.Set("Content-Type", made.kind)
		header.Set("Content-Length", fmt.Sprint(len(made.body)))
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		if made.fileName != "" {
			header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", made.fileName))
		}
		if made.status != 0 {
			w.WriteHeader(made.status)
		}
		// An error here means that the client is gone; the log has the bytes that left.
		_, _ = w.Write(made.body)
	})
}

func (s *Server) perform(r *http.Request, connection *http.ResponseController, held *loan,
	do func(ctx context.Context, r *http.Request, req *request) (*answer, error)) (*answer, error) {
	req, err := s.read(r, held)
	if err != nil {
		return nil, err
	}
	// The body is here; from now on the deadline would only disturb the watch for a client that goes away.
	_ = connection.SetReadDeadline(time.Time{})
	leave, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeoutCause(r.Context(), s.config.RequestTimeout, errTooSlow)
	defer cancel()
	made, err := do(ctx, r, req)
	if err != nil && ctx.Err() != nil {
		// Whatever the work says, it ended because its time or its client did.
		return nil, context.Cause(ctx)
	}
	return made, err
}

// subject finds the photo of a request: one that is sent with it, or one that was sent before.
func (s *Server) subject(req *request, m *model) (*picture, error) {
	switch {
	case len(req.Image) > 0 && req.ImageID != "":
		return nil, fail(http.StatusBadRequest, "two_images", "image and image_id are both given, expected one of them")
	case req.ImageID != "":
		p, err := s.find(req.ImageID)
		if err != nil {
			return nil, err
		}
		return p, s.checkImage(m, p.width, p.height, &req.Options.ImageOptions)
	case len(req.Image) == 0:
		return nil, fail(http.StatusBadRequest, "no_image", "no photo: send image, or the image_id of one that was sent to /v1/images")
	}
	width, height, _, err := imaging.DecodeConfig(req.Image)
	if err != nil {
		return nil, fail(statusBadPhoto, "bad_image", "%v", err)
	}
	if width < 1 || height < 1 || int64(width)*int64(height) > int64(s.config.MaxPixels) {
		return nil, fail(statusTooLarge, "too_many_pixels", "the photo has %dx%d pixels, at most %d are allowed", width, height, s.config.MaxPixels)
	}
	if err := s.checkImage(m, width, height, &req.Options.ImageOptions); err != nil {
		return nil, err
	}
	return newPicture(s.identify(req.Image), req.Image, width, height), nil
}

// prepared is what the read-outs start from.
type prepared struct {
	model      *model
	picture    *picture
	labels     []pacl.Label
	vocabulary []LabelVectors
	encoded    Encoded
}

// prepare encodes the photo and the words; the words first, as it is they that are more often at fault.
func (s *Server) prepare(ctx context.Context, req *request) (*prepared, error) {
	m, err := s.model(req.Model)
	if err != nil {
		return nil, err
	}
	labels, err := s.labels(req)
	if err != nil {
		return nil, err
	}
	p, err := s.subject(req, m)
	if err != nil {
		return nil, err
	}
	v, err := s.vocabulary(ctx, m, labels)
	if err != nil {
		return nil, err
	}
	e, err := p.encoded(ctx, s, m, req.Options.ImageOptions)
	if err != nil {
		return nil, err
	}
	if req.ImageID != "" {
		// A new way of encoding a kept photo makes it larger.
		if err := s.keep(p); err != nil {
			return nil, err
		}
	}
	return &prepared{m, p, labels, v, e}, nil
}

func (s *Server) segment(ctx context.Context, r *http.Request, req *request) (*answer, error) {
	kind, err := format(req, r, segmentFormats...)
	if err != nil {
		return nil, err
	}
	ready, err := s.prepare(ctx, req)
	if err != nil {
		return nil, err
	}
	var photo *imaging.Image
	if kind == "overlay" || req.Options.Refine {
		var free func()
		if photo, free, err = ready.picture.pixels(ctx, s); err != nil {
			return nil, err
		}
		defer free()
	}
	release, err := s.compute(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	result, err := ready.model.engine.Segment(ctx, photo, ready.encoded, ready.vocabulary, SegmentOptions{
		Background: req.Options.Background, Temperature: req.Options.Temperature, Refine: req.Options.Refine,
	})
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	made, err := write(kind, ready, photo, result, req)
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	return made, nil
}

// grid tells where the cells of scores lie in the photo: cell (r, c) has its centre at (X0 + c*DX, Y0 + r*DY), in pixels.
type grid struct {
	Rows    int     `json:"rows"`
	Columns int     `json:"columns"`
	X0      float64 `json:"x0"`
	Y0      float64 `json:"y0"`
	DX      float64 `json:"dx"`
	DY      float64 `json:"dy"`
}

func gridOf(g readout.Geometry) grid {
	x, y := float64(g.ImageW)/float64(g.InputW), float64(g.ImageH)/float64(g.InputH)
	return grid{
		Rows: g.GridH, Columns: g.GridW,
		X0: float64(g.Patch) / 2 * x, Y0: float64(g.Patch) / 2 * y, DX: float64(g.Stride) * x, DY: float64(g.Stride) * y,
	}
}

type heatmapsAnswer struct {
	Model      string      `json:"model"`
	Width      int         `json:"width"`
	Height     int         `json:"height"`
	Grid       grid        `json:"grid"`
	LogitScale float64     `json:"logit_scale"`
	Labels     []labelInfo `json:"labels"`
	// Scores is float32, little endian, [rows, columns, labels], in base64.
	Scores string `json:"scores"`
	// Offsets are added to each label's scores before labels are compared, where the model gives the photo as a whole a say.
	Offsets []float64 `json:"offsets,omitempty"`
}

func (s *Server) heatmaps(ctx context.Context, r *http.Request, req *request) (*answer, error) {
	kind, err := format(req, r, "json", "png")
	if err != nil {
		return nil, err
	}
	ready, err := s.prepare(ctx, req)
	if err != nil {
		return nil, err
	}
	if kind == "png" && len(ready.labels) != 1 {
		return nil, fail(http.StatusUnprocessableEntity, "bad_format", "a heat map as PNG is of one label, found %d", len(ready.labels))
	}
	release, err := s.compute(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	scores, err := ready.model.engine.Scores(ctx, ready.encoded, ready.vocabulary)
	if err != nil {
		return nil, fmt.Errorf("heat maps: %w", err)
	}
	if kind == "png" {
		return heatPNG(scores)
	}
	return asJSON(heatmapsAnswer{
		Model: ready.model.name, Width: scores.ImageW, Height: scores.ImageH, Grid: gridOf(scores.Geometry),
		LogitScale: ready.model.description.LogitScale, Labels: labelInfos(ready.labels), Scores: floats(scores.Data),
		Offsets: ready.model.engine.Prior().Added(scores),
	})
}

type embedImageAnswer struct {
	Model string `json:"model"`
	Width int    `json:"width"` // of a vector
	Grid  grid   `json:"grid"`
	// Patches is float32, little endian, [rows, columns, width], in base64: unit vectors, or means of them.
	Patches string `json:"patches"`
	// Mean is the mean over the patches, made a unit vector again, in the same coding.
	Mean string `json:"mean"`
}

func (s *Server) embedImage(ctx context.Context, _ *http.Request, req *request) (*answer, error) {
	m, err := s.model(req.Model)
	if err != nil {
		return nil, err
	}
	p, err := s.subject(req, m)
	if err != nil {
		return nil, err
	}
	e, err := p.encoded(ctx, s, m, req.Options.ImageOptions)
	if err != nil {
		return nil, err
	}
	patches := e.Patches()
	width := m.description.Width
	mean := make([]float32, width)
	sums := make([]float64, width)
	for i, v := range patches {
		sums[i%width] += float64(v)
	}
	norm := 0.0
	for _, v := range sums {
		norm += v * v
	}
	for i, v := range sums {
		mean[i] = float32(v / math.Max(math.Sqrt(norm), 1e-12))
	}
	return asJSON(embedImageAnswer{Model: m.name, Width: width, Grid: gridOf(e.Geometry()), Patches: floats(patches), Mean: floats(mean)})
}

type embedTextAnswer struct {
	Model string `json:"model"`
	Width int    `json:"width"`
	Count int    `json:"count"`
	// Vectors is float32, little endian, [count, width], in base64: unit vectors.
	Vectors string `json:"vectors"`
}

func (s *Server) embedText(ctx context.Context, _ *http.Request, req *request) (*answer, error) {
	m, err := s.model(req.Model)
	if err != nil {
		return nil, err
	}
	if len(req.Texts) == 0 {
		return nil, fail(http.StatusBadRequest, "no_texts", "no texts")
	}
	if len(req.Texts) > s.config.MaxLabels {
		return nil, fail(http.StatusUnprocessableEntity, "too_many_labels", "%d texts, at most %d are allowed", len(req.Texts), s.config.MaxLabels)
	}
	for i, text := range req.Texts {
		if len(text) > 2000 || strings.TrimSpace(text) == "" {
			return nil, fail(http.StatusUnprocessableEntity, "bad_text", "text %d has %d bytes, expected words of at most 2000 bytes", i+1, len(text))
		}
	}
	vectors, err := m.engine.Texts(ctx, req.Texts)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, unknownWord(err)
	}
	return asJSON(embedTextAnswer{Model: m.name, Width: m.description.Width, Count: len(req.Texts), Vectors: floats(vectors)})
}

type imageAnswer struct {
	ID     string `json:"id"`
	Model  string `json:"model"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Grid   grid   `json:"grid"`
	// Bytes of the cache that the photo takes.
	Bytes int64 `json:"bytes"`
}

func (s *Server) addImage(ctx context.Context, _ *http.Request, req *request) (*answer, error) {
	m, err := s.model(req.Model)
	if err != nil {
		return nil, err
	}
	p, err := s.subject(req, m)
	if err != nil {
		return nil, err
	}
	if kept, ok := s.pictures.get(p.id); ok {
		p = kept
	} else {
		p.data = bytes.Clone(p.data) // without the room that it grew into while it was read
	}
	e, err := p.encoded(ctx, s, m, req.Options.ImageOptions)
	if err != nil {
		return nil, err
	}
	g := e.Geometry()
	if err := s.keep(p); err != nil {
		return nil, err
	}
	made, err := asJSON(imageAnswer{ID: p.id, Model: m.name, Width: g.ImageW, Height: g.ImageH, Grid: gridOf(g), Bytes: p.bytes()})
	if err == nil {
		made.status = http.StatusCreated
	}
	return made, err
}

func (s *Server) dropImage(w http.ResponseWriter, r *http.Request) {
	if !s.pictures.drop(r.PathValue("id")) {
		writeFailure(w, fail(statusNotFound, "unknown_image", "image %s is not in the cache", quoted(r.PathValue("id"))), requestID(r.Context()))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

type modelsAnswer struct {
	Models []Description `json:"models"`
	Limits limits        `json:"limits"`
}

type limits struct {
	Bytes   int64 `json:"bytes"`
	Pixels  int   `json:"pixels"`
	Labels  int   `json:"labels"`
	Patches int   `json:"patches"`
	Size    int   `json:"size"`
}

func (s *Server) listModels(w http.ResponseWriter, r *http.Request) {
	list := modelsAnswer{Limits: limits{
		Bytes: s.config.MaxBytes, Pixels: s.config.MaxPixels, Labels: s.config.MaxLabels, Patches: s.config.MaxPatches, Size: s.config.MaxSize,
	}}
	for _, m := range s.models {
		list.Models = append(list.Models, m.description)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(list)
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.stopping.Load() {
		writeFailure(w, failureOf(r.Context(), errStopped), requestID(r.Context()))
		return
	}
	s.health(w, r)
}

// floats codes numbers as clients read them with one call: base64 of little-endian float32.
func floats(values []float32) string {
	raw := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// stem is the client's file name without folders and ending, for the names of what is downloaded.
func stem(fileName string) string {
	base := filepath.Base(strings.ReplaceAll(fileName, `\`, "/"))
	base = strings.TrimSuffix(base, filepath.Ext(base))
	base = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\/:*?<>|`, r) {
			return '_'
		}
		return r
	}, base)
	if base == "" || base == "." || base == "/" || base == "_" {
		return "photo"
	}
	return base[:min(len(base), 80)]
}
