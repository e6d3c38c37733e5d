package serve

import (
	"bufio"
	"bytes"
	"context"
	"hash/crc32"
	"io"
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
