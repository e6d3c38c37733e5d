package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"hash/crc32"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/fixture"
	"github.com/pacl/pacl/models"
	"github.com/pacl/pacl/models/builtin"
)

// execute runs a command line in the process.
func execute(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(args, &out, &err)
	return status, out.String(), err.String()
}

// must runs a command line that has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	status, stdout, stderr := execute(t, args...)
	if status != 0 {
		t.Fatalf("pacl %s: status %d\n%s", strings.Join(args, " "), status, stderr)
	}
	return stdout
}

// world holds small encoders, captions and a head trained on them.
type world struct{ root, vit, names, captions, head string }

func newWorld(t *testing.T) world {
	t.Helper()
	root := t.TempDir()
	t.Setenv("PACL_MODELS", "")
	t.Setenv("HF_HOME", filepath.Join(root, "hub"))
	t.Setenv("PACL_CACHE", filepath.Join(root, "cache"))
	w := world{
		root: root, vit: fixture.ViT(t, filepath.Join(root, "models", "vit"), 1),
		names:    fixture.Names(t, filepath.Join(root, "models", "names"), 1),
		captions: fixture.Captions(t, filepath.Join(root, "data"), 60),
		head:     filepath.Join(root, "head"),
	}
	must(t, "-q", "train", "--captions", w.captions, "--vision", w.vit, "--text", w.names, "--out", w.head,
		"--batch", "16", "--epochs", "12", "--rate", "0.005", "--flip", "--precision", "f32")
	t.Setenv("PACL_MODELS", filepath.Join(root, "models"))
	return w
}

