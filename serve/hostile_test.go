package serve

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pacl/pacl/internal/kernel"
)

func crc(data []byte) uint32 { return crc32.ChecksumIEEE(data) }

// raw sends bytes as they are and returns the status of what comes back, 0 for nothing.
func (f *fixture) raw(text string, closeAfter bool) int {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		f.t.Fatal(err)
	}
	if closeAfter {
		conn.(*net.TCPConn).CloseWrite()
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// TestHostileClients lets each kind of bad client come while a good one goes on being served.
func TestHostileClients(t *testing.T) {
	f := start(t, func(c *Config, _ *colourEngine) { c.ReadTimeout = 300 * time.Millisecond })
	stop := make(chan struct{})
	var good sync.WaitGroup
	var served atomic.Int64
	photo := halves(40, 40)
	good.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if r := f.do("POST", "/v1/segment?labels=red,blue", "image/png", bytes.NewReader(photo)); r.status != 200 {
				t.Errorf("the good client: %d %s", r.status, r.body)
			}
			served.Add(1)
		}
	})
	const head = "POST /v1/segment?labels=red HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
	var bad sync.WaitGroup
	for name, c := range map[string]struct {
		text  string
		close bool
		want  []int
	}{
		"stalls in the head": {"POST /v1/segment HTTP/1.1\r\nHost: loc", false, []int{0, 400, 408}},
		"stalls in the body": {head + "Content-Length: 1000\r\n\r\nabc", false, []int{408}},
		"half a body":        {head + "Content-Length: 1000\r\n\r\nabc", true, []int{400, 0}},
		"announces 1 GB":     {head + "Content-Length: 1073741824\r\n\r\nabc", false, []int{413}},
		"negative length":    {head + "Content-Length: -5\r\n\r\nabc", false, []int{400}},
		"two lengths":        {head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabc", false, []int{400}},
		"broken chunks":      {head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", false, []int{400}},
		"huge header":        {head + "X-Long: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", false, []int{431, 0}},
		"no HTTP":            {"hello\r\n\r\n", false, []int{400}},
	} {
		for range 3 {
			bad.Go(func() {
				if name == "huge header" {
					// The answer may come before all of it is sent.
					f.t.Helper()
					conn, err := net.Dial("tcp", f.address)
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					conn.SetDeadline(time.Now().Add(5 * time.Second))
					io.WriteString(conn, c.text)
					return
				}
				got := f.raw(c.text, c.close)
				for _, want := range c.want {
					if got == want {
						return
					}
				}
				t.Errorf("%s: %d, want one of %v", name, got, c.want)
			})
		}
	}
	// One that really sends a gigabyte, in chunks, without announcing it.
	bad.Go(func() {
		reader := io.LimitReader(zeros{}, 1<<30)
		request, _ := http.NewRequest("POST", f.URL+"/v1/segment?labels=red", reader)
		request.Header.Set("Content-Type", "image/png")
		response, err := f.client.Do(request)
		if err != nil {
			return // the connection may be cut before the answer is read
		}
		response.Body.Close()
		if response.StatusCode != 413 && response.StatusCode != 408 {
			t.Errorf("a gigabyte: %d", response.StatusCode)
		}
	})
	bad.Wait()
	close(stop)
	good.Wait()
	if served.Load() == 0 {
		t.Error("the good client was never served")
	}
	if held := f.server.bodies.used.Load(); held != 0 {
		t.Errorf("%d bytes of requests are still accounted for", held)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestBodyBudget(t *testing.T) {
	f := start(t, func(c *Config, _ *colourEngine) { c.BodyBytes = 200_000 })
	r := f.do("POST", "/v1/segment?labels=red", "image/png", bytes.NewReader(make([]byte, 1<<20)))
	if r.status != http.StatusTooManyRequests {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := f.do("POST", "/v1/segment?labels=red", "image/png", bytes.NewReader(halves(40, 40))); r.status != 200 {
		t.Errorf("afterwards: %d %s", r.status, r.body)
	}
}

// TestStopLosesNothing stops the service under load. Whatever the service began is answered in full; a client gets an error
// only for a request that never reached it, because its connection was still waiting to be accepted or was idle.
func TestStopLosesNothing(t *testing.T) {
	kernel.Parallel(2*runtime.GOMAXPROCS(0), func(int, int) {})
	before := runtime.NumGoroutine()
	server, err := New(Config{Models: []Engine{&colourEngine{name: "colours"}}, StopDelay: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var begun atomic.Int64
	inner := server.handler
	server.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun.Add(1)
		inner.ServeHTTP(w, r)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	address := "http://" + listener.Addr().String()

	var clients sync.WaitGroup
	var answered atomic.Int64
	photo := halves(200, 200)
	for range 16 {
		clients.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for {
				response, err := client.Post(address+"/v1/segment?labels=red,blue", "image/png", bytes.NewReader(photo))
				if err != nil {
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != 200 {
					t.Errorf("%d %v", response.StatusCode, err)
				}
				answered.Add(1)
			}
		})
	}
	for answered.Load() < 100 {
		runtime.Gosched()
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	clients.Wait()
	if begun.Load() != answered.Load() {
		t.Errorf("%d requests were begun, %d answered", begun.Load(), answered.Load())
	}
	server.Close()
	settle(t, before)
}

// TestManyPixelsInFewBytes sends more photos at once than may be decoded at once: the others wait, none is lost, and a
// client that goes away gives its room back.
func TestManyPixelsInFewBytes(t *testing.T) {
	hold := make(chan struct{})
	photo := halves(100, 100)
	f := start(t, func(c *Config, e *colourEngine) {
		c.DecodedBytes = 2*decodedBytes*100*100 + 1
		e.hold, e.entered = hold, make(chan int, 10)
	})
	pending := func() int {
		b := f.server.models[0].batches
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.pending)
	}
	var all sync.WaitGroup
	leaving, leave := context.WithCancel(context.Background())
	ask := func(ctx context.Context, labels string, want int) {
		all.Go(func() {
			request, _ := http.NewRequestWithContext(ctx, "POST", f.URL+"/v1/segment?labels="+labels, bytes.NewReader(photo))
			request.Header.Set("Content-Type", "image/png")
			response, err := f.client.Do(request)
			status := 0
			if err == nil {
				status = response.StatusCode
				response.Body.Close()
			}
			if status != want {
				t.Errorf("status %d, want %d: %v", status, want, err)
			}
		})
	}
	until := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); !holds(); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	ask(context.Background(), "red", 200)
	<-f.engine.entered
	ask(leaving, "red", 0)
	until("the second photo is not decoded", func() bool { return pending() == 1 })
	for range 4 {
		ask(context.Background(), "red", 200)
	}
	until("the requests do not arrive", func() bool { return len(f.server.queue) == 6 })
	if f.server.decoded.TryAcquire(decodedBytes * 100 * 100) {
		t.Error("there is room for a third photo")
	}
	leave()
	until("the photo of a client that went away stays", func() bool { return len(f.server.queue) == 5 })
	until("its room was not taken by the next one", func() bool { return pending() == 1 })
	close(hold)
	all.Wait()
	until("room is not given back", func() bool { return f.server.decoded.TryAcquire(2 * decodedBytes * 100 * 100) })
}

// TestClientsThatDoNotRead ask for large answers and leave them lying: their bytes are accounted for, others are told that
// the service is busy rather than given more memory, and the deadline for writing ends them.
func TestClientsThatDoNotRead(t *testing.T) {
	noise := image.NewNRGBA(image.Rect(0, 0, 400, 400))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise.Pix {
		noise.Pix[i] = uint8(random.Uint32())
	}
	var photo bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.NoCompression}).Encode(&photo, noise); err != nil {
		t.Fatal(err)
	}
	// ask reads the status of an answer and no more.
	ask := func(f *fixture, id string) (net.Conn, int) {
		t.Helper()
		conn, err := net.Dial("tcp", f.address)
		if err != nil {
			t.Fatal(err)
		}
		conn.(*net.TCPConn).SetReadBuffer(4096)
		body := `{"image_id":"` + id + `","labels":"red,blue","format":"overlay"}`
		fmt.Fprintf(conn, "POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			len(body), body)
		var status int
		if _, err := fmt.Fscanf(conn, "HTTP/1.1 %d", &status); err != nil {
			t.Fatal(err)
		}
		return conn, status
	}
	nothingHeld := func(f *fixture) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); f.server.bodies.used.Load() > 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%d bytes are still held", f.server.bodies.used.Load())
			}
		}
	}
	keep := func(f *fixture) string {
		t.Helper()
		r := f.do("POST", "/v1/images", "image/png", bytes.NewReader(photo.Bytes()))
		if r.status != http.StatusCreated {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return decode[imageAnswer](t, r).ID
	}
	t.Run("no memory for more", func(t *testing.T) {
		f := start(t, func(c *Config, _ *colourEngine) { c.BodyBytes = 2 << 20 })
		id := keep(f)
		var conns []net.Conn
		last := 0
		for len(conns) < 20 && last != http.StatusTooManyRequests {
			var conn net.Conn
			conn, last = ask(f, id)
			conns = append(conns, conn)
		}
		if len(conns) < 2 || last != http.StatusTooManyRequests {
			t.Errorf("answer %d of those left lying has status %d, want 429 from some on", len(conns), last)
		}
		for _, conn := range conns {
			conn.Close()
		}
		nothingHeld(f)
		if r := f.postJSON("/v1/segment", map[string]any{"image_id": id, "labels": "red,blue"}); r.status != 200 {
			t.Errorf("a client afterwards: %d %s", r.status, r.body)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		f := start(t, func(c *Config, _ *colourEngine) { c.WriteTimeout = 50 * time.Millisecond })
		conn, status := ask(f, keep(f))
		defer conn.Close()
		if status != http.StatusOK {
			t.Errorf("status %d", status)
		}
		nothingHeld(f)
	})
}
