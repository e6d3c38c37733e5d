package feature

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/atomicfile"
)

// picture24 is a PNG whose colours depend on the number.
func picture24(t testing.TB, number int) []byte {
	t.Helper()
	im := image.NewNRGBA(image.Rect(0, 0, 12+number%5, 10+number%3))
	for y := range im.Rect.Dy() {
		for x := range im.Rect.Dx() {
			im.Set(x, y, color.NRGBA{uint8(number * 7), uint8(x * 15), uint8(y * 20), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// listSource is a list in memory.
type listSource struct {
	samples []caption.Sample
	next    int
	hash    string
	unknown bool // the length is
}

func (l *listSource) Next() (caption.Sample, error) {
	if l.next == len(l.samples) {
		return caption.Sample{}, io.EOF
	}
	l.next++
	return l.samples[l.next-1], nil
}
func (l *listSource) Hash() string             { return l.hash }
func (l *listSource) Skipped() caption.Skipped { return caption.Skipped{} }
func (l *listSource) Close() error             { return nil }
func (l *listSource) Len() int {
	if l.unknown {
		return -1
	}
	return len(l.samples)
}

// newList makes n samples; every seventh has no caption with a name, those in broken are not images.
func newList(t testing.TB, n int, broken ...int) *listSource {
	l := &listSource{hash: "list"}
	for i := range n {
		data := picture24(t, i)
		if slices.Contains(broken, i) {
			data = []byte("no image")
		}
		texts := []string{fmt.Sprintf("a cat with number %d", i), "a dog and a cat", "nothing"}
		if i%7 == 6 {
			texts = []string{"nothing"}
		}
		l.samples = append(l.samples, caption.Sample{Key: fmt.Sprintf("image-%d", i), Texts: texts, Read: func() ([]byte, error) { return data, nil }})
	}
	return l
}

// meanVision has patches of 4 pixels whose tokens are their mean colours and their number.
type meanVision struct {
	hash   string
	before func() // called before each batch
}

func (v meanVision) Info() encoder.Info {
	return encoder.Info{Family: "vit", Dir: "models/mean", Hash: v.hash, Width: 4, PatchSize: 4, ImageSize: 8, Resample: imaging.Bilinear}
}

func (meanVision) Pixels(im *imaging.Image) []float32 {
	plane := im.Width * im.Height
	x := make([]float32, 3*plane)
	for i := range plane {
		for c := range 3 {
			x[c*plane+i] = float32(im.Pix[3*i+c])
		}
	}
	return x
}

func (v meanVision) Encode(_ context.Context, pixels []float32, batch, h, w int, _ encoder.EncodeOptions) (encoder.Output, error) {
	if v.before != nil {
		v.before()
	}
	out := encoder.Output{GridH: h / 4, GridW: w / 4}
	for b := range batch {
		for gy := range h / 4 {
			for gx := range w / 4 {
				for c := range 3 {
					sum := float32(0)
					for i := range 16 {
						sum += pixels[((b*3+c)*h+gy*4+i/4)*w+gx*4+i%4]
					}
					out.Patches = append(out.Patches, sum/16)
				}
				out.Patches = append(out.Patches, float32(gy*w/4+gx))
			}
		}
	}
	return out, nil
}

// wordTable knows two names.
type wordTable struct{ hash string }

var tableNames = []string{"cat", "dog"}

func (w wordTable) Info() encoder.Info {
	return encoder.Info{Family: "names", Dir: "models/table", Hash: w.hash, Width: 2}
}
func (wordTable) Width() int        { return 2 }
func (wordTable) Name(i int) string { return tableNames[i] }
func (wordTable) NameVector(i int) []float32 {
	return []float32{float32(1 - i), float32(i)}
}
func (wordTable) Find(text string) []int {
	var found []int
	for i, name := range tableNames {
		if strings.Contains(text, name) {
			found = append(found, i, i)
		}
	}
	return found
}
func (w wordTable) Embed(_ context.Context, texts []string) ([]float32, error) {
	var out []float32
	for _, t := range texts {
		v := []float32{0, 0}
		for _, n := range w.Find(t) {
			v[n] += 0.5
		}
		out = append(out, v...)
	}
	return out, nil
}

func options(dir string, source caption.Source) ExtractOptions {
	return ExtractOptions{
		Dir: dir, Vision: meanVision{hash: "v"}, Text: wordTable{"t"},
		Source: source, Phrases: Phrases{Names: true}, Views: Views{Flip: true, Crops: 1, Seed: 5}, Batch: 3,
	}
}

// extractSmall makes shards of 8 samples, so that short lists have several.
func extractSmall(t *testing.T, ctx context.Context, o ExtractOptions) (Report, error) {
	t.Helper()
	m, filter, err := o.manifest()
	if err != nil {
		return Report{}, err
	}
	m.ShardSamples = 8
	return newExtraction(o, m, filter).run(ctx)
}

func open(t *testing.T, dirs ...string) *Cache {
	t.Helper()
	c, err := Open(dirs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// contents are all bytes that a cache gives out.
func contents(c *Cache) string {
	var b strings.Builder
	for i := range c.Len() {
		fmt.Fprintln(&b, c.Index(i), c.Key(i), c.Captions(i))
		for v := range c.Views() {
			fmt.Fprintln(&b, c.Tokens(i, v))
		}
	}
	return b.String()
}

func TestExtractKeepsWhatTheEncodersSaid(t *testing.T) {
	dir := t.TempDir()
	list := newList(t, 30, 4, 20)
	var last ExtractProgress
	o := options(dir, list)
	o.Progress = func(p ExtractProgress) { last = p }
	report, err := extractSmall(t, context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	// 6, 13, 20 and 27 have no name; 4 and 20 are broken.
	if report.Samples != 30 || report.Images != 25 || len(report.Failures) != 2 || report.TextlessImages != 3 || report.TextlessCaptions != 28 {
		t.Errorf("report %+v", report)
	}
	if last.Done != 30 || last.Total != 30 || last.Failed != 2 || last.Textless != 3 || last.Left != 0 {
		t.Errorf("last progress %+v", last)
	}
	text, err := os.ReadFile(filepath.Join(dir, ReportName))
	if err != nil || !strings.Contains(string(text), "image-4\t") || !strings.Contains(string(text), "image-20\t") {
		t.Errorf("report file %q, %v", text, err)
	}
	c := open(t, dir)
	if c.Len() != 25 || c.Patches() != 4 || c.TokenWidth() != 4 || c.TextWidth() != 2 || c.Views() != 3 {
		t.Fatalf("%d images, %d patches of %d, texts of %d, %d views", c.Len(), c.Patches(), c.TokenWidth(), c.TextWidth(), c.Views())
	}
	if got := c.Report(); fmt.Sprint(got) != fmt.Sprint(report) {
		t.Errorf("report %+v, expected %+v", got, report)
	}
	i := 5 // image-6 has no name, image-4 is broken
	if c.Key(i) != "image-7" || c.Index(i) != 7 {
		t.Errorf("image %d is %s, number %d", i, c.Key(i), c.Index(i))
	}
	captions := c.Captions(i)
	expected := []Caption{
		{"a cat with number 7", []float32{1, 0}, []Text{{"cat", []float32{1, 0}}}},
		{"a dog and a cat", []float32{1, 1}, []Text{{"cat", []float32{1, 0}}, {"dog", []float32{0, 1}}}},
	}
	if fmt.Sprint(captions) != fmt.Sprint(expected) {
		t.Errorf("captions %v, expected %v", captions, expected)
	}
	plain, mirrored := c.Tokens(i, 0), c.Tokens(i, 1)
	if slices.Equal(plain, mirrored) || !slices.Equal(plain[0:2], mirrored[4:6]) {
		t.Errorf("view 1 is not the mirror image: %v and %v", plain, mirrored)
	}
	if slices.Equal(plain, c.Tokens(i, 2)) {
		t.Error("view 2 is the photo itself, expected a crop")
	}
}

func TestExtractGoesOnAfterAnInterruption(t *testing.T) {
	whole := t.TempDir()
	if _, err := extractSmall(t, context.Background(), options(whole, newList(t, 40, 4))); err != nil {
		t.Fatal(err)
	}
	expected := contents(open(t, whole))
	for stop := 1; stop <= 14; stop += 3 {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		batches := 0
		o := options(dir, newList(t, 40, 4))
		o.Vision = meanVision{hash: "v", before: func() {
			if batches++; batches == stop {
				cancel()
			}
		}}
		if _, err := extractSmall(t, ctx, o); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at batch %d: error %v, expected %v", stop, err, context.Canceled)
		}
		cancel()
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not finished") {
			t.Errorf("an unfinished cache opens: %v", err)
		}
		// What a killed run leaves behind is cleared away.
		left := filepath.Join(dir, atomicfile.Prefix+"shard-00001.safetensors-1")
		if err := os.WriteFile(left, []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
		again := 0
		o = options(dir, newList(t, 40, 4))
		o.Vision = meanVision{hash: "v", before: func() { again++ }}
		if _, err := extractSmall(t, context.Background(), o); err != nil {
			t.Fatal(err)
		}
		if stop > 6 && again >= 14 {
			t.Errorf("stopped at batch %d, %d batches were encoded again", stop, again)
		}
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", left)
		}
		if contents(open(t, dir)) != expected {
			t.Errorf("stopped at batch %d: the cache differs from an undisturbed one", stop)
		}
		again = 0
		if _, err := extractSmall(t, context.Background(), o); err != nil || again != 0 {
			t.Errorf("a finished cache was encoded again: %d batches, %v", again, err)
		}
	}
}

// fullDisk lets some bytes through, over all files.
type fullDisk struct{ left int }

type fullDiskFile struct {
	io.Writer
	disk *fullDisk
}

func (d *fullDisk) write(path string, fill func(io.Writer) error) error {
	return atomicfile.WriteSynced(path, func(w io.Writer) error { return fill(fullDiskFile{w, d}) })
}

func (f fullDiskFile) Write(data []byte) (int, error) {
	if len(data) > f.disk.left {
		n, _ := f.Writer.Write(data[:f.disk.left])
		f.disk.left = 0
		return n, syscall.ENOSPC
	}
	f.disk.left -= len(data)
	return f.Writer.Write(data)
}

func TestExtractOnAFullDisk(t *testing.T) {
	whole := t.TempDir()
	if _, err := extractSmall(t, context.Background(), options(whole, newList(t, 40))); err != nil {
		t.Fatal(err)
	}
	expected := contents(open(t, whole))
	for _, space := range []int{0, 500, 3000, 9000, 15000} {
		dir := t.TempDir()
		o := options(dir, newList(t, 40))
		disk := &fullDisk{left: space}
		o.write = disk.write
		if _, err := extractSmall(t, context.Background(), o); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%d bytes of space: error %v, expected %v", space, err, syscall.ENOSPC)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), atomicfile.Prefix) {
				t.Errorf("%d bytes of space: %s was left behind", space, e.Name())
			}
		}
		if _, err := extractSmall(t, context.Background(), options(dir, newList(t, 40))); err != nil {
			t.Fatal(err)
		}
		if contents(open(t, dir)) != expected {
			t.Errorf("%d bytes of space: the cache differs from an undisturbed one", space)
		}
	}
}

func TestPartsAreUsedTogether(t *testing.T) {
	whole := t.TempDir()
	if _, err := extractSmall(t, context.Background(), options(whole, newList(t, 40, 4))); err != nil {
		t.Fatal(err)
	}
	expected := open(t, whole)
	dir := t.TempDir()
	var parts []string
	for i := range 3 {
		o := options(dir, newList(t, 40, 4))
		o.Part = Part{i, 3}
		if _, err := extractSmall(t, context.Background(), o); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, partDir(dir, o.Part))
	}
	for _, dirs := range [][]string{{dir}, {parts[2], parts[0], parts[1]}} {
		c := open(t, dirs...)
		if contents(c) != contents(expected) {
			t.Errorf("the parts %v hold another cache than the whole", dirs)
		}
		if c.Hash() != expected.Hash() {
			t.Errorf("the parts %v have hash %s, the whole %s", dirs, c.Hash(), expected.Hash())
		}
	}
	refuse := func(what string, dirs []string, words ...string) {
		t.Helper()
		c, err := Open(dirs...)
		if err == nil {
			c.Close()
			t.Errorf("%s: opened", what)
			return
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", what, err, w)
			}
		}
	}
	refuse("a lost part", parts[:1], "missing: part-002-of-003 (pacl features --shard 1/3), part-003-of-003 (pacl features --shard 2/3)")
	refuse("a part twice", append(parts, parts[1]), "both part 2 of 3")
	other := t.TempDir()
	o := options(other, newList(t, 40))
	o.Vision, o.Part = meanVision{hash: "w"}, Part{1, 3}
	if _, err := extractSmall(t, context.Background(), o); err != nil {
		t.Fatal(err)
	}
	mixed := partDir(other, o.Part)
	refuse("parts of two encoders", []string{parts[0], mixed, parts[2]}, parts[0], mixed, "vision encoder")
}

func TestExtractRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := extractSmall(t, context.Background(), options(dir, newList(t, 10))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*ExtractOptions)
		words  string
	}{
		"another encoder":         {func(o *ExtractOptions) { o.Vision = meanVision{hash: "other"} }, "vision encoder mean v, not mean other"},
		"another table":           {func(o *ExtractOptions) { o.Text = wordTable{"u"} }, "text encoder"},
		"another list":            {func(o *ExtractOptions) { o.Source.(*listSource).hash = "other" }, "data list list, not other"},
		"another size":            {func(o *ExtractOptions) { o.Size = 16 }, "preprocessing"},
		"another layer":           {func(o *ExtractOptions) { o.Layer = 1 }, "preprocessing"},
		"without names":           {func(o *ExtractOptions) { o.Phrases.Names = false }, "extra texts"},
		"a size between patches":  {func(o *ExtractOptions) { o.Size = 10 }, "multiple of the patch size 4"},
		"a stride that skips":     {func(o *ExtractOptions) { o.Stride = 3 }, "divisor of the patch size 4"},
		"a part that is not":      {func(o *ExtractOptions) { o.Part = Part{2, 2} }, "part 3 of 2"},
		"a template without {}":   {func(o *ExtractOptions) { o.Phrases.Templates = []string{"a photo"} }, "has no {}"},
		"too many broken":         {func(o *ExtractOptions) { o.Dir, o.Source = t.TempDir(), newList(t, 10, 1, 2, 3) }, "3 of 10 images could not be read"},
		"nothing but broken ones": {func(o *ExtractOptions) { o.Dir, o.Source = t.TempDir(), newList(t, 200, seq(200)...) }, "could not be read"},
		"no images":               {func(o *ExtractOptions) { o.Dir, o.Source = t.TempDir(), newList(t, 0) }, "no images"},
		"no names": {func(o *ExtractOptions) {
			o.Dir, o.Source = t.TempDir(), &listSource{samples: newList(t, 7).samples[6:], hash: "x"}
		}, "none of 1 images can be used"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(dir, newList(t, 10))
			c.change(&o)
			if _, err := Extract(context.Background(), o); err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, expected one line with %q", err, c.words)
			}
		})
	}
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestNounPhrasesInTemplates(t *testing.T) {
	dir := t.TempDir()
	o := options(dir, newList(t, 2))
	o.Phrases = Phrases{Templates: []string{"art of the {}.", "a bad photo of the {}."}}
	if _, err := Extract(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir)
	var found []string
	for _, extra := range c.Captions(0)[1].Extras {
		found = append(found, extra.Text)
		if expected := (wordTable{}).Find(extra.Text); len(expected) > 0 && extra.Vector[expected[0]] == 0 {
			t.Errorf("%q has vector %v", extra.Text, extra.Vector)
		}
	}
	if !slices.Contains(found, "art of the dog.") || !slices.Contains(found, "a bad photo of the cat.") {
		t.Errorf("extra texts %q", found)
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	dir := t.TempDir()
	if _, err := extractSmall(t, context.Background(), options(dir, newList(t, 20))); err != nil {
		t.Fatal(err)
	}
	path := shardPath(dir, 1)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"truncated": whole[:len(whole)-40],
		"empty":     {},
		"other":     []byte(strings.Repeat("shard", 100)),
	} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if c, err := Open(dir); err == nil {
			c.Close()
			t.Errorf("%s: opened", name)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a lost shard: error %v does not name it", err)
	}
}
