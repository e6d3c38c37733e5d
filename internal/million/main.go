// Command million measures what pacl features takes for a long list: it makes a small random encoder, a names table and a
// list of a million lines, each with a picture path of its own (small pictures, repeated), runs pacl features over it, kills
// it now and then, lets it go on, and reports the largest memory that any run held.
//
//	go build -o /tmp/pacl ./cmd/pacl && go run ./internal/million -pacl /tmp/pacl -lines 1000000 -kill 90s
//
// It needs symbolic links and about 1.3 GB of disk for a million lines.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pacl/pacl/feature"
	"github.com/pacl/pacl/internal/fixture"
)

// fatal ends the program where a test would fail.
type fatal struct{}

func (fatal) Helper()           {}
func (fatal) Fatal(args ...any) { log.Fatal(args...) }

func main() {
	log.SetFlags(0)
	program := flag.String("pacl", "pacl", "the program")
	lines := flag.Int("lines", 1_000_000, "lines of the list")
	kill := flag.Duration("kill", 90*time.Second, "kill the first runs after this time; 0 = never")
	kills := flag.Int("kills", 2, "how often")
	dir := flag.String("dir", "", "folder to work in; empty = a temporary one, removed at the end")
	flag.Parse()
	if *dir == "" {
		made, err := os.MkdirTemp("", "pacl-million-")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(made)
		*dir = made
	}
	vision, text := fixture.ViT(fatal{}, filepath.Join(*dir, "vit"), 1), fixture.Names(fatal{}, filepath.Join(*dir, "names"), 1)
	list := writeList(*dir, *lines)
	out := filepath.Join(*dir, "features")
	largest := int64(0)
	for run := 0; ; run++ {
		limit := *kill
		if run >= *kills {
			limit = 0
		}
		started := time.Now()
		memory, finished := extract(*program, list, vision, text, out, limit)
		largest = max(largest, memory)
		status, err := feature.Inspect(out)
		if err != nil {
			log.Fatal(err)
		}
		log.Printf("run %d: %v, %.0f MB at most, %d shards, finished %v", run+1, time.Since(started).Round(time.Second), float64(memory)/1e6, status.Parts[0].Shards, finished)
		if finished {
			break
		}
	}
	cache, err := feature.Open(out)
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	if cache.Len() != *lines {
		log.Fatalf("%d images, expected %d", cache.Len(), *lines)
	}
	for _, i := range []int{0, *lines / 2, *lines - 1} {
		if want := caption(i); cache.Caption(i, 0).Text != want {
			log.Fatalf("image %d has the caption %q, expected %q", i, cache.Caption(i, 0).Text, want)
		}
	}
	log.Printf("%d lines: %.0f MB at most", *lines, float64(largest)/1e6)
	if largest > 1e9 {
		log.Fatal("more than 1 GB")
	}
}

func caption(i int) string {
	return fmt.Sprintf("a %s thing number %d beside a %s one", fixture.Colors[i%4], i, fixture.Colors[i/4%4])
}

// writeList writes sixty pictures and a list that names each of them by many paths.
func writeList(dir string, lines int) string {
	const pictures = 60
	fixture.Captions(fatal{}, filepath.Join(dir, "data"), pictures)
	path := filepath.Join(dir, "data", "million.tsv")
	file, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	out := bufio.NewWriter(file)
	fmt.Fprintln(out, "image\tcaption")
	for i := range lines {
		folder := fmt.Sprintf("copy-%05d", i/pictures)
		if i%pictures == 0 {
			if err := os.Symlink("images", filepath.Join(dir, "data", folder)); err != nil && !os.IsExist(err) {
				log.Fatal(err)
			}
		}
		fmt.Fprintf(out, "%s/%03d.png\t%s\n", folder, i%pictures, caption(i))
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}
	return path
}

// extract runs pacl features, kills it after a time unless that is 0, and returns the largest memory that it held in bytes.
func extract(program, list, vision, text, out string, limit time.Duration) (memory int64, finished bool) {
	ctx := context.Background()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	command := exec.CommandContext(ctx, program, "features", "--captions", list, "--vision", vision, "--text", text, "--out", out)
	command.Stderr = os.Stderr
	err := command.Run()
	if err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
	return residentSize(command.ProcessState), err == nil
}
