package serve

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"math"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/readout"
)

// halves is a photo that is red on the left and blue on the right.
func halves(width, height int) []byte {
	picture := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.NRGBA{R: 250, A: 255}
			if x >= width/2 {
				c = color.NRGBA{B: 250, A: 255}
			}
			picture.SetNRGBA(x, y, c)
		}
	}
	var buffer bytes.Buffer
	if err := png.Encode(&buffer, picture); err != nil {
		panic(err)
	}
	return buffer.Bytes()
}

// fixture is a running service, with a check at the end that no goroutine of it is left.
type fixture struct {
	t       testing.TB
	URL     string
	address string
	client  *http.Client
	server  *Server
	engine  *colourEngine
	log     *lockedWriter
}

type lockedWriter struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedWriter) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

func (l *lockedWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start runs a service and checks at the end that nothing of it is left.
func start(t testing.TB, change func(c *Config, e *colourEngine)) *fixture {
	t.Helper()
	// The engine's workers stay for good; they are started before anything is counted.
	kernel.Parallel(2*runtime.GOMAXPROCS(0), func(int, int) {})
	before := runtime.NumGoroutine()
	t.Cleanup(func() { settle(t, before) })
	return launch(t, change)
}

// launch runs a service until the test ends.
func launch(t testing.TB, change func(c *Config, e *colourEngine)) *fixture {
	t.Helper()
	f := &fixture{t: t, engine: &colourEngine{name: "colours"}, log: new(lockedWriter), client: &http.Client{Transport: &http.Transport{}}}
	config := Config{Models: []Engine{f.engine}, Log: slog.New(slog.NewTextHandler(f.log, nil)), StopDelay: time.Millisecond}
	if change != nil {
		change(&config, f.engine)
	}
	server, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.server, f.address, f.URL = server, listener.Addr().String(), "http://"+listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, smallBuffers{listener}) }()
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return f
}

// smallBuffers keeps the system from taking large answers off the service's hands that nobody reads.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetWriteBuffer(16 << 10)
	}
	return conn, err
}

// settle waits until no more goroutines run than before.
func settle(t testing.TB, before int) {
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
			return
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (f *fixture) do(method, path, kind string, body io.Reader, headers ...string) reply {
	f.t.Helper()
	request, err := http.NewRequest(method, f.URL+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := f.client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, data}
}

func (f *fixture) postJSON(path string, value any, headers ...string) reply {
	f.t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.do("POST", path, "application/json", bytes.NewReader(data), headers...)
}

func decode[T any](t testing.TB, r reply) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(r.body, &value); err != nil {
		t.Fatalf("%v\n%s", err, r.body)
	}
	return value
}

func form(fields map[string]string, photo []byte) (kind string, body *bytes.Buffer) {
	body = new(bytes.Buffer)
	w := multipart.NewWriter(body)
	for name, value := range fields {
		w.WriteField(name, value)
	}
	if photo != nil {
		part, _ := w.CreateFormFile("image", "holiday photo.png")
		part.Write(photo)
	}
	w.Close()
	return w.FormDataContentType(), body
}

func TestSegmentHoweverItIsSent(t *testing.T) {
	f := start(t, nil)
	photo := halves(100, 60)
	kind, body := form(map[string]string{"labels": "red, blue|cyan, green"}, photo)
	replies := map[string]reply{
		"JSON": f.postJSON("/v1/segment", map[string]any{"image": photo, "labels": "red, blue|cyan, green"}),
		"list": f.postJSON("/v1/segment", map[string]any{"image": photo, "labels": []string{"red", "blue|cyan", "green"}}),
		"form": f.do("POST", "/v1/segment", kind, body),
		"raw":  f.do("POST", "/v1/segment?labels=red,+blue|cyan,+green", "image/png", bytes.NewReader(photo)),
	}
	for name, r := range replies {
		if r.status != 200 {
			t.Fatalf("%s: %d %s", name, r.status, r.body)
		}
		got := decode[segmentAnswer](t, r)
		if got.Width != 100 || got.Height != 60 || len(got.Labels) != 3 || got.Labels[1].Name != "blue" {
			t.Fatalf("%s: %+v", name, got)
		}
		if got.Labels[0].Share != 0.5 || got.Labels[1].Share != 0.5 || got.Labels[2].Pixels != 0 {
			t.Errorf("%s: shares %v %v %v", name, got.Labels[0].Share, got.Labels[1].Share, got.Labels[2].Share)
		}
		raw, err := base64.StdEncoding.DecodeString(got.Mask)
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		mask := picture.(*image.Paletted)
		if mask.ColorIndexAt(10, 10) != 0 || mask.ColorIndexAt(90, 10) != 1 {
			t.Errorf("%s: mask holds %d and %d", name, mask.ColorIndexAt(10, 10), mask.ColorIndexAt(90, 10))
		}
	}
}