func TestTheWholeLoop(t *testing.T) {
	w := newWorld(t)
	out := filepath.Join(w.root, "out")
	photo := filepath.Join(w.root, "data", "images", "003.png")
	stdout := must(t, "segment", "--model", w.head, "--labels", "red|crimson, green, blue, yellow", "--heatmaps", "--json", "-o", out, photo)
	var summary struct {
		Width, Height int
		Labels        []struct {
			Name  string
			Share float64 `json:"area_share"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &summary); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	total := 0.0
	for _, l := range summary.Labels {
		total += l.Share
	}
	if summary.Width != 48 || summary.Height != 40 || len(summary.Labels) != 4 || total < 0.999 || total > 1.001 {
		t.Errorf("summary %+v", summary)
	}
	for _, name := range []string{"003.mask.png", "003.overlay.png", "003.json", "003.heat-00-red.png"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	// What is done is skipped, and done again when the labels change.
	_, _, stderr := execute(t, "segment", "--model", w.head, "--labels", "red|crimson, green, blue, yellow", "--heatmaps", "-o", out, photo)
	if !strings.Contains(stderr, "1 of 1 photos were done before") {
		t.Errorf("second run: %s", stderr)
	}
	_, _, stderr = execute(t, "segment", "--model", w.head, "--labels", "red, green", "-o", out, photo)
	if strings.Contains(stderr, "done before") {
		t.Errorf("a run with other labels skipped the photo: %s", stderr)
	}
	must(t, "info", w.head)
	must(t, "info", w.vit)
	must(t, "info", w.names)
	// What comes with pacl is known by name, wherever its encoders are.
	for _, name := range []string{builtin.Name, models.Shipped} {
		if about := must(t, "info", name); !strings.Contains(about, "PACL head") {
			t.Errorf("info %s says %s", name, about)
		}
	}
	must(t, "--help")
	must(t, "--version")
}

var update = flag.Bool("update", false, "write the golden mask anew")

// One output of the whole loop is pinned: encoders from seeds, features, training, read-out and up-sampling. Instruction sets
// round differently, so a pixel in a hundred may go to the other side of a border.
func TestGoldenMask(t *testing.T) {
	w := newWorld(t)
	out := filepath.Join(w.root, "out")
	must(t, "-q", "segment", "--model", w.head, "--labels", "red, green, blue, yellow", "--precision", "f32", "-o", out, filepath.Join(w.root, "data", "images", "003.png"))
	data, err := os.ReadFile(filepath.Join(out, "003.mask.png"))
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "golden.mask.png")
	if *update {
		if err := os.WriteFile(golden, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	a, errA := png.Decode(bytes.NewReader(data))
	b, errB := png.Decode(bytes.NewReader(want))
	if errA != nil || errB != nil || a.Bounds() != b.Bounds() {
		t.Fatalf("masks of %v and %v (%v, %v)", a, b, errA, errB)
	}
	differ, labels := 0, map[uint8]int{}
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			found := a.(*image.Paletted).ColorIndexAt(x, y)
			if labels[found]++; found != b.(*image.Paletted).ColorIndexAt(x, y) {
				differ++
			}
		}
	}
	if pixels := a.Bounds().Dx() * a.Bounds().Dy(); 100*differ > pixels {
		t.Errorf("%d of %d pixels differ from %s; labels %v", differ, pixels, golden, labels)
	}
	if len(labels) < 2 {
		t.Errorf("the mask has one label only, which pins nothing: %v", labels)
	}
}

// What a model says of looking at photos is followed, and flags say otherwise.
func TestLookingAtPhotos(t *testing.T) {
	w := newWorld(t)
	other := filepath.Join(w.root, "other-head")
	must(t, "-q", "train", "--features", w.head+".features", "--out", other, "--batch", "16", "--epochs", "1", "--precision", "f32",
		"--input-size", "48", "--scales", "2", "--mirror", "--image-prior", "0.5")
	mosaic := func(more ...string) (protocol string) {
		return must(t, append([]string{"-q", "eval", "mosaic", "--captions", w.captions, "--count", "4", "--pixels", "64", "--min-photos", "2", "--model", other}, more...)...)
	}
	for _, test := range []struct {
		flags      []string
		want, lack string
	}{
		{nil, "mirror=on", "none"},
		{nil, "prior=0.5", "none"},
		{nil, "scales=2", "none"},
		{[]string{"--image-prior", "0.25"}, "prior=0.25", "none"},
		{[]string{"--image-prior", "0", "--scales", "1", "--no-mirror", "--size", "32"}, "size=32 short", "prior="},
		{[]string{"--scales", "1"}, "mirror=on", "scales="},
		{[]string{"--no-mirror"}, "scales=2", "mirror="},
		{[]string{"--photos", "held-out", "--tiles", "1", "--min-photos", "1"}, "photos=held-out", "none"},
	} {
		if got := mosaic(test.flags...); !strings.Contains(got, test.want) || strings.Contains(got, test.lack) {
			t.Errorf("%v: expected %q and no %q in\n%s", test.flags, test.want, test.lack, got)
		}
	}
}

// A cache made in parts is used as a whole, and training from it ends with the same head.
// TestFormatsName gives masks to annotation tools: their files must name the photo so that it is found.
func TestFormatsName(t *testing.T) {
	w := newWorld(t)
	out := filepath.Join(w.root, "out")
	photos := filepath.Join(w.root, "data", "images")
	must(t, "segment", "--model", w.head, "--labels", "red, green", "--format", "labelme,coco,polygons,rle,png", "-o", out,
		filepath.Join(photos, "003.png"), filepath.Join(photos, "001.png"), filepath.Join(photos, "002.png"))
	read := func(name string, value any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(out, name))
		if err == nil {
			err = json.Unmarshal(text, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var labelme struct{ ImagePath string }
	read("003.labelme.json", &labelme)
	if _, err := os.Stat(filepath.Join(out, filepath.FromSlash(labelme.ImagePath))); err != nil {
		t.Errorf("the photo of the LabelMe file: %v", err)
	}
	type coco struct {
		Images []struct {
			ID       int
			FileName string `json:"file_name"`
		}
		Annotations []struct {
			ImageID int `json:"image_id"`
		}
	}
	annotations := 0
	for _, name := range []string{"001", "002", "003"} {
		var one coco
		read(name+".polygons.json", &one)
		annotations += len(one.Annotations)
		if len(one.Images) != 1 || one.Images[0].FileName != name+".png" {
			t.Errorf("%s: %+v", name, one.Images)
		}
	}
	for _, format := range []string{"coco", "polygons"} {
		var all coco
		read("annotations."+format+".json", &all)
		if len(all.Images) != 3 || all.Images[2].FileName != "003.png" || len(all.Annotations) != annotations ||
			all.Annotations[annotations-1].ImageID != 3 {
			t.Errorf("%s of all photos: %+v", format, all)
		}
	}
}

func TestTrainingFromParts(t *testing.T) {
	w := newWorld(t)
	parts := filepath.Join(w.root, "parts")
	for _, shard := range []string{"0/2", "1/2"} {
		must(t, "-q", "features", "--captions", w.captions, "--vision", w.vit, "--text", w.names, "--out", parts, "--flip", "--shard", shard, "--precision", "f32")
	}
	second := filepath.Join(w.root, "second")
	must(t, "-q", "train", "--features", parts, "--out", second, "--batch", "16", "--epochs", "12", "--rate", "0.005", "--precision", "f32")
	a, errA := os.ReadFile(filepath.Join(w.head, "head.safetensors"))
	b, errB := os.ReadFile(filepath.Join(second, "head.safetensors"))
	if errA != nil || errB != nil || len(a) != len(b) {
		t.Fatalf("heads of %d and %d bytes (%v, %v)", len(a), len(b), errA, errB)
	}
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	file := func(name string, data []byte) string {
		path := filepath.Join(w.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	photo := filepath.Join(w.root, "data", "images", "000.png")
	bomb := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	bomb = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(bomb, 60000), 60000)
	bomb = append(bomb, 8, 2, 0, 0, 0)
	bomb = binary.BigEndian.AppendUint32(bomb, crc32.ChecksumIEEE(bomb[12:]))
	whole, err := os.ReadFile(filepath.Join(w.vit, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(w.vit, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	file("cut/model.safetensors", whole[:len(whole)/2])
	file("cut/config.json", config)
	file("odd/config.json", []byte(`{"model_type":"mamba"}`))
	file("odd/model.safetensors", whole)
	file("wide/config.json", bytes.Replace(config, []byte(`"hidden_size":32`), []byte(`"hidden_size":64`), 1))
	file("wide/model.safetensors", whole)
	file("integers/config.json", config)
	file("integers/model.safetensors", bytes.ReplaceAll(whole, []byte(`"dtype":"F32"`), []byte(`"dtype":"I32"`)))
	otherVision, otherNames := fixture.ViT(t, filepath.Join(w.root, "other", "vit"), 9), fixture.Names(t, filepath.Join(w.root, "other", "names"), 9)
	train := func(more ...string) []string {
		return append([]string{"train", "--captions", w.captions, "--text", w.names, "--out", filepath.Join(w.root, "never")}, more...)
	}
	segment := func(labels, photo string, more ...string) []string {
		return append([]string{"segment", "--model", w.head, "-o", filepath.Join(w.root, "nothing"), "--labels", labels, photo}, more...)
	}
	tests := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"missing weights", train("--vision", filepath.Join(w.root, "data")), 1, "no weights found"},
		{"no such encoder", train("--vision", "no-such-model"), 1, `model "no-such-model" not found`},
		{"truncated weights", train("--vision", filepath.Join(w.root, "cut")), 1, "truncated"},
		{"unknown architecture", train("--vision", filepath.Join(w.root, "odd")), 1, `"mamba" is not known, expected one of CLIP`},
		{"wrong shape", train("--vision", filepath.Join(w.root, "wide")), 1, "has shape"},
		{"wrong type", train("--vision", filepath.Join(w.root, "integers")), 1, "I32"},
		{"no captions", train("--vision", w.vit, "--captions", filepath.Join(w.root, "none.tsv")), 1, "none.tsv"},
		{"wrong flag", []string{"segment", "--colour", "red"}, 2, "unknown flag --colour"},
		{"missing flag", []string{"train", "--out", "x"}, 2, "missing flag --captions"},
		{"text named .jpg", segment("red", file("text.jpg", []byte("no picture"))), 1, "not a picture"},
		{"empty photo", segment("red", file("empty.jpg", nil)), 1, "empty"},
		{"huge header", segment("red", file("bomb.png", bomb)), 1, "60000x60000 pixels"},
		{"no photo", segment("red", filepath.Join(w.root, "none.jpg")), 1, "none.jpg"},
		{"empty labels", segment("", photo), 1, "label list is empty"},
		{"duplicate labels", segment("red, Red", photo), 1, "stands twice"},
		{"long label", segment(strings.Repeat("r", 10000), photo), 1, "10000 characters"},
		{"unknown label", segment("red, gren", photo), 1, `near: green`},
		{"another vision encoder", segment("red", photo, "--vision", otherVision), 1, "do not belong together"},
		{"another table", segment("red", photo, "--text", otherNames), 1, "do not belong together"},
		{"read-out of a head", segment("red", photo, "--readout", "sclip"), 1, "has no projection to the space of texts"},
		{"bad stride", segment("red", photo, "--stride", "3"), 1, "stride 3"},
		{"cache of another encoder", []string{"features", "--captions", w.captions, "--vision", otherVision, "--text", w.names, "--out", w.head + ".features", "--flip", "--precision", "f32"}, 1, "vision encoder"},
		{"bad shard", []string{"features", "--captions", w.captions, "--vision", w.vit, "--text", w.names, "--out", w.root + "/x", "--shard", "2/2"}, 1, `shard "2/2"`},
		{"no data set", []string{"eval", "voc20", "--model", w.head, "--data", w.root}, 1, "voc20"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, _, stderr := execute(t, test.args...)
			if status != test.status || !strings.Contains(stderr, test.want) {
				t.Errorf("status %d, expected %d; standard error:\n%s(expected %q)", status, test.status, stderr, test.want)
			}
			lines := strings.Count(strings.TrimSpace(stderr), "\n") + 1
			if test.status == 1 && lines > 2 {
				t.Errorf("%d lines of errors:\n%s", lines, stderr)
			}
		})
	}
	for _, never := range []string{"never", "nothing"} {
		entries, err := os.ReadDir(filepath.Join(w.root, never))
		if err == nil && len(entries) > 0 {
			t.Errorf("%s holds %d files after nothing but errors", never, len(entries))
		}
	}
}

// A picture of one pixel is segmented as any other.
func TestOnePixel(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.root, "dot.png")
	var dot bytes.Buffer
	if err := png.Encode(&dot, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, dot.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	must(t, "-q", "segment", "--model", w.head, "--labels", "red, green", "-o", filepath.Join(w.root, "out"), path)
}
