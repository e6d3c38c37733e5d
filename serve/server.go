package serve

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/pacl/pacl"
)

// Config of a service. Zero fields take the defaults that Defaults gives.
type Config struct {
	// Models are served under the names they describe themselves by; the first answers requests that name none.
	Models []Engine
	// Token, where set, must be sent as "Authorization: Bearer TOKEN" with everything but the page and the probes.
	Token string
	// Origins are the web origins whose pages may use the service; none by default.
	Origins []string
	// Hosts are the names under which the service is reached besides addresses and localhost. A request for another
	// name is refused while the service listens on a loopback address only: it comes from a page that has its name
	// resolve to this machine.
	Hosts []string
	// TLS, where set, makes Serve speak it.
	TLS *tls.Config

	MaxBytes   int64 // of one photo
	MaxPixels  int   // of one photo
	MaxLabels  int   // labels and synonyms of one request
	MaxPatches int   // of one encoding
	MaxSize    int   // short side of the encoder's input
	MaxBatch   int   // photos that are encoded together
	Queue      int   // requests that wait or run; the next one gets 429
	Clients    int   // connections that are open at once; the next one waits to be accepted
	BodyBytes  int64 // of all requests and answers that are held at once
	// DecodedBytes bounds the photos that are decoded at once: a small file can hold many pixels. What does not fit waits.
	DecodedBytes int64
	CacheBytes   int64 // of photos and patch vectors that are kept

	ReadTimeout    time.Duration // for the whole of a request to arrive
	RequestTimeout time.Duration // for its answer to be made
	WriteTimeout   time.Duration // for the answer to leave
	DrainTimeout   time.Duration // for what was begun to be finished at a stop
	// StopDelay is how long a service that was told to stop still takes requests, so that whatever sends them has time to
	// see that it is not ready any more, and clients that keep connections are told to close them.
	StopDelay time.Duration

	Log *slog.Logger
}

// Defaults fills the fields of a configuration that are zero.
func (c Config) Defaults() Config {
	set := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	set64 := func(field *int64, value int64) {
		if *field <= 0 {
			*field = value
		}
	}
	setTime := func(field *time.Duration, value time.Duration) {
		if *field <= 0 {
			*field = value
		}
	}
	set64(&c.MaxBytes, 32<<20)
	set(&c.MaxPixels, 50_000_000)
	set(&c.MaxLabels, 1000)
	set(&c.MaxPatches, 20_000)
	set(&c.MaxSize, 1344)
	set(&c.MaxBatch, 8)
	set(&c.Queue, 64)
	set(&c.Clients, 1024)
	set64(&c.BodyBytes, 512<<20)
	set64(&c.DecodedBytes, 1<<30)
	set64(&c.CacheBytes, 512<<20)
	setTime(&c.ReadTimeout, 30*time.Second)
	setTime(&c.RequestTimeout, time.Minute)
	setTime(&c.WriteTimeout, 30*time.Second)
	setTime(&c.DrainTimeout, time.Minute)
	setTime(&c.StopDelay, 300*time.Millisecond)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// model is an engine with what the service adds to it.
type model struct {
	name        string
	engine      Engine
	description Description
	batches     *batches
}

// Server answers requests. It is made by New and must be closed.
type Server struct {
	config   Config
	models   []*model
	metrics  *metrics
	pictures *lru[*picture]
	words    *lru[LabelVectors]
	secret   []byte

	queue    chan struct{}
	cores    chan struct{}
	decoded  *semaphore.Weighted
	bodies   budget
	stopping atomic.Bool
	loopback atomic.Bool
	// pace is a running mean of the seconds that a request takes from the queue to its answer, as float64 bits.
	pace atomic.Uint64

	handler http.Handler
}

// New makes a server of the models.
func New(config Config) (*Server, error) {
	config = config.Defaults()
	if len(config.Models) == 0 {
		return nil, errors.New("serve: no model")
	}
	s := &Server{
		config:   config,
		metrics:  newMetrics(),
		pictures: newLRU[*picture](config.CacheBytes),
		words:    newLRU[LabelVectors](64 << 20),
		secret:   make([]byte, 32),
		queue:    make(chan struct{}, config.Queue),
		cores:    make(chan struct{}, runtime.GOMAXPROCS(0)),
		decoded:  semaphore.NewWeighted(config.DecodedBytes),
		bodies:   budget{limit: config.BodyBytes},
	}
	rand.Read(s.secret)
	seen := make(map[string]bool)
	for _, engine := range config.Models {
		d := engine.Describe()
		if d.Name == "" || seen[d.Name] {
			return nil, fmt.Errorf("serve: two models have the name %q, or one has none", d.Name)
		}
		seen[d.Name] = true
		s.models = append(s.models, &model{name: d.Name, engine: engine, description: d})
	}
	handler, err := s.routes()
	if err != nil {
		return nil, err
	}
	s.handler = handler
	for _, m := range s.models {
		m.batches = newBatches(m.engine, config.MaxBatch, func(size int) { s.metrics.batch.Update(float64(size)) })
	}
	s.metrics.watch(s)
	return s, nil
}

// Handler answers all requests.
func (s *Server) Handler() http.Handler { return s.handler }

// Close ends the workers after what they have begun.
func (s *Server) Close() {
	s.stopping.Store(true)
	for _, m := range s.models {
		m.batches.close()
	}
}

func (s *Server) modelNames() []string {
	names := make([]string, len(s.models))
	for i, m := range s.models {
		names[i] = m.name
	}
	return names
}

// Serve answers on a listener until the context ends. Then readiness is withdrawn; after Config.StopDelay no connection is
// accepted any more, and what was begun is finished within Config.DrainTimeout.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	if address, ok := listener.Addr().(*net.TCPAddr); ok {
		s.loopback.Store(address.IP.IsLoopback())
	}
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: min(10*time.Second, s.config.ReadTimeout),
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
		TLSConfig:         s.config.TLS,
	}
	listener = newLimitListener(listener, s.config.Clients)
	failed := make(chan error, 1)
	go func() {
		if s.config.TLS != nil {
			failed <- server.ServeTLS(listener, "", "")
			return
		}
		failed <- server.Serve(listener)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	s.config.Log.Info("stopping", "running", len(s.queue))
	// From now on answers close their connections, so that no client sends its next request into a closing one.
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-time.After(s.config.StopDelay):
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.DrainTimeout)
	defer cancel()
	err := server.Shutdown(drain)
	if err != nil {
		server.Close()
		return fmt.Errorf("serve: requests were still running after %v: %w", s.config.DrainTimeout, err)
	}
	<-failed
	s.config.Log.Info("stopped")
	return nil
}