func TestFormats(t *testing.T) {
	f := start(t, nil)
	photo := halves(100, 60)
	for _, kind := range segmentFormats {
		fields, body := form(map[string]string{"labels": "red,blue", "format": kind}, photo)
		r := f.do("POST", "/v1/segment", fields, body)
		if r.status != 200 {
			t.Fatalf("%s: %d %s", kind, r.status, r.body)
		}
		switch kind {
		case "png", "gray", "overlay":
			picture, err := png.Decode(bytes.NewReader(r.body))
			if err != nil || picture.Bounds() != image.Rect(0, 0, 100, 60) {
				t.Errorf("%s: %v %v", kind, err, picture.Bounds())
			}
			if kind == "overlay" {
				red, _, blue, _ := picture.At(10, 10).RGBA()
				plain := colour(0)
				wantRed := 250 + (int(plain.R)-250)*154/256
				if int(red>>8) != wantRed || int(blue>>8) != int(plain.B)*154/256 {
					t.Errorf("overlay: %d %d", red>>8, blue>>8)
				}
			}
		case "rle":
			results := decode[[]struct {
				Label        string
				Segmentation struct {
					Size   [2]int
					Counts string
				}
			}](t, r)
			if len(results) != 2 || results[1].Label != "blue" || results[1].Segmentation.Size != [2]int{60, 100} {
				t.Errorf("rle: %s", r.body)
			}
		case "polygons":
			set := decode[struct {
				Images      []struct{ File_name string }
				Annotations []struct{ Segmentation [][]float64 }
			}](t, r)
			if fmt.Sprint(set.Annotations[1].Segmentation) != "[[50 0 100 0 100 60 50 60]]" || set.Images[0].File_name != "holiday photo.png" {
				t.Errorf("polygons: %s", r.body)
			}
		case "labelme":
			if !bytes.Contains(r.body, []byte(`"shape_type":"polygon"`)) {
				t.Errorf("labelme: %s", r.body)
			}
		}
		if kind == "coco" && r.header.Get("Content-Disposition") != `attachment; filename="holiday photo.coco.json"` {
			t.Errorf("coco: %s", r.header.Get("Content-Disposition"))
		}
	}
	fields, body := form(map[string]string{"labels": "red,blue"}, photo)
	if r := f.do("POST", "/v1/segment", fields, body, "Accept", "image/png,*/*;q=0.5"); r.header.Get("Content-Type") != "image/png" {
		t.Errorf("Accept: image/png got %s", r.header.Get("Content-Type"))
	}
	fields, body = form(map[string]string{"labels": "red"}, photo)
	if r := f.do("POST", "/v1/heatmaps?format=png", fields, body); r.status != 200 || r.header.Get("Content-Type") != "image/png" {
		t.Errorf("heat map: %d %s", r.status, r.body)
	}
}

