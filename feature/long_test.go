package feature

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/pacl/pacl/caption"
)

// endlessSource makes samples as they are asked for, up to a number, so that it holds nothing itself.
type endlessSource struct {
	next, total int
	picture     []byte
}

func (s *endlessSource) Next() (caption.Sample, error) {
	if s.next == s.total {
		return caption.Sample{}, io.EOF
	}
	s.next++
	text := fmt.Sprintf("a cat with number %d", s.next)
	return caption.Sample{Key: fmt.Sprintf("image-%d", s.next), Texts: []string{text}, Read: func() ([]byte, error) { return s.picture, nil }}, nil
}

func (s *endlessSource) Hash() string             { return "endless" }
func (s *endlessSource) Skipped() caption.Skipped { return caption.Skipped{} }
func (s *endlessSource) Close() error             { return nil }
func (s *endlessSource) Len() int                 { return -1 }

// What an extraction holds does not grow with the list, and a long list goes on where it was interrupted. The real thing,
// a million lines in another process, is internal/million.
func TestLongListsAreStreamed(t *testing.T) {
	const total, stop = 5_000, 2_500
	dir, picture := t.TempDir(), picture24(t, 1)
	extract := func(ctx context.Context, progress func(ExtractProgress)) error {
		o := options(dir, &endlessSource{total: total, picture: picture})
		o.Progress, o.Views, o.Batch = progress, Views{}, 32
		_, err := Extract(ctx, o)
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := extract(ctx, func(p ExtractProgress) {
		if p.Done >= stop {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, expected %v", err, context.Canceled)
	}
	first, early, late := -1, uint64(0), uint64(0)
	err = extract(context.Background(), func(p ExtractProgress) {
		switch {
		case first < 0:
			first = p.Done
		case early == 0 && p.Done > stop+500:
			early = heapInUse()
		case late == 0 && p.Done > total-500:
			late = heapInUse()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if first < stop/2 {
		t.Errorf("the second run began at image %d, %d were done before", first, stop)
	}
	if early == 0 || late == 0 || late > early+4<<20 {
		t.Errorf("%d bytes are in use after %d images and %d after %d", early, stop+500, late, total-500)
	}
	c := open(t, dir)
	if c.Len() != total || c.Caption(total-1, 0).Text != fmt.Sprintf("a cat with number %d", total) {
		t.Errorf("%d images, the last one %q", c.Len(), c.Caption(c.Len()-1, 0).Text)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
