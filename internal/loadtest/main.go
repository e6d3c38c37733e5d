// Command loadtest puts the service under load on this machine's loopback address and prints what docs/service.md tells:
// requests a second and their times, memory at the beginning and the end, and the throughput of the library on the same
// photos in batches without HTTP, both in one process so that the two can be compared.
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
	duration := flag.Duration("for", 10*time.Second, "how long, 5 minutes at most")
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
	PerSecond  float64        `json:"photos_per_second"`
	Batch      float64        `json:"library_photos_per_second"`
	Ratio      float64        `json:"ratio"`
	P50        float64        `json:"p50_ms"`
	P95        float64        `json:"p95_ms"`
	P99        float64        `json:"p99_ms"`
	AnotherMS  float64        `json:"another_word_cpu_ms"`
	MemoryMB   []float64      `json:"resident_mb"`
	Goroutines [2]int         `json:"goroutines_before_after"`
}

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
	files := make([][]byte, photoCount)
	for i := range files {
		if files[i], err = photo(uint64(i)); err != nil {
			return err
		}
	}
	batch := func() (float64, error) { return library(ctx, model, labels, files, min(duration/6, 15*time.Second)) }
	before, err := batch()
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

	result := figures{Clients: clients, Statuses: make(map[string]int)}
	times, err := load(address, labelList, files, clients, duration, &result)
	if err != nil {
		return err
	}
	if result.AnotherMS, err = anotherWord(address, labelList, files[0]); err != nil {
		return err
	}
	stop()
	if err := <-done; err != nil {
		return err
	}
	service.Close()
	after, err := batch()
	if err != nil {
		return err
	}
	// The machine's speed drifts: the mean of a measurement before and one after.
	result.Batch = (before + after) / 2
	result.Ratio = result.PerSecond / result.Batch
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

// library segments the photos in batches as a program does, decoding and writing masks included, and returns photos a second.
func library(ctx context.Context, model *pacl.Model, labels []pacl.Label, files [][]byte, duration time.Duration) (float64, error) {
	vocabulary, err := model.Vocabulary(ctx, labels, pacl.VocabularyOptions{})
	if err != nil {
		return 0, err
	}
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
			return 0, err
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
				return 0, err
			}
		}
		done += size
	}
	return float64(done) / time.Since(started).Seconds(), nil
}

// load lets the clients ask for masks until the time is over, each waiting for its answer before it asks again.
func load(address, labels string, files [][]byte, clients int, duration time.Duration, result *figures) ([]time.Duration, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * time.Minute}
	target := address + "/v1/segment?format=png&labels=" + url.QueryEscape(labels)
	var mu sync.Mutex
	var times []time.Duration
	var all sync.WaitGroup
	started := time.Now()
	end := started.Add(duration)
	samples := make(chan struct{})
	go func() {
		defer close(samples)
		for i := range 7 {
			time.Sleep(time.Until(started.Add(duration * time.Duration(i) / 6)))
			result.MemoryMB = append(result.MemoryMB, float64(usage.Resident())/(1<<20))
		}
	}()
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
				if status == "200" {
					times = append(times, time.Since(asked))
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	result.Seconds = time.Since(started).Seconds()
	result.PerSecond = float64(len(times)) / result.Seconds
	<-samples
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