// TestAnotherWord keeps a photo, scores it with more and more words, and looks at what was encoded.
func TestAnotherWord(t *testing.T) {
	f := start(t, nil)
	photo := halves(80, 80)
	r := f.do("POST", "/v1/images", "image/png", bytes.NewReader(photo))
	if r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	kept := decode[imageAnswer](t, r)
	if kept.Grid.Rows != 8 || kept.Grid.X0 != 5 || kept.Grid.DX != 10 {
		t.Errorf("grid %+v", kept.Grid)
	}
	for _, labels := range []string{"red", "red,blue", "red,blue,yellow"} {
		r := f.postJSON("/v1/heatmaps", map[string]any{"image_id": kept.ID, "labels": labels})
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		got := decode[heatmapsAnswer](t, r)
		raw, err := base64.StdEncoding.DecodeString(got.Scores)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) != 4*64*len(got.Labels) {
			t.Fatalf("%d bytes of scores", len(raw))
		}
		if first := math.Float32frombits(binary.LittleEndian.Uint32(raw)); math.Abs(float64(first)-1) > 0.02 {
			t.Errorf("score of red at the upper left is %v", first)
		}
	}
	if n := f.engine.encoded.Load(); n != 1 {
		t.Errorf("the photo was encoded %d times", n)
	}
	if n := f.engine.embedded.Load(); n != 3 {
		t.Errorf("%d words were encoded, want each of three once", n)
	}
	if r := f.postJSON("/v1/segment", map[string]any{"image_id": kept.ID, "labels": "red,blue", "options": map[string]any{"stride": 4}}); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if n := f.engine.encoded.Load(); n != 2 {
		t.Errorf("a finer grid: encoded %d times in all", n)
	}
	if r := f.do("DELETE", "/v1/images/"+kept.ID, "", nil); r.status != 204 {
		t.Errorf("delete: %d", r.status)
	}
	if r := f.postJSON("/v1/segment", map[string]any{"image_id": kept.ID, "labels": "red"}); r.status != 404 {
		t.Errorf("after delete: %d", r.status)
	}
}

func TestCacheIsBounded(t *testing.T) {
	f := start(t, func(c *Config, _ *colourEngine) { c.CacheBytes = 8000 })
	var first string
	for i := range 20 {
		r := f.do("POST", "/v1/images", "image/png", bytes.NewReader(halves(60+i, 60)))
		if r.status != 201 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if i == 0 {
			first = decode[imageAnswer](t, r).ID
		}
		if _, bytes := f.server.pictures.size(); bytes > 8000 {
			t.Fatalf("the cache holds %d bytes", bytes)
		}
	}
	if r := f.postJSON("/v1/segment", map[string]any{"image_id": first, "labels": "red"}); r.status != 404 {
		t.Errorf("the oldest photo is still there: %d", r.status)
	}
}

