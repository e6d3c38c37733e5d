// Command loadtest puts the service under load on this machine's loopback address and prints what docs/service.md tells:
// requests a second and their times, resident memory, and the throughput without HTTP on the same photos: of the library in
// batches, and of what pacl segment does. All are measured in one process and take turns, as other work on a machine comes
// and goes; the processor's time for a photo depends on it least.
//
//	PACL_MODELS=../shared/models go run ./internal/loadtest --for 3m
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/usage"
	"github.com/pacl/pacl/scene"
	"github.com/pacl/pacl/serve"
)

func main() {
	model := flag.String("model", "", "model to serve; by default the one that comes with pacl")
	vision := flag.String("vision", "", "vision encoder in place of the model's")
	text := flag.String("text", "", "text encoder in place of the model's")
	labels := flag.String("labels", "person, dog, cat, car, bird, boat, horse, chair, bottle, bicycle", "labels of each request")
	clients := flag.Int("clients", 32, "clients")
	photos := flag.Int("photos", 64, "different photos of 500x375 pixels")
	duration := flag.Duration("for", 12*time.Second, "how long the clients ask, 5 minutes at most")
	flag.Parse()
	if err := run(*model, *vision, *text, *labels, *clients, *photos, min(*duration, 5*time.Minute)); err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

// figures is what the test prints.
type figures struct {
	Clients    int            `json:"clients"`
	Seconds    float64        `json:"seconds"`
	Statuses   map[string]int `json:"statuses"`
	P50        float64        `json:"p50_ms"`
	P95        float64        `json:"p95_ms"`
	P99        float64        `json:"p99_ms"`
	Service    throughput     `json:"service"`
	Library    throughput     `json:"library_in_batches"`
	Segment    throughput     `json:"pacl_segment"`
	Ratio      ratios         `json:"service_to_library"`
	RatioFiles ratios         `json:"service_to_pacl_segment"`
	AnotherMS  float64        `json:"another_word_cpu_ms"`
	MemoryMB   []float64      `json:"resident_mb"`
	Goroutines [2]int         `json:"goroutines_before_after"`
}

// throughput is of one way of segmenting photos.
type throughput struct {
	PerSecond   float64 `json:"photos_per_second"`
	ProcessorMS float64 `json:"cpu_ms_per_photo"` // of the whole process; for the service its clients included

	photos          int
	wall, processor time.Duration
}

// during adds what a piece of work did to the throughput.
func (t *throughput) during(work func() (photos int, err error)) error {
	started, began := time.Now(), usage.Processor()
	photos, err := work()
	t.photos += photos
	t.wall += time.Since(started)
	t.processor += usage.Processor() - began
	if t.photos > 0 {
		t.PerSecond = float64(t.photos) / t.wall.Seconds()
		t.ProcessorMS = float64(t.processor.Microseconds()) / 1000 / float64(t.photos)
	}
	return err
}

// ratios compare the service with another way: above 1 the service is faster.
type ratios struct {
	Wall      float64 `json:"wall"`
	Processor float64 `json:"cpu"`
}

func compare(service, other throughput) ratios {
	return ratios{Wall: service.PerSecond / other.PerSecond, Processor: other.ProcessorMS / service.ProcessorMS}
}

// rounds is how often the three ways take turns.
const rounds = 6

func run(name, vision, text, labelList string, clients, photoCount int, duration time.Duration) error {
	ctx := context.Background()
	model, err := pacl.Open(ctx, pacl.Options{Model: name, Vision: vision, Text: text})
	if err != nil {
		return err
	}
	labels, err := pacl.ParseLabels(labelList)
	if err != nil {
		return err
	}
	vocabulary, err := model.Vocabulary(ctx, labels, pacl.VocabularyOptions{})
	if err != nil {
		return err
	}
	files := make([][]byte, photoCount)
	for i := range files {
		if files[i], err = photo(uint64(i)); err != nil {
			return err
		}
	}
	folder, err := os.MkdirTemp("", "pacl-loadtest-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	paths, err := write(folder, files)
	if err != nil {
		return err
	}

	goroutines := runtime.NumGoroutine()
	service, err := serve.New(serve.Config{Models: []serve.Engine{serve.NewEngine(model, "")}, StopDelay: time.Millisecond})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- service.Serve(serving, listener) }()
	address := "http://" + listener.Addr().String()

	result := figures{Clients: clients, Statuses: make(map[string]int), MemoryMB: []float64{megabytes()}}
	var times []time.Duration
	others := min(duration/rounds/4, 5*time.Second)
	for round := range rounds + 1 {
		err := result.Library.during(func() (int, error) { return library(ctx, model, vocabulary, files, others) })
		if err != nil {
			return err
		}
		err = result.Segment.during(func() (int, error) { return segmentFiles(ctx, model, vocabulary, folder, paths, others) })
		if err != nil {
			return err
		}
		if round == rounds {
			break // the others were measured before and after every turn of the service
		}
		err = result.Service.during(func() (int, error) {
			answered, err := load(address, labelList, files, clients, duration/rounds, &result)
			times = append(times, answered...)
			return len(answered), err
		})
		if err != nil {
			return err
		}
		result.MemoryMB = append(result.MemoryMB, megabytes())
	}
	result.Seconds = result.Service.wall.Seconds()
	result.Ratio, result.RatioFiles = compare(result.Service, result.Library), compare(result.Service, result.Segment)
	if result.AnotherMS, err = anotherWord(address, labelList, files[0]); err != nil {
		return err
	}
	stop()
	if err := <-done; err != nil {
		return err
	}
	service.Close()
	slices.Sort(times)
	at := func(share float64) float64 {
		return float64(times[min(len(times)-1, int(share*float64(len(times))))].Microseconds()) / 1000
	}
	result.P50, result.P95, result.P99 = at(.50), at(.95), at(.99)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for wait := 0; wait < 100 && runtime.NumGoroutine() > goroutines; wait++ {
		time.Sleep(10 * time.Millisecond)
	}
	result.Goroutines = [2]int{goroutines, runtime.NumGoroutine()}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

// megabytes are those of memory that are resident now.
func megabytes() float64 { return float64(usage.Resident()) / (1 << 20) }

// write puts the photos into a folder, for pacl segment.
func write(folder string, files [][]byte) ([]pacl.Photo, error) {
	paths := make([]pacl.Photo, len(files))
	for i, file := range files {
		stem := fmt.Sprintf("photo%03d", i)
		paths[i] = pacl.Photo{Path: filepath.Join(folder, stem+".jpg"), Stem: stem}
		if err := os.WriteFile(paths[i].Path, file, 0o666); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// segmentFiles does what pacl segment does, sixteen photos at a time.
func segmentFiles(ctx context.Context, model *pacl.Model, v *pacl.Vocabulary, folder string, photos []pacl.Photo, duration time.Duration) (int, error) {
	started := time.Now()
	done := 0
	for time.Since(started) < duration {
		first := done % len(photos)
		some := photos[first:min(first+16, len(photos))]
		if err := model.SegmentFiles(ctx, some, v, pacl.FileOptions{Out: filepath.Join(folder, "out"), Overwrite: true}); err != nil {
			return done, err
		}
		done += len(some)
	}
	return done, nil
}

// photo is an invented scene as a JPEG of 500x375 pixels.
func photo(seed uint64) ([]byte, error) {
	picture := scene.New(scene.Options{Aspect: 4.0 / 3}, seed).Render(500, 375)
	im := image.NewNRGBA(image.Rect(0, 0, picture.Width, picture.Height))
	for p := range picture.Width * picture.Height {
		copy(im.Pix[4*p:], picture.RGB[3*p:3*p+3])
		im.Pix[4*p+3] = 255
	}
	var buffer bytes.Buffer
	err := jpeg.Encode(&buffer, im, &jpeg.Options{Quality: 90})
	return buffer.Bytes(), err
}

// grays are colours for masks.
var grays = func() color.Palette {
	palette := make(color.Palette, 256)
	for i := range palette {
		palette[i] = color.Gray{Y: uint8(i)}
	}
	return palette
}()

// library segments the photos in batches as a program does, decoding and writing masks included.
func library(ctx context.Context, model *pacl.Model, vocabulary *pacl.Vocabulary, files [][]byte, duration time.Duration) (int, error) {
	const size = 8
	started := time.Now()
	done := 0
	for time.Since(started) < duration {
		photos := make([]*imaging.Image, size)
		errs := make([]error, size)
		var all sync.WaitGroup
		for i := range photos {
			all.Go(func() { photos[i], errs[i] = imaging.Decode(files[(done+i)%len(files)], imaging.Limits{}) })
		}
		all.Wait()
		encoded, err := model.EncodeBatch(ctx, photos, pacl.ImageOptions{})
		if err != nil {
			return done, err
		}
		for i := range encoded {
			all.Go(func() {
				result, err := model.Segment(ctx, encoded[i], vocabulary, pacl.SegmentOptions{})
				if err == nil {
					err = imaging.EncodeMask(io.Discard, result.Mask, grays)
				}
				if err != nil {
					errs[i] = err
				}
			})
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return done, err
			}
		}
		done += size
	}
	return done, nil
}

// load lets the clients ask for masks until the time is over, each waiting for its answer before it asks again, and returns
// how long the good answers took.
func load(address, labels string, files [][]byte, clients int, duration time.Duration, result *figures) ([]time.Duration, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * time.Minute}
	target := address + "/v1/segment?format=png&labels=" + url.QueryEscape(labels)
	var mu sync.Mutex
	var times []time.Duration
	var all sync.WaitGroup
	end := time.Now().Add(duration)
	var firstErr error
	for c := range clients {
		all.Go(func() {
			for n := c; time.Now().Before(end); n += clients {
				asked := time.Now()
				response, err := client.Post(target, "image/jpeg", bytes.NewReader(files[n%len(files)]))
				status := "error"
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					status = fmt.Sprint(response.StatusCode)
				}
				mu.Lock()
				if err != nil && firstErr == nil {
					firstErr = err
				}
				result.Statuses[status]++
				if status == "200" && err == nil {
					times = append(times, time.Since(asked))
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(times) == 0 {
		return nil, fmt.Errorf("no request succeeded: %v, %v", result.Statuses, firstErr)
	}
	return times, nil
}

// anotherWord keeps a photo and asks for grids of scores with one word more each time; it returns the processor's time of
// the whole process for one, client included.
func anotherWord(address, labels string, file []byte) (float64, error) {
	response, err := http.Post(address+"/v1/images", "image/jpeg", bytes.NewReader(file))
	if err != nil {
		return 0, err
	}
	var kept struct{ ID string }
	err = json.NewDecoder(response.Body).Decode(&kept)
	response.Body.Close()
	if err != nil {
		return 0, err
	}
	words := strings.Split(labels, ",")
	began := usage.Processor()
	count := 0
	for range 20 {
		for n := 1; n <= len(words); n++ {
			body, _ := json.Marshal(map[string]string{"image_id": kept.ID, "labels": strings.Join(words[:n], ",")})
			response, err := http.Post(address+"/v1/heatmaps", "application/json", bytes.NewReader(body))
			if err != nil {
				return 0, err
			}
			_, err = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if err != nil || response.StatusCode != http.StatusOK {
				return 0, fmt.Errorf("another word: status %d, %v", response.StatusCode, err)
			}
			count++
		}
	}
	return float64((usage.Processor() - began).Microseconds()) / 1000 / float64(count), nil
}
