package evaluate

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pacl/pacl/imaging"
)

// record has images of 100 pixels of class 0 and 100 of class 1, of which so many are right.
func record(right ...int64) *Record {
	r := &Record{Protocol: "VOC20 n=4", Measure: "miou", Classes: []string{"a", "b"}}
	for i, n := range right {
		r.Images = append(r.Images, ImageScore{Key: string(rune('p' + i)), Confusion: []Entry{{0, 0, n}, {0, 1, 100 - n}, {1, 1, n}, {1, 0, 100 - n}}})
	}
	return r
}

func TestCompare(t *testing.T) {
	a, b := record(50, 60, 70, 80), record(60, 70, 80, 90)
	c, err := Compare(a, b, CompareOptions{Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	if want := 65.0 / 135; !near(c.A, want, 1e-12) {
		t.Errorf("A is %v, expected %v", c.A, want)
	}
	if want := 75.0 / 125; !near(c.B, want, 1e-12) || c.Low <= 0 || c.Low > c.Difference || c.High < c.Difference {
		t.Errorf("B is %v with difference %v (%v to %v), expected %v and an interval above 0", c.B, c.Difference, c.Low, c.High, want)
	}
	same, err := Compare(a, a, CompareOptions{})
	if err != nil || same.Difference != 0 || same.Low != 0 || same.High != 0 {
		t.Errorf("a run against itself: %+v, %v", same, err)
	}
	again, _ := Compare(a, b, CompareOptions{Seed: 4})
	if again.Low != c.Low || again.High != c.High {
		t.Error("the interval does not follow from its seed")
	}
	// Order does not matter, pairing does.
	b.Images[0], b.Images[3] = b.Images[3], b.Images[0]
	if swapped, err := Compare(a, b, CompareOptions{Seed: 4}); err != nil || swapped.Low != c.Low {
		t.Errorf("images in another order: %v, %v", swapped, err)
	}
	if len(c.Changed) != 4 || math.Abs(c.Changed[0].Diff) < math.Abs(c.Changed[3].Diff) {
		t.Errorf("changed images %v", c.Changed)
	}
	b.Images[0].Key = "z"
	for name, other := range map[string]*Record{
		"other image": b, "fewer": record(1, 2), "other measure": {Measure: "accuracy", Images: a.Images}, "other classes": {Measure: "miou", Images: a.Images},
	} {
		if _, err := Compare(a, other, CompareOptions{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRecordReadsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.jsonl")
	want := record(10, 20, 30)
	if err := want.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Compare(want, got, CompareOptions{Replicates: 10})
	if err != nil || c.Difference != 0 || !c.SameProtocol {
		t.Errorf("read back: %+v, %v", c, err)
	}
	for _, text := range []string{"", "{}", "[1]", `{"measure":"miou","classes":["a"]}` + "\n" + `{"key":"x","confusion":[[1,0,5]]}`, `{"measure":"miou"}` + "\n{"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRecord(path); err == nil {
			t.Errorf("%q was read as a record", text)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"measure":"miou","classes":["a","b"]}` + "\n" + `{"key":"x","confusion":[[1,0,5],[1,2,9223372036854775807]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(bytes.NewReader(data))
		if err != nil || len(r.Classes) > 50 {
			return
		}
		r.Extremes(2)
		if _, err := Compare(r, r, CompareOptions{Replicates: 3}); err == nil && len(r.Images) == 0 {
			t.Error("nothing was compared")
		}
	})
}

func TestResultFormats(t *testing.T) {
	c := NewConfusion(3)
	if err := c.AddEntries([]Entry{{0, 0, 3}, {0, 1, 1}, {1, 1, 4}}); err != nil {
		t.Fatal(err)
	}
	r := newSegmentationResult("VOC20 n=1", []Class{{Name: "cat"}, {Name: "potted, plant"}, {Name: "absent"}}, c)
	var text, object, table bytes.Buffer
	for _, err := range []error{r.WriteText(&text), r.WriteJSON(&object), r.WriteCSV(&table)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"75.00", "mIoU 77.50", "1 classes do not occur", "VOC20 n=1"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, &text)
		}
	}
	var back map[string]any
	if err := json.Unmarshal(object.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back["miou"] != 0.775 || back["pixel_accuracy"] != 0.875 || back["mean_accuracy"] != 0.875 || back["protocol"] != "VOC20 n=1" {
		t.Errorf("JSON holds %v", back)
	}
	if list := back["per_class"].([]any); len(list) != 3 || list[2].(map[string]any)["iou"] != nil {
		t.Errorf("classes %v", list)
	}
	if !strings.Contains(table.String(), "\"potted, plant\",0.8,1,4,VOC20 n=1\n") || !strings.Contains(table.String(), "# miou,0.775,") {
		t.Errorf("CSV\n%s", &table)
	}
}

func TestClassify(t *testing.T) {
	tr := newTree(t)
	tr.photo("dog/1.jpg", 4, 4)
	tr.photo("dog/2.png", 5, 4)
	tr.photo("cat/1.jpg", 6, 4)
	tr.write("cat/notes.txt", nil)
	photos, err := OpenPhotos(tr.root)
	if err != nil {
		t.Fatal(err)
	}
	if len(photos.Items) != 3 || photos.Classes[0].Name != "cat" || photos.Classes[1].Name != "dog" {
		t.Fatalf("%+v", photos)
	}
	byWidth := ClassifierFunc(func(_ context.Context, photo *imaging.Image) ([]float32, error) {
		if photo.Width == 4 {
			return []float32{0, 1}, nil // right
		}
		return []float32{1, float32(math.NaN())}, nil // all are cats
	})
	r, err := Classify(t.Context(), photos, byWidth, Protocol{Templates: "7"}, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !near(r.Accuracy, 2.0/3, 1e-12) || r.Top5 != 1 || !near(r.MeanAccuracy, 0.75, 1e-12) {
		t.Errorf("accuracy %v, top 5 %v, mean %v", r.Accuracy, r.Top5, r.MeanAccuracy)
	}
	if r.Protocol != "classify n=3 window=whole templates=7 synonyms=off classes=2" {
		t.Errorf("protocol %q", r.Protocol)
	}
	tr.write("list.tsv", []byte("dog/1.jpg\tdog\ncat/1.jpg\ttabby cat\n"))
	photos, err = OpenPhotos(filepath.Join(tr.root, "list.tsv"))
	if err != nil || len(photos.Items) != 2 || photos.Items[1].Class != 1 || photos.Classes[1].Name != "tabby cat" {
		t.Errorf("list: %+v, %v", photos, err)
	}
	tr.write("bad.tsv", []byte("dog/1.jpg dog\n"))
	tr.write("gone.tsv", []byte("dog/9.jpg\tdog\ncat/1.jpg\tcat\n"))
	tr.write("one/only/1.txt", nil)
	for _, path := range []string{"bad.tsv", "gone.tsv", "one", "none"} {
		if _, err := OpenPhotos(filepath.Join(tr.root, path)); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}

func TestClassWords(t *testing.T) {
	tr := newTree(t)
	for _, path := range []string{"n01/1.jpg", "n01/2.jpg", "n01/3.jpg", "Tabby_Cat/1.jpg", "diningtable/1.jpg"} {
		tr.photo(path, 4, 4)
	}
	tr.write("words.txt", []byte("\ufefftable, dining table\nn01\tdog, puppy\r\ntabby cat\n\n"))
	words, id, err := ClassWords(filepath.Join(tr.root, "words.txt"))
	if err != nil || len(id) != 12 {
		t.Fatalf("%q, %v", id, err)
	}
	photos, err := OpenPhotos(tr.root)
	if err != nil {
		t.Fatal(err)
	}
	before, err := photos.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if err := photos.Rename(words); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, class := range photos.Classes {
		got = append(got, strings.Join(class.Words, "|"))
	}
	if diff := cmp.Diff([]string{"tabby cat", "table|dining table", "dog|puppy"}, got); diff != "" {
		t.Error(diff)
	}
	if after, err := photos.Fingerprint(); err != nil || after == before {
		t.Errorf("other words leave the fingerprint %s (%v)", after, err)
	}
	if limited := photos.Limit(2); len(limited.Items) != 4 || limited.Each != 2 || len(photos.Items) != 5 {
		t.Errorf("two a class: %d of %d photos", len(limited.Items), len(photos.Items))
	}
	if words, id, err = ClassWords("VOC20"); err != nil || id != "voc20" || words["televisionmonitor"].Name != "television monitor" {
		t.Errorf("%q, %v, %v", id, words["televisionmonitor"], err)
	}
	if err := photos.Rename(words); err == nil || !strings.Contains(err.Error(), "tabby cat is not in the list") {
		t.Errorf("a folder without words: %v", err)
	}
	tr.write("same.txt", []byte("n01\tcat\nTabby_Cat\tcat\ndiningtable\ttable\n"))
	if words, _, err = ClassWords(filepath.Join(tr.root, "same.txt")); err != nil {
		t.Fatal(err)
	}
	photos, _ = OpenPhotos(tr.root)
	if err := photos.Rename(words); err == nil || !strings.Contains(err.Error(), "both the class cat") {
		t.Errorf("two folders of one class: %v", err)
	}
	tr.write("empty.txt", nil)
	tr.write("nameless.txt", []byte("\tcat\n"))
	for _, name := range []string{"empty.txt", "nameless.txt", "none.txt"} {
		if _, _, err := ClassWords(filepath.Join(tr.root, name)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFingerprint(t *testing.T) {
	c := layoutCases[0]
	tr := c.build(t)
	print := func() string {
		d, err := Open(c.name, tr.root, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := d.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	first := print()
	if print() != first {
		t.Error("the same files have two fingerprints")
	}
	tr.write(c.masks[0], []byte("another mask"))
	if print() == first {
		t.Error("another mask leaves the fingerprint")
	}
}

// The interval of a measure is that of its difference to a run that has nothing right.
func TestInterval(t *testing.T) {
	r := record(5, 9, 2, 7, 7, 3, 8, 1)
	low, high := r.Interval(400, 3)
	c, err := Compare(record(0, 0, 0, 0, 0, 0, 0, 0), r, CompareOptions{Replicates: 400, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	if low != c.Low || high != c.High || !(low < c.B && c.B < high) {
		t.Errorf("%v to %v, expected %v to %v around %v", low, high, c.Low, c.High, c.B)
	}
}

func TestRank(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		values []float32
		want   int
		place  int
	}{
		{[]float32{3, 2, 1}, 1, 1}, {[]float32{2, 2, 2}, 0, 0}, {[]float32{2, 2, 2}, 2, 2},
		{[]float32{nan, 1, nan}, 1, 0}, {[]float32{nan, 1, nan}, 0, 1}, {[]float32{nan, 1, nan}, 2, 2},
	} {
		if got := rank(c.values, c.want); got != c.place {
			t.Errorf("place of %d in %v: %d, expected %d", c.want, c.values, got, c.place)
		}
	}
}

// matrix is a scorer of a given table.
type matrix [][]float32

func (m matrix) Counts() (int, int) { return len(m), len(m[0]) }
func (m matrix) Score(_ context.Context, image int, dst []float32) error {
	copy(dst, m[image])
	return nil
}

func TestRetrieval(t *testing.T) {
	scores := matrix{
		{9, 1, 1, 5}, // image 0 has texts 0 and 1: found
		{1, 2, 3, 4}, // image 1 has text 2: text 3 is before
		{0, 0, 9, 1}, // image 2 has text 3: text 2 is before
	}
	r, err := Retrieval(t.Context(), scores, []int{0, 0, 1, 2}, []string{"a", "b", "c"}, Protocol{}, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !near(r.ImageToText["1"], 1.0/3, 1e-12) || r.ImageToText["5"] != 1 {
		t.Errorf("image to text %v", r.ImageToText)
	}
	// Text 0 finds its image; 1 finds image 1 first; 2 finds image 2; 3 finds image 0.
	if !near(r.TextToImage["1"], 0.25, 1e-12) || r.TextToImage["5"] != 1 {
		t.Errorf("text to image %v", r.TextToImage)
	}
	flat := make(matrix, 20)
	owner, keys := make([]int, 20), make([]string, 20)
	for i := range flat {
		flat[i] = make([]float32, 20)
		owner[i] = i
	}
	r, err = Retrieval(t.Context(), flat, owner, keys, Protocol{}, RunOptions{})
	if err != nil || r.ImageToText["10"] != 0 || r.TextToImage["10"] != 0 {
		t.Errorf("a scorer that knows nothing has recall %v, %v (%v)", r.ImageToText, r.TextToImage, err)
	}
	if _, err := Retrieval(t.Context(), scores, []int{0, 0, 1, 3}, []string{"a", "b", "c"}, Protocol{}, RunOptions{}); err == nil {
		t.Error("a text of no image was accepted")
	}
}