func TestRefusals(t *testing.T) {
	f := start(t, func(c *Config, _ *colourEngine) {
		c.MaxBytes, c.MaxPixels, c.MaxLabels = 100_000, 250_000, 50
	})
	photo := halves(40, 40)
	segment := func(change map[string]any) reply {
		body := map[string]any{"image": photo, "labels": "red,blue"}
		for k, v := range change {
			if body[k] = v; v == nil {
				delete(body, k)
			}
		}
		return f.postJSON("/v1/segment", body)
	}
	noise := make([]byte, 300_000)
	many := strings.Repeat("red,", 10_000)
	cases := []struct {
		name   string
		got    reply
		status int
		code   string
	}{
		{"no labels", segment(map[string]any{"labels": ""}), 422, "bad_labels"},
		{"unknown word", segment(map[string]any{"labels": "red,aubergine"}), 422, "unknown_label"},
		{"10 000 labels", segment(map[string]any{"labels": many}), 422, "too_many_labels"},
		{"no photo", segment(map[string]any{"image": nil}), 400, "no_image"},
		{"photo and id", segment(map[string]any{"image_id": "x"}), 400, "two_images"},
		{"unknown id", segment(map[string]any{"image": nil, "image_id": "x"}), 404, "unknown_image"},
		{"unknown model", segment(map[string]any{"model": "x"}), 404, "unknown_model"},
		{"unknown format", segment(map[string]any{"format": "bmp"}), 422, "bad_format"},
		{"unknown field", segment(map[string]any{"lables": "red"}), 400, "bad_json"},
		{"labels of another kind", segment(map[string]any{"labels": 3}), 400, "bad_json"},
		{"bad stride", segment(map[string]any{"options": map[string]any{"stride": 3}}), 422, "bad_option"},
		{"bad threshold", segment(map[string]any{"options": map[string]any{"background": 2}}), 422, "bad_option"},
		{"huge size", segment(map[string]any{"options": map[string]any{"size": 100000}}), 422, "bad_option"},
		{"not a photo", segment(map[string]any{"image": []byte("hello")}), 422, "bad_image"},
		{"half a photo", segment(map[string]any{"image": photo[:len(photo)/2]}), 422, "bad_image"},
		{"an endless strip", segment(map[string]any{"image": halves(50_000, 2)}), 422, "too_many_patches"},
		{"too many bytes", segment(map[string]any{"image": noise}), 413, "too_large"},
		{"too many pixels", segment(map[string]any{"image": halves(600, 600)}), 413, "too_many_pixels"},
		{"decompression bomb", segment(map[string]any{"image": bomb(60_000, 60_000)}), 413, "too_many_pixels"},
		{"bad JSON", f.do("POST", "/v1/segment", "application/json", strings.NewReader("{")), 400, "bad_json"},
		{"two values", f.do("POST", "/v1/segment", "application/json", strings.NewReader("{} {}")), 400, "bad_json"},
		{"link", f.do("POST", "/v1/segment", "application/json", strings.NewReader(`{"image":"http://127.0.0.1/x.jpg"}`)), 400, "bad_json"},
		{"no type", f.do("POST", "/v1/segment", "", strings.NewReader("{}")), 415, "content_type"},
		{"text", f.do("POST", "/v1/segment", "text/html", strings.NewReader("{}")), 415, "content_type"},
		{"form without boundary", f.do("POST", "/v1/segment", "multipart/form-data", strings.NewReader("x")), 400, "bad_multipart"},
		{"broken form", f.do("POST", "/v1/segment", "multipart/form-data; boundary=x", strings.NewReader("--x\r\n\r\nabc")), 400, ""},
		{"bad query", f.do("POST", "/v1/segment?background=much", "image/png", bytes.NewReader(photo)), 400, "bad_field"},
		{"no text", f.postJSON("/v1/embed/text", map[string]any{}), 400, "no_texts"},
		{"unknown text", f.postJSON("/v1/embed/text", map[string]any{"texts": []string{"aubergine"}}), 422, "unknown_label"},
		{"nowhere", f.do("GET", "/v2", "", nil), 404, "not_found"},
		{"wrong method", f.do("GET", "/v1/segment", "", nil), 405, "method"},
		{"heat maps of two as PNG", f.postJSON("/v1/heatmaps", map[string]any{"image": photo, "labels": "red,blue", "format": "png"}), 422, "bad_format"},
	}
	for _, c := range cases {
		got := decode[errorBody](t, c.got)
		if c.got.status != c.status || c.code != "" && got.Error.Code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, c.got.status, c.got.body, c.status, c.code)
		}
		if got.Error.Message == "" || got.Error.RequestID == "" || got.Error.RequestID != c.got.header.Get("X-Request-Id") {
			t.Errorf("%s: %s", c.name, c.got.body)
		}
	}
	if r := segment(nil); r.status != 200 {
		t.Errorf("a good request afterwards: %d %s", r.status, r.body)
	}
	if held := f.server.bodies.used.Load(); held != 0 {
		t.Errorf("%d bytes of requests are still accounted for", held)
	}
}

// bomb is a PNG of a few bytes that announces many pixels.
func bomb(width, height uint32) []byte {
	data := halves(1, 1)
	binary.BigEndian.PutUint32(data[16:], width)
	binary.BigEndian.PutUint32(data[20:], height)
	binary.BigEndian.PutUint32(data[29:], crc(data[12:29]))
	return data
}

func TestToken(t *testing.T) {
	f := start(t, func(c *Config, _ *colourEngine) { c.Token = "hunter2" })
	for _, c := range []struct {
		path, header string
		status       int
	}{
		{"/v1/models", "", 401}, {"/v1/models", "Bearer hunter", 401}, {"/v1/models", "Basic hunter2", 401},
		{"/v1/models", "Bearer hunter2", 200}, {"/v1/models", "bearer hunter2", 200}, {"/metrics", "", 401},
		{"/healthz", "", 200}, {"/readyz", "", 200}, {"/", "", 200}, {"/openapi.json", "", 200},
	} {
		if r := f.do("GET", c.path, "", nil, "Authorization", c.header); r.status != c.status {
			t.Errorf("%s with %q: %d, want %d", c.path, c.header, r.status, c.status)
		}
	}
	if strings.Contains(f.log.String(), "hunter2") {
		t.Error("the token is in the log")
	}
}