// enter takes a place in the queue. The returned function gives it back.
func (s *Server) enter() (leave func(), err error) {
	select {
	case s.queue <- struct{}{}:
	default:
		s.metrics.rejected("queue")
		failure := busy(fmt.Sprintf("%d requests are waiting", s.config.Queue))
		seconds := math.Float64frombits(s.pace.Load())
		failure.RetryAfter = int(max(1, min(60, math.Ceil(seconds))))
		return nil, failure
	}
	started := time.Now()
	return func() {
		old := math.Float64frombits(s.pace.Load())
		s.pace.Store(math.Float64bits(0.9*old + 0.1*time.Since(started).Seconds()))
		<-s.queue
	}, nil
}

// compute waits for one of the processor's cores, so that what many requests decode and draw at once is bounded.
func (s *Server) compute(ctx context.Context) (release func(), err error) {
	select {
	case s.cores <- struct{}{}:
		return func() { <-s.cores }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// vocabulary returns the text vectors of labels. Those of labels that were asked for before, in whatever list, come from
// the cache, so that another word costs the encoding of that word.
func (s *Server) vocabulary(ctx context.Context, m *model, labels []pacl.Label) ([]LabelVectors, error) {
	vectors := make([]LabelVectors, len(labels))
	keys := make([]string, len(labels))
	var missing []int
	var unknown []pacl.Label
	for i, label := range labels {
		keys[i] = labelKey(m, label)
		v, ok := s.words.get(keys[i])
		if !ok {
			missing, unknown = append(missing, i), append(unknown, label)
			continue
		}
		vectors[i] = v
	}
	s.metrics.wordHits.Add(len(labels) - len(missing))
	s.metrics.wordMisses.Add(len(missing))
	if len(missing) == 0 {
		return vectors, nil
	}
	found, err := m.engine.Labels(ctx, unknown)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, unknownWord(err)
	}
	if len(found) != len(missing) {
		return nil, fmt.Errorf("vocabulary: vectors of %d labels for %d", len(found), len(missing))
	}
	for n, i := range missing {
		vectors[i] = found[n]
		s.words.put(keys[i], found[n], int64(2*len(keys[i])+len(labels[i].Words)*m.description.Width*4))
	}
	return vectors, nil
}

// limitListener bounds the open connections.
type limitListener struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	ended atomic.Bool
}

func newLimitListener(l net.Listener, n int) *limitListener {
	return &limitListener{Listener: l, slots: make(chan struct{}, n), done: make(chan struct{})}
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitConn{Conn: conn, slots: l.slots}, nil
}

func (l *limitListener) Close() error {
	if !l.ended.Swap(true) {
		close(l.done)
	}
	return l.Listener.Close()
}

type limitConn struct {
	net.Conn
	slots chan struct{}
	ended atomic.Bool
}

func (c *limitConn) Close() error {
	err := c.Conn.Close()
	if !c.ended.Swap(true) {
		<-c.slots
	}
	return err
}

// CloseWrite is asked for by net/http, which lets a client read its answer before the connection is reset.
func (c *limitConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

var _ io.Closer = (*limitConn)(nil)
