package caption

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
)

// fill writes files below a folder, making the folders they need.
func fill(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type member struct{ name, content string }

func tarOf(t testing.TB, members ...member) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		if err := w.WriteHeader(&tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func gzipOf(t testing.TB, content string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

type hubImage struct {
	Bytes []byte `parquet:"bytes,optional"`
	Path  string `parquet:"path,optional"`
}

type hubRow struct {
	Image   hubImage `parquet:"image,optional"`
	Caption []string `parquet:"caption,list"`
	Other   int64    `parquet:"other"`
}

type bytesRow struct {
	JPG  []byte `parquet:"jpg,snappy"`
	Text string `parquet:"text,dict"`
}

type pathRow struct {
	FileName string `parquet:"file_name"`
	Text     string `parquet:"text,optional,zstd"`
}

func parquetOf[T any](t testing.TB, rows []T, options ...parquet.WriterOption) string {
	t.Helper()
	var out bytes.Buffer
	w := parquet.NewGenericWriter[T](&out, options...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

type filled struct {
	Key   string
	Texts []string
	Image string
}

// TestFormats reads each format from a folder of made-up files whose "images" are short texts.
func TestFormats(t *testing.T) {
	wds := tarOf(t,
		member{"./a/one.jpg", "ONE"}, member{"./a/one.txt", " first one\n"}, member{"./a/one.json", `{"caption": ["second"], "width": 3}`},
		member{"two.seg.txt", "not a caption's extension"}, member{"two.PNG", "TWO"}, member{"two.txt", "of two"},
		member{"three.jpg", "THREE"}, member{"four.txt", "no image"},
		member{"five.webp", "FIVE"}, member{"five.cls", "tabby cat"},
		member{"six.jpg", "SIX"}, member{"six.cls", "281"}, member{"seven.jpeg", "SEVEN"}, member{"seven.json", "{"},
	)
	fromTar := func(shard string) []filled {
		return []filled{
			{shard + "#./a/one", []string{"first one", "second"}, "ONE"}, {shard + "#two", []string{"of two"}, "TWO"}, {shard + "#five", []string{"tabby cat"}, "FIVE"},
		}
	}
	hub := []hubRow{
		{Image: hubImage{Bytes: []byte("ONE"), Path: "1.jpg"}, Caption: []string{"one", " ", "uno"}},
		{Image: hubImage{Path: "img/two.jpg"}, Caption: []string{"two"}},
		{Caption: []string{"none"}}, {Image: hubImage{Bytes: []byte("FOUR")}},
		{Image: hubImage{Bytes: []byte("FIVE")}, Caption: []string{"five"}},
	}
	fromHub := []filled{{"x.parquet#0", []string{"one", "uno"}, "ONE"}, {"x.parquet#1", []string{"two"}, "TWO"}, {"x.parquet#4", []string{"five"}, "FIVE"}}
	tests := []struct {
		name, open       string
		files            map[string]string
		options          Options
		want             []filled
		empty, malformed int
		unknownLength    bool
	}{
		{
			name: "JSON lines", open: "list.jsonl",
			files: map[string]string{
				"list.jsonl": "{\"image\": \"b.jpg\", \"caption\": [\"bee\", \"\"]}\n\nnot JSON\n{\"file_name\": \"a.jpg\", \"text\": \" ah \"}\n{\"image\": \"b.jpg\", \"caption\": \"be\"}\n{\"image\": 3, \"caption\": \"x\"}\n{\"image\": \"c.jpg\"}\n{\"image\": \"d.jpg\", \"text\": \"\"}",
				"a.jpg":      "A", "b.jpg": "B",
			},
			want: []filled{{"b.jpg", []string{"bee", "be"}, "B"}, {"a.jpg", []string{"ah"}, "A"}}, empty: 1, malformed: 3,
		},
		{
			name: "packed JSON lines, named fields, other root", open: "list.jsonl.gz", options: Options{ImageColumn: "p", CaptionColumn: "c"},
			files: map[string]string{"list.jsonl.gz": gzipOf(t, `{"p": "in/a.jpg", "c": "ah", "caption": "no"}`), "in/a.jpg": "A"},
			want:  []filled{{"in/a.jpg", []string{"ah"}, "A"}},
		},
		{
			name: "COCO", open: "annotations/captions_val2017.json",
			files: map[string]string{
				"annotations/captions_val2017.json": `{"info": {"a": [1, {"b": 2}]}, "annotations": [{"image_id": 2, "id": 1, "caption": "two\n"}, {"image_id": 1, "caption": "one"}, {"image_id": 2, "caption": "deux"}, {"image_id": 9, "caption": "lost"}, {"caption": "x"}, {"image_id": 1, "caption": " "}], "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}, {"id": 3, "file_name": "3.jpg"}, {"id": 4}], "licenses": []}`,
				"val2017/1.jpg":                     "ONE", "val2017/2.jpg": "TWO",
			},
			want: []filled{{"2.jpg", []string{"two", "deux"}, "TWO"}, {"1.jpg", []string{"one"}, "ONE"}}, empty: 2, malformed: 3,
		},
		{
			name: "Karpathy's splits", open: "dataset.json",
			files: map[string]string{
				"dataset.json": `{"images": [{"filepath": "val", "filename": "a.jpg", "sentences": [{"raw": "one"}, {"raw": "two"}], "imgid": 0}, {"filename": "b.jpg", "sentences": [{"raw": "three"}]}], "dataset": "coco"}`,
				"val/a.jpg":    "A", "b.jpg": "B",
			},
			want: []filled{{"val/a.jpg", []string{"one", "two"}, "A"}, {"b.jpg", []string{"three"}, "B"}},
		},
		{
			name: "WebDataset", open: "s-{00..01}.tar", unknownLength: true,
			files: map[string]string{"s-00.tar": wds, "s-01.tar": tarOf(t, member{"x.jpg", "X"}, member{"x.txt", "ex"})},
			want:  append(fromTar("s-00.tar"), filled{"s-01.tar#x", []string{"ex"}, "X"}), empty: 1, malformed: 3,
		},
		{
			name: "packed WebDataset by pattern", open: "*.tar.gz", unknownLength: true,
			files: map[string]string{"s.tar.gz": gzipOf(t, wds)},
			want:  fromTar("s.tar.gz"), empty: 1, malformed: 3,
		},
		{
			name: "parquet as the hub has it", open: "x.parquet",
			files: map[string]string{"x.parquet": parquetOf(t, hub), "img/two.jpg": "TWO"},
			want:  fromHub, empty: 1, malformed: 1, unknownLength: true,
		},
		{
			name: "parquet of several groups and old pages", open: "x.parquet",
			files: map[string]string{"x.parquet": parquetOf(t, hub, parquet.MaxRowsPerRowGroup(2), parquet.DataPageVersion(1), parquet.Compression(&parquet.Zstd)), "img/two.jpg": "TWO"},
			want:  fromHub, empty: 1, malformed: 1, unknownLength: true,
		},
		{
			name: "parquet of bytes, training split", open: ".",
			files: map[string]string{"data/test-0.parquet": "not read", "data/train-0.parquet": parquetOf(t, []bytesRow{{[]byte("A"), "ah"}, {[]byte("B"), "bee"}})},
			want:  []filled{{"train-0.parquet#0", []string{"ah"}, "A"}, {"train-0.parquet#1", []string{"bee"}, "B"}},
		},
		{
			name: "parquet of paths", open: "x.parquet",
			files: map[string]string{"x.parquet": parquetOf(t, []pathRow{{"a.jpg", "ah"}, {"b.jpg", "bee"}, {"a.jpg", "aha"}, {"c.jpg", ""}}), "a.jpg": "A", "b.jpg": "B"},
			want:  []filled{{"a.jpg", []string{"ah", "aha"}, "A"}, {"b.jpg", []string{"bee"}, "B"}}, empty: 1,
		},
		{
			name: "folder", open: ".",
			files: map[string]string{
				"b.jpg": "B", "b.txt": "bee\r\n\nbe\n", "in/a.PNG": "A", "in/a.caption": "\ufeffah", "c.webp": "C", "d.jpg": "D", "d.txt": " ", "notes.txt": "none",
			},
			want: []filled{{"b.jpg", []string{"bee", "be"}, "B"}, {"in/a.PNG", []string{"ah"}, "A"}}, empty: 1, malformed: 1, unknownLength: true,
		},
		{
			name: "folder with metadata", open: ".",
			files: map[string]string{"metadata.csv": "file_name,text\na.jpg,ah\n", "a.jpg": "A", "b.jpg": "B"},
			want:  []filled{{"a.jpg", []string{"ah"}, "A"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, test.files)
			source, err := Open(filepath.Join(dir, filepath.FromSlash(test.open)), test.options)
			if err != nil {
				t.Fatal(err)
			}
			if got := source.Len(); got != len(test.want) && !test.unknownLength {
				t.Errorf("Len is %d, want %d", got, len(test.want))
			}
			hash := source.Hash()
			var samples []Sample
			for {
				sample, err := source.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				samples = append(samples, sample)
			}
			var got []filled
			for _, sample := range samples {
				data, err := sample.Read()
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, filled{sample.Key, sample.Texts, string(data)})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if skipped := source.Skipped(); skipped.Empty != test.empty || skipped.Malformed != test.malformed {
				t.Errorf("%d empty and %d malformed, want %d and %d: %q", skipped.Empty, skipped.Malformed, test.empty, test.malformed, skipped.Named)
			}
			if err := source.Close(); err != nil {
				t.Error(err)
			}
			again, err := Open(filepath.Join(dir, filepath.FromSlash(test.open)), test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if again.Hash() != hash || len(hash) != 64 {
				t.Errorf("opened twice the source has the hashes %s and %s", hash, again.Hash())
			}
		})
	}
}

func TestFormatErrors(t *testing.T) {
	whole := tarOf(t, member{"a.jpg", strings.Repeat("A", 5000)}, member{"a.txt", "ah"})
	for _, test := range []struct{ open, content, want string }{
		{"a.jsonl", "{}\n[]\n", "none of 2 rows gives an image with a caption; the first problem"},
		{"a.json", `{"images": [`, "unexpected EOF"},
		{"a.json", `[]`, "expected {"},
		{"a.json", `{"annotations": [{"image_id": 1, "category_id": 3}]}`, "none of 1 rows"},
		{"a.tar", whole[:3000], "unexpected EOF"},
		{"a.tar", strings.Repeat("x", 2048), "invalid tar header"},
		{"a.tar.gz", gzipOf(t, whole)[:40], "unexpected EOF"},
		{"a.parquet", "PAR1PAR1", "too short"},
		{"a.parquet", "PAR1 something else", "expected PAR1"},
		{"a.parquet", "PAR1xxxx\xff\xff\xff\x7fPAR1", "its index claims"},
		{"a.parquet", parquetOf(t, []pathRow{{"a.jpg", "x"}})[:200] + "PAR1", "its index claims"},
		{"b-{0..2}.tar", "", "no such file"},
		{"b-{2..0}.tar", "", "expected a range"},
		{"b-{0..9999999999}.tar", "", "expected a range"},
		{"b-{0..2.tar", "", "a brace is not closed"},
		{"*.none.parquet", "", "no file matches"},
	} {
		dir := t.TempDir()
		if test.content != "" {
			fill(t, dir, map[string]string{test.open: test.content})
		}
		source, err := Open(filepath.Join(dir, test.open), Options{})
		for err == nil {
			_, err = source.Next()
		}
		if err == io.EOF || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.open, err, test.want)
		}
	}
	if _, err := Open(t.TempDir(), Options{}); !errors.Is(err, errNoSource) {
		t.Errorf("an empty folder: %v", err)
	}
	fillAndRemove := func() error {
		dir := t.TempDir()
		fill(t, dir, map[string]string{"a.tar": whole})
		source, err := Open(filepath.Join(dir, "a.tar"), Options{})
		if err != nil {
			return err
		}
		sample, err := source.Next()
		if err != nil {
			return err
		}
		if err := source.Close(); err != nil {
			return err
		}
		if err := os.Truncate(filepath.Join(dir, "a.tar"), 600); err != nil {
			return err
		}
		_, err = sample.Read()
		return err
	}
	if err := fillAndRemove(); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "ends within it") {
		t.Errorf("a shard cut while in use: %v", err)
	}
}

func TestBraces(t *testing.T) {
	for _, test := range []struct {
		pattern string
		want    []string
	}{
		{"a.tar", []string{"a.tar"}},
		{"{train,val}-{08..10}.tar", []string{"train-08.tar", "train-09.tar", "train-10.tar", "val-08.tar", "val-09.tar", "val-10.tar"}},
	} {
		got, err := expandBraces(test.pattern)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v", test.pattern, got, err)
		}
	}
}

func FuzzJSONL(f *testing.F) {
	f.Add(`{"image": "a.jpg", "caption": ["b", "c"]}` + "\n{}\n")
	f.Fuzz(func(t *testing.T, content string) {
		if list, err := readJSONL(strings.NewReader(content), "list", Options{}); err == nil {
			checkSamples(t, list)
		}
	})
}

func FuzzCOCO(f *testing.F) {
	f.Add(`{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "b"}]}`)
	f.Add(`{"x": [{}], "images": [{"filename": "a.jpg", "sentences": [{"raw": "b"}]}]}`)
	f.Fuzz(func(t *testing.T, content string) {
		if list, err := readCOCO(strings.NewReader(content), "list"); err == nil {
			checkSamples(t, list)
		}
	})
}

func FuzzTar(f *testing.F) {
	whole := tarOf(f, member{"a.jpg", "A"}, member{"a.txt", "ah"}, member{"a.json", `{"caption": "x"}`}, member{"b.cls", "cat"})
	f.Add([]byte(whole))
	f.Add([]byte(gzipOf(f, whole)))
	f.Fuzz(func(t *testing.T, content []byte) { fuzzFile(t, "a.tar", content) })
}

func FuzzParquet(f *testing.F) {
	f.Add([]byte(parquetOf(f, []hubRow{{Image: hubImage{Bytes: []byte("A")}, Caption: []string{"ah", "b"}}})))
	f.Add([]byte(parquetOf(f, []bytesRow{{[]byte("A"), "ah"}}, parquet.DataPageVersion(1))))
	f.Add([]byte(parquetOf(f, []pathRow{{"a.jpg", "ah"}})))
	f.Fuzz(func(t *testing.T, content []byte) { fuzzFile(t, "a.parquet", content) })
}

func fuzzFile(t *testing.T, name string, content []byte) {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	source, err := Open(path, Options{})
	if err != nil {
		return
	}
	defer source.Close()
	checkSamples(t, source)
}

// checkSamples reads a source to its end or first error; whatever it gives must be whole.
func checkSamples(t *testing.T, source Source) {
	for {
		sample, err := source.Next()
		if err != nil {
			return
		}
		if sample.Key == "" || len(sample.Texts) == 0 || sample.Read == nil {
			t.Fatalf("a sample without key, text or image: %+v", sample)
		}
		if _, err := sample.Read(); err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("an error of several lines: %v", err)
		}
	}
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "captions")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "list.tsv")
	if err := os.WriteFile(path, []byte("image\tcaption\ncat.jpg\ta cat\ncat.jpg\ta sleeping cat\n"), 0o644); err != nil {
		fmt.Println(err)
		return
	}
	source, err := Open(path, Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()
	for {
		sample, err := source.Next()
		if err != nil {
			break
		}
		fmt.Printf("%s %q\n", sample.Key, sample.Texts)
	}
	// Output: cat.jpg ["a cat" "a sleeping cat"]
}
