package caption

import (
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pacl/pacl/internal/testdata"
	"pgregory.net/rapid"
)

type pictured struct {
	Key   string
	Texts []string
}

// drain reads a source to its end.
func drain(t testing.TB, source Source) []pictured {
	t.Helper()
	var all []pictured
	for {
		sample, err := source.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pictured{sample.Key, sample.Texts})
	}
}

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTables(t *testing.T) {
	tests := []struct {
		name, file, content string
		options             Options
		want                []pictured
		empty, malformed    int
		problem             string
	}{
		{
			name: "rows of one image apart", file: "a.tsv",
			content: "image\tcaption\na.jpg\tone\nb.jpg\ttwo\na.jpg\tthree\n",
			want:    []pictured{{"a.jpg", []string{"one", "three"}}, {"b.jpg", []string{"two"}}},
		},
		{
			name: "byte order mark, returns, no last line end", file: "a.tsv",
			content: "\xef\xbb\xbfimage\tcaption\r\na.jpg\tone\r\nb.jpg\ttwo",
			want:    []pictured{{"a.jpg", []string{"one"}}, {"b.jpg", []string{"two"}}},
		},
		{
			name: "quotes in a TSV are its own", file: "a.tsv",
			content: "image\tcaption\na.jpg\t\"Stop\" it says\nb.jpg\t\"all \"\"quoted\"\"\"\nc.jpg\t\"a\" and \"b\"\n",
			want:    []pictured{{"a.jpg", []string{`"Stop" it says`}}, {"b.jpg", []string{`all "quoted"`}}, {"c.jpg", []string{`"a" and "b"`}}},
		},
		{
			name: "usual names of columns", file: "a.csv",
			content: "id,Filename,TITLE\n1,a.jpg,one\n",
			want:    []pictured{{"a.jpg", []string{"one"}}},
		},
		{
			name: "named columns", file: "a.csv", options: Options{ImageColumn: "photo", CaptionColumn: "Alt"},
			content: "image,caption,photo,alt\nx,y,a.jpg,one\n",
			want:    []pictured{{"a.jpg", []string{"one"}}},
		},
		{
			name: "quoted CSV", file: "a.csv",
			content: "image,caption\n\"a.jpg\",\"one, \"\"two\"\"\nthree\"\nb.jpg,four\n",
			want:    []pictured{{"a.jpg", []string{"one, \"two\"\nthree"}}, {"b.jpg", []string{"four"}}},
		},
		{
			name: "bars", file: "a.csv",
			content: "image_name| comment_number| comment\na.jpg| 0| one , two\n",
			want:    []pictured{{"a.jpg", []string{"one , two"}}},
		},
		{
			name: "a quote left open costs one row", file: "a.csv",
			content: "image,caption\na.jpg,\"one\nb.jpg,two\nc.jpg,three\n",
			want:    []pictured{{"b.jpg", []string{"two"}}, {"c.jpg", []string{"three"}}}, malformed: 1,
			problem: "line 2: a quote is not closed",
		},
		{
			name: "missing columns, empty captions, no image", file: "a.tsv",
			content: "image\tcaption\na.jpg\nb.jpg\t  \n\tthree\n\nd.jpg\tfour\n",
			want:    []pictured{{"d.jpg", []string{"four"}}}, empty: 1, malformed: 2,
			problem: "line 2: 1 columns, expected the header's 2",
		},
		{
			name: "a row too long", file: "a.tsv",
			content: "image\tcaption\na.jpg\t" + strings.Repeat("x", maxRow) + "\nb.jpg\ttwo\n",
			want:    []pictured{{"b.jpg", []string{"two"}}}, malformed: 1,
			problem: "line 2: more than 4194304 bytes",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.file, test.content)
			source, err := Open(path, test.options)
			if err != nil {
				t.Fatal(err)
			}
			if source.Len() != len(test.want) {
				t.Errorf("Len is %d, want %d", source.Len(), len(test.want))
			}
			if diff := cmp.Diff(test.want, drain(t, source)); diff != "" {
				t.Error(diff)
			}
			skipped := source.Skipped()
			if skipped.Empty != test.empty || skipped.Malformed != test.malformed {
				t.Errorf("%d empty and %d malformed, want %d and %d: %q", skipped.Empty, skipped.Malformed, test.empty, test.malformed, skipped.Named)
			}
			if test.problem != "" && !slices.Contains(skipped.Named, path+" "+test.problem) {
				t.Errorf("problems are %q, want one that is %q", skipped.Named, test.problem)
			}
		})
	}
}

