// Package bench times the engine on architectures with random weights: no file is needed, and the processor's limit is
// measured in the same run. Every number is a median of several runs.
package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/internal/usage"
)

// Result is what a benchmark measured.
type Result struct {
	Work    string `json:"work"`
	Arch    string `json:"arch,omitempty"`
	Shape   string `json:"shape"` // in words
	Batch   int    `json:"batch,omitempty"`
	DType   string `json:"dtype"`
	Set     string `json:"instruction_set"`
	Workers int    `json:"workers"`
	Runs    int    `json:"runs"`

	MSPerImage   float64 `json:"ms_per_image,omitempty"`
	MSPerText    float64 `json:"ms_per_text,omitempty"`
	MSPerStep    float64 `json:"ms_per_step,omitempty"`
	MSPerProduct float64 `json:"ms_per_product,omitempty"`
	// FastestMS and SlowestMS are the extremes of the runs, for the same unit.
	FastestMS float64 `json:"fastest_ms"`
	SlowestMS float64 `json:"slowest_ms"`
	// ProcessorMS is the processor time of a unit, of all cores: what else the machine does is not in it.
	ProcessorMS float64 `json:"processor_ms"`

	GFLOP float64 `json:"gflop"` // of a unit
	// GFLOPS and PeakGFLOPS are by the clock, the peak being that of all workers; Share is their quotient.
	GFLOPS     float64 `json:"gflops"`
	PeakGFLOPS float64 `json:"peak_gflops"`
	Share      float64 `json:"share"`
	// ProcessorShare is the share of a core's peak by processor time.
	ProcessorShare float64 `json:"processor_share"`
	RSSMB          float64 `json:"rss_mb"` // the most that was resident, in MiB

	Parts []Part `json:"parts,omitempty"`
	unit  string
}

// Part is one stage of a benchmark, median milliseconds by the clock and by processor time.
type Part struct {
	Name        string  `json:"name"`
	MS          float64 `json:"ms"`
	ProcessorMS float64 `json:"processor_ms"`
}

// Lines describe a result to people.
func (r Result) Lines() []string {
	head := fmt.Sprintf("%s: %s, %s, %s on %d workers", r.Work, r.Shape, r.DType, r.Set, r.Workers)
	if r.Arch != "" {
		head = fmt.Sprintf("%s of %s: %s, %s, %s on %d workers", r.Work, r.Arch, r.Shape, r.DType, r.Set, r.Workers)
	}
	lines := []string{
		head,
		fmt.Sprintf("  %.5g ms %s (median of %d, %.5g to %.5g), %.5g ms of processor time", r.milliseconds(), article(r.unit), r.Runs,
			r.FastestMS, r.SlowestMS, r.ProcessorMS),
		fmt.Sprintf("  %.1f GFLOP/s, %.0f %% of the measured peak of %.1f; by processor time %.0f %%", r.GFLOPS, 100*r.Share, r.PeakGFLOPS, 100*r.ProcessorShare),
	}
	for _, p := range r.Parts {
		lines = append(lines, fmt.Sprintf("  %s: %.5g ms, %.5g ms of processor time", p.Name, p.MS, p.ProcessorMS))
	}
	return append(lines, fmt.Sprintf("  %.0f MB resident at most", r.RSSMB))
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

func (r Result) milliseconds() float64 {
	return max(r.MSPerImage, r.MSPerText, r.MSPerStep, r.MSPerProduct)
}

// Options are those of all benchmarks.
type Options struct {
	Precision kernel.Precision
	Runs      int // 0 = 5
}

// stopwatch measures stages of a run.
type stopwatch struct {
	names []string
	spans map[string][]span
}

type span struct{ wall, processor time.Duration }

// time runs a stage.
func (s *stopwatch) time(name string, f func() error) error {
	start, used := time.Now(), usage.Processor()
	err := f()
	if s.spans == nil {
		s.spans = make(map[string][]span)
	}
	if _, ok := s.spans[name]; !ok {
		s.names = append(s.names, name)
	}
	s.spans[name] = append(s.spans[name], span{time.Since(start), usage.Processor() - used})
	return err
}

func (s *stopwatch) parts() []Part {
	var parts []Part
	for _, name := range s.names {
		spans := s.spans[name][1:] // the first run warms up
		parts = append(parts, Part{
			name,
			milliseconds(median(spans, func(s span) time.Duration { return s.wall })),
			milliseconds(median(spans, func(s span) time.Duration { return s.processor })),
		})
	}
	return parts
}

// measure runs f once to warm up and then Runs times, the peak being measured beside each run. One run is count units of
// flops operations each.
func (o Options) measure(ctx context.Context, r Result, unit string, count int, flops float64, f func(*stopwatch) error) (Result, error) {
	if o.Runs == 0 {
		o.Runs = 5
	}
	if o.Runs < 1 || o.Runs > 10_000 {
		return r, fmt.Errorf("%d runs, expected 1 to 10000", o.Runs)
	}
	r.unit, r.DType, r.Set, r.Workers, r.Runs, r.GFLOP = unit, o.Precision.String(), kernel.Name(), kernel.Workers(), o.Runs, flops/1e9
	var watch stopwatch
	if err := f(&watch); err != nil {
		return r, err
	}
	peak, corePeak := 0.0, 0.0
	limit := func() {
		for range 2 {
			start, used := time.Now(), usage.Processor()
			done := kernel.Spin(o.Precision, r.Workers)
			peak = max(peak, done/time.Since(start).Seconds())
			if used := usage.Processor() - used; used > 0 {
				corePeak = max(corePeak, done/used.Seconds())
			}
		}
	}
	var spans []span
	for range o.Runs {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		limit()
		start, used := time.Now(), usage.Processor()
		if err := f(&watch); err != nil {
			return r, err
		}
		spans = append(spans, span{time.Since(start), usage.Processor() - used})
	}
	limit()
	per := func(d time.Duration) float64 { return milliseconds(d) / float64(count) }
	wall := func(s span) time.Duration { return s.wall }
	ms := per(median(spans, wall))
	r.FastestMS = per(slices.MinFunc(spans, func(a, b span) int { return int(a.wall - b.wall) }).wall)
	r.SlowestMS = per(slices.MaxFunc(spans, func(a, b span) int { return int(a.wall - b.wall) }).wall)
	r.ProcessorMS = per(median(spans, func(s span) time.Duration { return s.processor }))
	r.GFLOPS, r.PeakGFLOPS = flops/ms/1e6, peak/1e9
	r.Share = r.GFLOPS / r.PeakGFLOPS
	r.ProcessorShare = flops / (r.ProcessorMS / 1e3) / corePeak
	r.RSSMB = float64(usage.PeakResident()) / (1 << 20)
	r.Parts = watch.parts()
	switch unit {
	case "image":
		r.MSPerImage = ms
	case "text":
		r.MSPerText = ms
	case "step":
		r.MSPerStep = ms
	default:
		r.MSPerProduct = ms
	}
	return r, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(spans []span, of func(span) time.Duration) time.Duration {
	values := make([]time.Duration, len(spans))
	for i, s := range spans {
		values[i] = of(s)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

// noise returns n numbers with deviation 1, always the same ones for a seed.
func noise(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 0x62656e6368))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}
