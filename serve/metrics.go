package serve

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what Prometheus reads, in a registry of their own.
type metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	rejected    *prometheus.CounterVec
	panics      prometheus.Counter
	batch       prometheus.Histogram
	imageHits   prometheus.Counter
	imageMisses prometheus.Counter
	wordHits    prometheus.Counter
	wordMisses  prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pacl_requests_total", Help: "Requests answered, by route and status."}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pacl_request_seconds", Help: "Time from the first byte of a request to the end of its answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}, []string{"route"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pacl_rejected_total", Help: "Requests refused before any work, by reason."}, []string{"reason"}),
		panics: counter("pacl_panics_total", "Requests that ended in a panic."),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pacl_batch_size", Help: "Photos that were encoded together.", Buckets: []float64{1, 2, 4, 8, 16, 32}}),
		imageHits:   counter("pacl_image_cache_hits_total", "Patch vectors that were found in the cache."),
		imageMisses: counter("pacl_image_cache_misses_total", "Patch vectors that had to be computed."),
		wordHits:    counter("pacl_text_cache_hits_total", "Labels whose vectors were found in the cache."),
		wordMisses:  counter("pacl_text_cache_misses_total", "Labels whose vectors had to be computed."),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.rejected, m.panics, m.batch, m.imageHits, m.imageMisses, m.wordHits,
		m.wordMisses, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watch registers what is read off the server itself.
func (m *metrics) watch(s *Server) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("pacl_queue_requests", "Requests that wait or run.", func() float64 { return float64(len(s.queue)) })
	gauge("pacl_queue_limit", "Requests that may wait or run.", func() float64 { return float64(cap(s.queue)) })
	gauge("pacl_body_bytes", "Bytes of requests that are held.", func() float64 { return float64(s.bodies.used.Load()) })
	gauge("pacl_image_cache_bytes", "Bytes of photos and patch vectors that are kept.", func() float64 {
		_, bytes := s.pictures.size()
		return float64(bytes)
	})
	gauge("pacl_image_cache_entries", "Photos that are kept.", func() float64 {
		entries, _ := s.pictures.size()
		return float64(entries)
	})
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

func (m *metrics) observe(route string, status int, elapsed time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(elapsed.Seconds())
}
