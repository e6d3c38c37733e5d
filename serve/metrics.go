package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"

	vm "github.com/VictoriaMetrics/metrics"
)

// metrics are what Prometheus reads, in a set of their own.
type metrics struct {
	set         *vm.Set
	panics      *vm.Counter
	batch       *vm.PrometheusHistogram
	imageHits   *vm.Counter
	imageMisses *vm.Counter
	wordHits    *vm.Counter
	wordMisses  *vm.Counter
}

// metricHelp says what the names mean.
var metricHelp = map[string]string{
	"pacl_requests_total":           "Requests answered, by route and status.",
	"pacl_request_seconds":          "Time from the first byte of a request to the end of its answer.",
	"pacl_rejected_total":           "Requests refused before any work, by reason.",
	"pacl_panics_total":             "Requests that ended in a panic.",
	"pacl_batch_size":               "Photos that were encoded together.",
	"pacl_image_cache_hits_total":   "Patch vectors that were found in the cache.",
	"pacl_image_cache_misses_total": "Patch vectors that had to be computed.",
	"pacl_text_cache_hits_total":    "Labels whose vectors were found in the cache.",
	"pacl_text_cache_misses_total":  "Labels whose vectors had to be computed.",
	"pacl_queue_requests":           "Requests that wait or run.",
	"pacl_queue_limit":              "Requests that may wait or run.",
	"pacl_body_bytes":               "Bytes of requests that are held.",
	"pacl_image_cache_bytes":        "Bytes of photos and patch vectors that are kept.",
	"pacl_image_cache_entries":      "Photos that are kept.",
}

var (
	secondsBounds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	batchBounds   = []float64{1, 2, 4, 8, 16, 32}
)

func newMetrics() *metrics {
	vm.ExposeMetadata(true)
	set := vm.NewSet()
	return &metrics{
		set:         set,
		panics:      set.NewCounter("pacl_panics_total"),
		batch:       set.NewPrometheusHistogramExt("pacl_batch_size", batchBounds),
		imageHits:   set.NewCounter("pacl_image_cache_hits_total"),
		imageMisses: set.NewCounter("pacl_image_cache_misses_total"),
		wordHits:    set.NewCounter("pacl_text_cache_hits_total"),
		wordMisses:  set.NewCounter("pacl_text_cache_misses_total"),
	}
}

// watch registers what is read off the server itself.
func (m *metrics) watch(s *Server) {
	m.set.NewGauge("pacl_queue_requests", func() float64 { return float64(len(s.queue)) })
	m.set.NewGauge("pacl_queue_limit", func() float64 { return float64(cap(s.queue)) })
	m.set.NewGauge("pacl_body_bytes", func() float64 { return float64(s.bodies.used.Load()) })
	m.set.NewGauge("pacl_image_cache_bytes", func() float64 {
		_, bytes := s.pictures.size()
		return float64(bytes)
	})
	m.set.NewGauge("pacl_image_cache_entries", func() float64 {
		entries, _ := s.pictures.size()
		return float64(entries)
	})
}

// ServeHTTP answers in Prometheus' text format. The library writes lines for help, but no help.
func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	var text bytes.Buffer
	m.set.WritePrometheus(&text)
	vm.WriteProcessMetrics(&text)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for line := range strings.Lines(text.String()) {
		name, isHelp := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "# HELP ")
		if help, known := metricHelp[name]; isHelp && known {
			line = fmt.Sprintf("# HELP %s %s\n", name, help)
		}
		if _, err := w.Write([]byte(line)); err != nil {
			return
		}
	}
}

func (m *metrics) observe(route string, status int, elapsed time.Duration) {
	m.set.GetOrCreateCounter(fmt.Sprintf("pacl_requests_total{route=%q,status=\"%d\"}", route, status)).Inc()
	m.set.GetOrCreatePrometheusHistogramExt(fmt.Sprintf("pacl_request_seconds{route=%q}", route), secondsBounds).Update(elapsed.Seconds())
}

func (m *metrics) rejected(reason string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("pacl_rejected_total{reason=%q}", reason)).Inc()
}