func TestTableErrors(t *testing.T) {
	for _, test := range []struct{ file, content, want string }{
		{"a.tsv", "", "expected a header line"},
		{"a.tsv", "foo\tbar\na.jpg\tone\n", `no column of a usual name for the image (image, image_path, imagepath, ...) in the header "foo, bar": name it with --image-column`},
		{"a.csv", "\"image,caption\n", "header: a quote is not closed"},
		{"a.doc", "", "the name tells no format"},
	} {
		_, err := Open(write(t, test.file, test.content), Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %q: %v, want %q", test.file, test.content, err, test.want)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "missing.tsv"), Options{}); err == nil {
		t.Error("a missing list was opened")
	}
}

func TestSharedCaptions(t *testing.T) {
	path := testdata.Shared(t, "data", "captions", "captions.tsv")
	source, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if source.Len() != 3563 {
		t.Errorf("%d images, want 3563", source.Len())
	}
	first, err := source.Next()
	if err != nil {
		t.Fatal(err)
	}
	if data, err := first.Read(); err != nil || len(data) < 1000 {
		t.Errorf("read %s: %d bytes, %v", first.Key, len(data), err)
	}
	texts := len(first.Texts)
	for _, sample := range drain(t, source) {
		texts += len(sample.Texts)
	}
	if skipped := source.Skipped(); texts != 13816 || skipped.Malformed+skipped.Empty != 0 {
		t.Errorf("%d captions, %+v skipped, want 13816 and none", texts, skipped)
	}
}

func TestHashNamesTheContent(t *testing.T) {
	hash := func(content string) string {
		source, err := Open(write(t, "a.tsv", content), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return source.Hash()
	}
	base := hash("image\tcaption\na\tb\nc\td\n")
	if base != hash("caption\timage\nb\ta\nd\tc\n") {
		t.Error("the order of columns changes the hash")
	}
	for _, other := range []string{"image\tcaption\na\tb\nc\te\n", "image\tcaption\na\tb\na\td\n", "image\tcaption\nc\td\na\tb\n"} {
		if base == hash(other) {
			t.Errorf("%q has the hash of another list", other)
		}
	}
}

func TestMissingImageIsNamed(t *testing.T) {
	source, err := Open(write(t, "a.tsv", "image\tcaption\nno/such.jpg\tone\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	sample, err := source.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sample.Read(); err == nil || !strings.Contains(err.Error(), filepath.Join("no", "such.jpg")) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

// What encoding/csv writes is read back as it was.
func TestCSVRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.StringMatching(`[a-c",\n ]{0,6}x`), 3, 3), 1, 5).Draw(t, "rows")
		var out strings.Builder
		if err := csv.NewWriter(&out).WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		lines := newLineReader(strings.NewReader(out.String()))
		for _, want := range rows {
			got, err := nextCSV(lines)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("read %q (%v), want %q", got, err, want)
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add("image\tcaption\na.jpg\tone\n", false)
	f.Add("image,caption\n\"a\",\"b\nc\"\n", true)
	f.Fuzz(func(t *testing.T, content string, commas bool) {
		format := TSV
		if commas {
			format = CSV
		}
		list, err := readTable(strings.NewReader(content), "list", format, Options{})
		if err != nil {
			return
		}
		for _, sample := range drain(t, list) {
			if len(sample.Texts) == 0 || sample.Key == "" {
				t.Errorf("a sample without key or text: %+v", sample)
			}
		}
	})
}