func TestOtherOriginsAndHosts(t *testing.T) {
	f := start(t, func(c *Config, _ *colourEngine) { c.Origins = []string{"https://mine.example"} })
	post := func(headers ...string) reply {
		return f.postJSON("/v1/embed/text", map[string]any{"texts": []string{"red"}}, headers...)
	}
	if r := post("Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); r.status != 403 {
		t.Errorf("another origin: %d", r.status)
	}
	if r := post("Origin", "https://mine.example", "Sec-Fetch-Site", "cross-site"); r.status != 200 ||
		r.header.Get("Access-Control-Allow-Origin") != "https://mine.example" {
		t.Errorf("an origin that may: %d %v", r.status, r.header)
	}
	if r := post(); r.status != 200 || r.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("no origin: %d %v", r.status, r.header)
	}
	if r := f.do("OPTIONS", "/v1/segment", "", nil, "Origin", "https://mine.example", "Access-Control-Request-Method", "POST"); r.status != 204 {
		t.Errorf("preflight: %d", r.status)
	}
	if r := f.do("OPTIONS", "/v1/segment", "", nil, "Origin", "https://evil.example", "Access-Control-Request-Method", "POST"); r.status < 400 {
		t.Errorf("preflight of another origin: %d", r.status)
	}
	request := httptest.NewRequest("GET", "http://rebound.example/v1/models", nil)
	answer := httptest.NewRecorder()
	f.server.Handler().ServeHTTP(answer, request)
	if answer.Code != http.StatusMisdirectedRequest {
		t.Errorf("another host: %d", answer.Code)
	}
}

func TestQueueIsBounded(t *testing.T) {
	hold := make(chan struct{})
	f := start(t, func(c *Config, e *colourEngine) {
		c.Queue = 2
		e.hold, e.entered = hold, make(chan int, 10)
	})
	var waiting sync.WaitGroup
	for i := range 2 {
		waiting.Go(func() {
			r := f.postJSON("/v1/segment", map[string]any{"image": halves(40+i, 40), "labels": "red"})
			if r.status != 200 {
				t.Errorf("a request in the queue: %d %s", r.status, r.body)
			}
		})
	}
	<-f.engine.entered
	for len(f.server.queue) < 2 {
		runtime.Gosched()
	}
	r := f.postJSON("/v1/segment", map[string]any{"image": halves(50, 40), "labels": "red"})
	if r.status != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("beyond the queue: %d %v", r.status, r.header)
	}
	close(hold)
	waiting.Wait()
}

func TestRequestsShareBatches(t *testing.T) {
	hold := make(chan struct{})
	f := start(t, func(c *Config, e *colourEngine) {
		c.MaxBatch = 4
		e.hold, e.entered = hold, make(chan int, 20)
	})
	var all sync.WaitGroup
	ask := func(i int) {
		all.Go(func() {
			if r := f.postJSON("/v1/segment", map[string]any{"image": halves(40+i, 40), "labels": "red"}); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	ask(0)
	<-f.engine.entered
	for i := range 6 {
		ask(i + 1)
	}
	pending := func() int {
		b := f.server.models[0].batches
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.pending)
	}
	for pending() < 6 {
		runtime.Gosched()
	}
	close(hold)
	all.Wait()
	if got := fmt.Sprint(f.engine.batches); got != "[1 4 2]" {
		t.Errorf("batches of %s, want [1 4 2]", got)
	}
}

// TestPanicStaysAlone sends, in one batch, a photo at which the engine panics and two others.
func TestPanicStaysAlone(t *testing.T) {
	hold := make(chan struct{})
	f := start(t, func(_ *Config, e *colourEngine) { e.hold, e.entered = hold, make(chan int, 20) })
	var all sync.WaitGroup
	status := make([]int, 4)
	ask := func(i, width int) {
		all.Go(func() {
			r := f.postJSON("/v1/segment", map[string]any{"image": halves(width, 40), "labels": "red"})
			status[i] = r.status
			if strings.Contains(string(r.body), "unlucky") {
				t.Error("the client is told of the panic")
			}
		})
	}
	ask(0, 40)
	<-f.engine.entered
	ask(1, 41)
	ask(2, panicPhoto)
	ask(3, 42)
	for len(f.server.queue) < 4 {
		runtime.Gosched()
	}
	close(hold)
	all.Wait()
	if fmt.Sprint(status) != "[200 200 500 200]" {
		t.Errorf("answers %v", status)
	}
	if !strings.Contains(f.log.String(), "unlucky") || !strings.Contains(f.log.String(), "engine_test.go") {
		t.Error("the log lacks the panic or its stack")
	}
}

func TestClientGoesAway(t *testing.T) {
	f := start(t, func(_ *Config, e *colourEngine) { e.hold, e.entered = make(chan struct{}), make(chan int, 2) })
	ctx, cancel := context.WithCancel(context.Background())
	request, _ := http.NewRequestWithContext(ctx, "POST", f.URL+"/v1/segment?labels=red", bytes.NewReader(halves(40, 40)))
	request.Header.Set("Content-Type", "image/png")
	done := make(chan error)
	go func() {
		_, err := f.client.Do(request)
		done <- err
	}()
	<-f.engine.entered
	cancel()
	if err := <-done; err == nil {
		t.Fatal("the request succeeded")
	}
	// The engine's context ends although nobody opens the hold, so that the place in the queue becomes free.
	deadline := time.Now().Add(5 * time.Second)
	for len(f.server.queue) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the request goes on without its client")
		}
		runtime.Gosched()
	}
}

