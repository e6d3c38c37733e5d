//go:build unix

package evaluate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// regions are ids of 640x480 pixels: the nearest of some random sites, looked up up to jitter pixels away from the pixel
// itself, so that borders are ragged and cost a PNG decoder what those of drawn masks do or more.
func regions(r *rand.Rand, sites, jitter int, id func() uint8) []uint8 {
	const w, h = 640, 480
	type site struct {
		x, y int
		id   uint8
	}
	all := make([]site, sites)
	for i := range all {
		all[i] = site{r.IntN(w), r.IntN(h), id()}
	}
	ids := make([]uint8, w*h)
	for i := range ids {
		x, y := i%w+r.IntN(2*jitter+1)-jitter, i/w+r.IntN(2*jitter+1)-jitter
		nearest := 1 << 30
		for _, s := range all {
			if d := (x-s.x)*(x-s.x) + (y-s.y)*(y-s.y); d < nearest {
				nearest, ids[i] = d, s.id
			}
		}
	}
	return ids
}

// writePairs writes COCO-Stuff masks and predictions of 640x480 pixels: some distinct pairs, linked under as many names as
// are asked for.
func writePairs(t testing.TB, pairs, distinct, sites, jitter int) (root, predictions string) {
	t.Helper()
	tr := newTree(t)
	r := rand.New(rand.NewPCG(uint64(sites), uint64(jitter)))
	stuff := func() uint8 {
		if id := r.IntN(171); id < 80 { // a thing or a stuff, as the ids of the files go
			return []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}[id%11]
		}
		return uint8(91 + r.IntN(91))
	}
	tr.photo("photo.jpg", 8, 8)
	for k := range distinct {
		tr.write(fmt.Sprintf("truth-%d.png", k), encodePNG(t, palettedMask(640, regions(r, sites, jitter, stuff))))
		tr.write(fmt.Sprintf("given-%d.png", k), encodePNG(t, palettedMask(640, regions(r, sites, jitter, func() uint8 { return uint8(r.IntN(171)) }))))
	}
	predictions = filepath.Join(tr.root, "predictions")
	for _, folder := range []string{"val2017", "stuffthingmaps/val2017", "predictions"} {
		if err := os.MkdirAll(filepath.Join(tr.root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for k := range pairs {
		name := fmt.Sprintf("%012d", k)
		for from, to := range map[string]string{
			"photo.jpg":                             "val2017/" + name + ".jpg",
			fmt.Sprintf("truth-%d.png", k%distinct): "stuffthingmaps/val2017/" + name + ".png",
			fmt.Sprintf("given-%d.png", k%distinct): "predictions/" + name + ".png",
		} {
			if err := os.Link(filepath.Join(tr.root, from), filepath.Join(tr.root, to)); err != nil {
				t.Skipf("no hard links here: %v", err)
			}
		}
	}
	return tr.root, predictions
}

func scorePairs(t testing.TB, root, predictions string) *SegmentationResult {
	t.Helper()
	d, err := Open("coco-stuff", root, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := ScorePredictions(t.Context(), d, predictions, Protocol{}, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// 171 classes, 640x480 pixels, truth and prediction decoded from PNG, on all processors.
func BenchmarkScorePairs(b *testing.B) {
	for _, kind := range []struct {
		name          string
		sites, jitter int
	}{{"smooth", 40, 0}, {"ragged", 120, 3}, {"noise", 120, 400}} {
		b.Run(kind.name, func(b *testing.B) {
			const pairs = 16
			root, predictions := writePairs(b, pairs, 4, kind.sites, kind.jitter)
			for b.Loop() {
				scorePairs(b, root, predictions)
			}
			b.ReportMetric(float64(b.N*pairs)/b.Elapsed().Seconds(), "pairs/s")
		})
	}
}

// PACL_SCORE_PAIRS=5000 scores as many pairs of masks on two processors, at 150 a second or more. The rate by processor time
// is what it would be on two processors that nobody else uses.
func TestThroughput(t *testing.T) {
	pairs, err := strconv.Atoi(os.Getenv("PACL_SCORE_PAIRS"))
	if err != nil {
		t.Skip("PACL_SCORE_PAIRS is not set to a number of pairs")
	}
	const least, processors = 150, 2 // pairs a second
	root, predictions := writePairs(t, pairs, 50, 120, 3)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
	started, used := time.Now(), processorTime(t)
	result := scorePairs(t, root, predictions)
	rate := float64(pairs) / time.Since(started).Seconds()
	free := float64(pairs) / (processorTime(t) - used).Seconds() * processors
	t.Logf("%d pairs, %.0f a second, %.0f by processor time, mIoU %.4f", result.Images, rate, free, result.MIoU)
	if result.Images != pairs || free < least {
		t.Errorf("%d pairs at %.0f a second, expected %d at %d or more", result.Images, free, pairs, least)
	}
}

// processorTime is what the process has used so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
