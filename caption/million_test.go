package caption

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/pacl/pacl/internal/testdata"
)

// A list of a million rows must leave room for everything else within the gigabyte that such a run may take.
func TestMillionRows(t *testing.T) {
	rows, limit := 50_000, uint64(24<<20)
	if testdata.Long() {
		rows, limit = 1_000_000, 300<<20
	}
	for _, format := range []string{"list.tsv", "list.csv", "list.jsonl", "list.json"} {
		t.Run(format, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), format)
			writeMillion(t, path, rows)
			before := heapInUse()
			source, err := Open(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer source.Close()
			after := heapInUse()
			count := 0
			for {
				sample, err := source.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				count += len(sample.Texts)
			}
			if count != rows {
				t.Errorf("%d captions, want %d", count, rows)
			}
			t.Logf("%d rows take %.1f MB", rows, float64(after-min(before, after))/1e6)
			if after > before+limit {
				t.Errorf("%d rows take %d bytes, at most %d expected", rows, after-before, limit)
			}
		})
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// writeMillion writes a list whose images have two captions each.
func writeMillion(t *testing.T, path string, rows int) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriter(file)
	extension := filepath.Ext(path)
	switch extension {
	case ".tsv":
		fmt.Fprintln(out, "image\tcaption")
	case ".csv":
		fmt.Fprintln(out, "image,caption")
	case ".json":
		fmt.Fprint(out, `{"images": [`)
		for i := range rows / 2 {
			fmt.Fprintf(out, `{"id": %d, "file_name": "folder/image_%07d.jpg"},`, i, i)
		}
		fmt.Fprint(out, `{"id": -1, "file_name": "none.jpg"}], "annotations": [`)
	}
	for i := range rows {
		words := fmt.Sprintf("A person number %d beside a dog and %d balls on the grass .", i, i%97)
		switch extension {
		case ".tsv":
			fmt.Fprintf(out, "folder/image_%07d.jpg\t%s\n", i/2, words)
		case ".csv":
			fmt.Fprintf(out, "folder/image_%07d.jpg,%q\n", i/2, words)
		case ".jsonl":
			fmt.Fprintf(out, "{\"image\": \"folder/image_%07d.jpg\", \"caption\": %q}\n", i/2, words)
		case ".json":
			if i > 0 {
				fmt.Fprint(out, ",")
			}
			fmt.Fprintf(out, `{"image_id": %d, "caption": %q}`, i/2, words)
		}
	}
	if extension == ".json" {
		fmt.Fprint(out, "]}")
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