func TestTimeLimit(t *testing.T) {
	f := start(t, func(c *Config, e *colourEngine) {
		c.RequestTimeout = 30 * time.Millisecond
		e.hold = make(chan struct{})
	})
	if r := f.postJSON("/v1/segment", map[string]any{"image": halves(40, 40), "labels": "red"}); r.status != 504 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestTwoModels(t *testing.T) {
	f := start(t, func(c *Config, _ *colourEngine) { c.Models = append(c.Models, &colourEngine{name: "other"}) })
	r := f.postJSON("/v1/segment", map[string]any{"image": halves(40, 40), "labels": "red", "model": "other"})
	if got := decode[segmentAnswer](t, r); got.Model != "other" {
		t.Errorf("%s", r.body)
	}
	if _, err := New(Config{Models: []Engine{&colourEngine{name: "a"}, &colourEngine{name: "a"}}}); err == nil {
		t.Error("two models of one name")
	}
}

func TestPageAndExamples(t *testing.T) {
	f := start(t, func(c *Config, _ *colourEngine) { c.Models = append(c.Models, &colourEngine{name: "open", open: true}) })
	r := f.do("GET", "/", "", nil)
	if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") ||
		!strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("page: %d %v", r.status, r.header)
	}
	for _, outside := range []string{"http://", "https://", "//cdn"} {
		if i := bytes.Index(r.body, []byte(outside)); i >= 0 {
			t.Errorf("the page names %s", r.body[i:min(i+60, len(r.body))])
		}
	}
	// The first model knows colours only, and none of the things in the scenes.
	for _, e := range decode[[]example](t, f.do("GET", "/examples", "", nil)) {
		if e.Labels == nil || len(e.Labels) > 0 {
			t.Errorf("words that the model does not know: %q", e.Labels)
		}
	}
	list := decode[[]example](t, f.do("GET", "/examples?model=open", "", nil))
	if len(list) != len(exampleSeeds) {
		t.Fatalf("%d examples", len(list))
	}
	for _, e := range list {
		if len(e.Labels) < 2 || len(e.KoreanLabels) != len(e.Labels) || e.English == "" || e.Korean == "" {
			t.Errorf("example %+v", e)
		}
	}
	// One is drawn here; a browser has them all.
	r = f.do("GET", list[1].Source, "", nil)
	if _, err := png.Decode(bytes.NewReader(r.body)); err != nil {
		t.Errorf("%s: %v", list[1].Source, err)
	}
	if r := f.do("GET", "/examples/99.png", "", nil); r.status != 404 {
		t.Errorf("an example that is not there: %d", r.status)
	}
}

// TestOpenAPI checks that the document names the routes that exist and no others, that each handler's answers are among
// those it lists, and that their bodies fit its schemas.
func TestOpenAPI(t *testing.T) {
	f := start(t, func(_ *Config, e *colourEngine) { e.prior = readout.Prior{Weight: 0.5, Tau: 0.1} })
	var document struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Responses map[string]struct{ Content map[string]any }
		}
	}
	served := f.do("GET", "/openapi.json", "", nil)
	if err := json.Unmarshal(served.body, &document); err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for path, methods := range document.Paths {
		for method := range methods {
			listed[strings.ToUpper(method)+" "+path] = true
		}
	}
	for _, r := range f.server.table() {
		if !listed[r.pattern] {
			t.Errorf("the document lacks %s", r.pattern)
		}
		delete(listed, r.pattern)
	}
	for pattern := range listed {
		t.Errorf("the document has %s, the service has not", pattern)
	}

	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(served.body))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("file:///openapi.json", raw); err != nil {
		t.Fatal(err)
	}
	check := func(method, path string, r reply) {
		t.Helper()
		operation, ok := document.Paths[path][strings.ToLower(method)]
		if !ok {
			t.Fatalf("%s %s is not in the document", method, path)
		}
		status := fmt.Sprint(r.status)
		response, ok := operation.Responses[status]
		if !ok {
			t.Errorf("%s %s: status %s is not in the document", method, path, status)
			return
		}
		kind, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
		if _, ok := response.Content[kind]; !ok && len(r.body) > 0 {
			t.Errorf("%s %s: %s: type %s is not in the document", method, path, status, kind)
			return
		}
		if kind != "application/json" {
			return
		}
		pointer := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(path)
		schema, err := compiler.Compile("file:///openapi.json#/paths/" + pointer + "/" + strings.ToLower(method) +
			"/responses/" + status + "/content/application~1json/schema")
		if err != nil {
			t.Fatal(err)
		}
		body, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(body); err != nil {
			t.Errorf("%s %s: %s: %v", method, path, status, err)
		}
	}
	photo := halves(40, 40)
	for _, kind := range segmentFormats {
		check("POST", "/v1/segment", f.postJSON("/v1/segment", map[string]any{"image": photo, "labels": "red,blue", "format": kind}))
	}
	check("POST", "/v1/segment", f.postJSON("/v1/segment", map[string]any{}))
	check("POST", "/v1/segment", f.do("POST", "/v1/segment", "text/plain", strings.NewReader("")))
	check("POST", "/v1/heatmaps", f.postJSON("/v1/heatmaps", map[string]any{"image": photo, "labels": "red,blue"}))
	check("POST", "/v1/heatmaps", f.postJSON("/v1/heatmaps", map[string]any{"image": photo, "labels": "red", "format": "png"}))
	check("POST", "/v1/embed/image", f.postJSON("/v1/embed/image", map[string]any{"image": photo}))
	check("POST", "/v1/embed/text", f.postJSON("/v1/embed/text", map[string]any{"texts": []string{"red"}}))
	kept := f.postJSON("/v1/images", map[string]any{"image": photo})
	check("POST", "/v1/images", kept)
	check("DELETE", "/v1/images/{id}", f.do("DELETE", "/v1/images/"+decode[imageAnswer](t, kept).ID, "", nil))
	check("DELETE", "/v1/images/{id}", f.do("DELETE", "/v1/images/x", "", nil))
	for _, path := range []string{"/v1/models", "/healthz", "/readyz", "/metrics", "/openapi.json"} {
		check("GET", path, f.do("GET", path, "", nil))
	}
	f.server.stopping.Store(true)
	check("GET", "/readyz", f.do("GET", "/readyz", "", nil))
}

func TestMetrics(t *testing.T) {
	f := start(t, nil)
	f.postJSON("/v1/segment", map[string]any{"image": halves(40, 40), "labels": "red"})
	text := string(f.do("GET", "/metrics", "", nil).body)
	for _, want := range []string{
		`pacl_requests_total{route="POST /v1/segment",status="200"} 1`, "pacl_batch_size_count 1", "pacl_queue_limit 64",
		"pacl_text_cache_misses_total 1", "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	// Every metric of ours has one line of help and one of its type, and what has help is there.
	helped := map[string]bool{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) > 2 && words[1] == "HELP" && strings.HasPrefix(words[2], "pacl_"):
			if helped[words[2]] || len(words) < 5 || metricHelp[words[2]] == "" {
				t.Errorf("help: %s", line)
			}
			helped[words[2]] = true
		case strings.HasPrefix(line, "pacl_"):
			name, _, _ := strings.Cut(words[0], "{")
			if !slices.ContainsFunc([]string{"", "_bucket", "_sum", "_count"}, func(ending string) bool { return helped[strings.TrimSuffix(name, ending)] }) {
				t.Errorf("no help before %s", line)
			}
		}
	}
	for name := range metricHelp {
		if !helped[name] && name != "pacl_rejected_total" { // nothing was
			t.Errorf("%s is not there", name)
		}
	}
}
