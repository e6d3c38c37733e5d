package main

import (
	"bytes"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pacl/pacl/models/builtin"
)

// measured is a world with data to measure on.
type measured struct {
	world
	scenes, classes string
}

func newMeasured(t *testing.T) measured {
	t.Helper()
	w := measured{world: newWorld(t)}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(w.root, "user-cache"))
	w.scenes = filepath.Join(w.root, "scenes")
	must(t, "-q", "scenes", "--out", w.scenes, "--count", "10", "--width", "80", "--height", "64", "--seed", "5")
	w.classes = filepath.Join(w.root, "classes")
	for i, class := range []string{"red", "green", "red", "green", "red"} {
		name := filepath.Join("images", "00"+string(rune('0'+i))+".png")
		data, err := os.ReadFile(filepath.Join(w.root, "data", name))
		if err != nil {
			t.Fatal(err)
		}
		writeTo(t, filepath.Join(w.classes, class, filepath.Base(name)), data)
	}
	return w
}

func writeTo(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

// result is a printed JSON object but for what differs from run to run.
func result(t *testing.T, text string) map[string]any {
	t.Helper()
	var r map[string]any
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	delete(r, "seconds")
	return r
}

// The protocol line alone gives every number again, in every experiment.
func TestTheProtocolIsEnough(t *testing.T) {
	w := newMeasured(t)
	words := filepath.Join(w.root, "words.txt")
	writeTo(t, words, []byte("red\tred, crimson\ngreen, blue\n"))
	folder := []string{"folder", "--data", w.scenes}
	scenes := []string{"--model", builtin.Name}
	head := []string{"--model", w.head}
	join := func(lists ...[]string) (all []string) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	more := func(words ...string) []string { return words }
	tests := []struct {
		name  string
		model []string
		args  []string
		data  string
		again []string // flags of the second run beside the line, the model and the data
	}{
		{"head", scenes, folder, w.scenes, nil},
		{"size, stride, first photos", scenes, join(folder, more("--size", "56", "--stride", "4", "--limit", "4", "--precision", "f32")), w.scenes, nil},
		{"windows, templates, names only", scenes, join(folder, more("--size", "88", "--window", "56", "--templates", "a drawing of a {}.", "--no-synonyms")), w.scenes, nil},
		{"threshold, refinement", scenes, join(folder, more("--background", "0.3", "--refine", "pamr(1,2)x3")), w.scenes, nil},
		{"read-out", scenes, join(folder, more("--readout", "sclip")), w.scenes, nil},
		{"patches after", scenes, more("patches", "folder", "--data", w.scenes, "--side", "after"), w.scenes, nil},
		{"patches by a read-out", more("--vision", builtinCLIP(t)), more("patches", "folder", "--data", w.scenes, "--readout", "plain"), w.scenes, nil},
		{"coherence of tokens", more("--vision", w.vit), more("coherence", "folder", "--data", w.scenes, "--size", "48"), w.scenes, nil},
		{"coherence of a sample", scenes, more("coherence", "folder", "--data", w.scenes, "--vectors", "shared", "--sample", "50", "--seed", "7", "--limit", "6"), w.scenes, nil},
		{"coherence by histogram", scenes, more("coherence", "folder", "--data", w.scenes, "--exact-pairs", "10", "--seed", "1"), w.scenes, nil},
		{"classes by phi", head, more("classify", "--data", w.classes), w.classes, nil},
		{"classes with words", head, more("classify", "--data", w.classes, "--words", words, "--each", "2", "--crop", "center"), w.classes, more("--words", words)},
		{"classes by class token", scenes, more("classify", "--data", w.classes, "--by", "class"), w.classes, nil},
		{"retrieval", head, more("retrieval", "--captions", w.captions, "--limit", "20"), w.captions, nil},
		{"mosaic", head, more("mosaic", "--captions", w.captions, "--count", "6", "--pixels", "64", "--seed", "3", "--border", "0.1", "--min-photos", "2"), w.captions, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			first := result(t, bothOrOne(t, must(t, join(more("-q", "eval"), test.args, test.model, more("--json"))...)))
			line, _ := first["protocol"].(string)
			if line == "" {
				t.Fatalf("no protocol in %v", first)
			}
			args := join(more("eval", "repeat", line, "--data", test.data, "--json"), test.model, test.again)
			status, stdout, stderr := execute(t, args...)
			if status != 0 || strings.Contains(stderr, "warning: measured as") {
				t.Fatalf("pacl %s: status %d: %s", strings.Join(args, " "), status, stderr)
			}
			if second := result(t, stdout); !reflect.DeepEqual(first, second) {
				t.Errorf("%s\nfirst  %v\nsecond %v", line, first, second)
			}
		})
	}
}

// bothOrOne takes the side that was measured out of the result of patches.
func bothOrOne(t *testing.T, text string) string {
	var sides struct{ Before, After json.RawMessage }
	if err := json.Unmarshal([]byte(text), &sides); err != nil {
		t.Fatal(err)
	}
	if len(sides.After) > 0 && string(sides.After) != "null" {
		return string(sides.After)
	}
	return text
}

// builtinCLIP returns the directory of the built-in model's encoders.
func builtinCLIP(t *testing.T) string {
	t.Helper()
	_, clip, err := builtin.Dir()
	if err != nil {
		t.Fatal(err)
	}
	return clip
}

func TestCompare(t *testing.T) {
	w := newMeasured(t)
	record := func(name string, args ...string) string {
		path := filepath.Join(w.root, name)
		must(t, append([]string{"-q", "eval", "folder", "--data", w.scenes, "--model", "builtin", "--record", path}, args...)...)
		return path
	}
	a, b, same := record("a"), record("b", "--readout", "maskclip"), record("same")
	text := must(t, "compare", a, b)
	for _, part := range []string{"A  mIoU", "readout=maskclip", "95 % interval", "the protocols differ", "images that changed most"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
	r := result(t, must(t, "compare", a, same, "--json"))
	if r["difference"] != 0.0 || r["low"] != 0.0 || r["high"] != 0.0 || r["same_protocol"] != true {
		t.Errorf("a run and its repetition: %v", r)
	}
	if lines := strings.Count(must(t, "compare", a, b, "--csv", "--changed", "3"), "\n"); lines != 1+3+3 {
		t.Errorf("%d lines", lines)
	}
	other := filepath.Join(w.root, "coherence")
	must(t, "-q", "eval", "coherence", "folder", "--data", w.scenes, "--vision", w.vit, "--record", other)
	must(t, "compare", other, other)
	if status, _, stderr := execute(t, "compare", a, other); status != 1 || !strings.Contains(stderr, "one run measures miou, the other auc") {
		t.Errorf("status %d: %s", status, stderr)
	}
	if status, _, stderr := execute(t, "compare", a, w.captions); status != 1 || !strings.Contains(stderr, "no record of an evaluation") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// What a program wrote is scored as what the model measured itself.
func TestScore(t *testing.T) {
	w := newMeasured(t)
	direct := result(t, must(t, "-q", "eval", "folder", "--data", w.scenes, "--model", "builtin", "--no-synonyms", "--json"))
	labels := filepath.Join(w.root, "labels.txt")
	var names strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(must(t, "dataset", "classes", "folder", "--data", w.scenes)), "\n") {
		name, _, _ := strings.Cut(line, ", ")
		names.WriteString(name + "\n")
	}
	writeTo(t, labels, []byte(names.String()))
	out := filepath.Join(w.root, "out")
	must(t, "-q", "segment", "--model", "builtin", "--labels", labels, "-o", out, filepath.Join(w.scenes, "images"))
	masks := filepath.Join(w.root, "predictions")
	files, err := filepath.Glob(filepath.Join(out, "*.mask.png"))
	if err != nil || len(files) != 10 {
		t.Fatalf("%d masks (%v)", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		writeTo(t, filepath.Join(masks, strings.TrimSuffix(filepath.Base(file), ".mask.png")+".png"), data)
	}
	scored := result(t, must(t, "-q", "eval", "score", "folder", "--data", w.scenes, "--predictions", masks, "--json"))
	for _, key := range []string{"miou", "pixel_accuracy", "mean_accuracy"} {
		if scored[key] != direct[key] {
			t.Errorf("%s %v, the model measured %v", key, scored[key], direct[key])
		}
	}
	os.Remove(filepath.Join(masks, filepath.Base(strings.TrimSuffix(files[0], ".mask.png")+".png")))
	if status, _, stderr := execute(t, "-q", "eval", "score", "folder", "--data", w.scenes, "--predictions", masks); status != 1 || !strings.Contains(stderr, "prediction") {
		t.Errorf("a missing prediction: status %d, %s", status, stderr)
	}
}

func TestCoherenceDrawsItsCurve(t *testing.T) {
	w := newMeasured(t)
	chart := filepath.Join(w.root, "roc.png")
	must(t, "-q", "eval", "coherence", "folder", "--data", w.scenes, "--vision", w.vit, "--roc", chart)
	data, err := os.ReadFile(chart)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil || picture.Bounds().Dx() < 300 {
		t.Fatalf("the chart: %v", err)
	}
}

func TestPatchesBeforeAndAfter(t *testing.T) {
	w := newMeasured(t)
	text := must(t, "-q", "eval", "patches", "folder", "--data", w.scenes, "--model", "builtin")
	for _, part := range []string{"patch accuracy before alignment", "readout=plain", "patch accuracy after alignment"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
	text = must(t, "-q", "eval", "patches", "folder", "--data", w.scenes, "--vision", builtinCLIP(t))
	if !strings.Contains(text, "after alignment n/a: the model has no head") {
		t.Errorf("a CLIP without a head:\n%s", text)
	}
}

func TestEvalRefuses(t *testing.T) {
	w := newMeasured(t)
	broken := filepath.Join(w.root, "broken")
	must(t, "-q", "scenes", "--out", broken, "--count", "3", "--width", "32", "--seed", "5")
	mask, err := filepath.Glob(filepath.Join(broken, "masks", "*.png"))
	if err != nil || len(mask) != 3 {
		t.Fatalf("%q %v", mask, err)
	}
	writeTo(t, mask[0], []byte("no picture"))
	extra := filepath.Join(broken, "masks", "orphan.png")
	whole, _ := os.ReadFile(mask[1])
	writeTo(t, extra, whole)
	eval := func(args ...string) []string { return append([]string{"-q", "eval"}, args...) }
	tests := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"read-out without projection", eval("folder", "--data", w.scenes, "--vision", w.vit, "--text", w.names, "--readout", "plain"), 1, "n/a: "},
		{"head without projection", eval("folder", "--data", w.scenes, "--model", w.head, "--readout", "naclip"), 1, "n/a: model " + w.head + " without its head: the vision encoder vit (vit) has no projection"},
		{"class token without projection", eval("classify", "--data", w.classes, "--model", w.head, "--by", "class"), 1, "n/a: the vision encoder vit (vit) has no vectors of whole images"},
		{"patches before without projection", eval("patches", "folder", "--data", w.scenes, "--model", "builtin", "--side", "between"), 2, "--side"},
		{"no data set", eval("patches", "--data", w.scenes, "--model", "builtin"), 2, "expected the name of a data set"},
		{"unknown data set", eval("patches", "scenery", "--data", w.scenes, "--model", "builtin"), 1, `unknown data set "scenery"`},
		{"no captions", eval("retrieval", "--model", w.head), 2, "missing flag --captions"},
		{"other captions", eval("retrieval", "--model", w.head, "--captions", w.captions, "--protocol", "retrieval n=3 size=32 short captions=0123456789ab"), 1, "other captions"},
		{"protocol of another experiment", eval("coherence", "--data", w.scenes, "--vision", w.vit, "--protocol", "folder n=10"), 1, "the protocol is one of segmentation, expected coherence"},
		{"protocol and flags", eval("folder", "--data", w.scenes, "--model", "builtin", "--protocol", "folder n=10", "--size", "60"), 2, "--protocol says how"},
		{"protocol of more photos", eval("repeat", "folder n=11", "--data", w.scenes, "--model", "builtin"), 1, "the protocol was measured on 11"},
		{"no protocol", eval("repeat", "  ", "--data", w.scenes), 1, "protocol"},
		{"unknown experiment", eval("repeat", "folder experiment=guess", "--data", w.scenes), 1, `"guess"`},
		{"unknown words", eval("classify", "--data", w.classes, "--model", w.head, "--words", "voc20"), 1, "the class green is not in the list of words"},
		{"no list of words", eval("classify", "--data", w.classes, "--model", w.head, "--words", "voc"), 1, "neither a file nor one of"},
		{"negative limit", eval("folder", "--data", w.scenes, "--model", "builtin", "--limit", "-1"), 2, "--limit"},
		{"damaged mask", eval("folder", "--data", broken, "--model", "builtin"), 1, filepath.Base(mask[0])},
		{"sweep without a background", eval("folder", "--data", w.scenes, "--model", "builtin", "--sweep", "train"), 1, "no background class"},
		{"check", []string{"-q", "dataset", "check", "folder", broken}, 1, "is not as it was published"},
		{"check of nothing", []string{"-q", "dataset", "check", "ade20k", w.root}, 1, "published at http://data.csail.mit.edu"},
		{"classes of a folder", []string{"dataset", "classes", "folder"}, 2, "--data"},
		{"no experiments", []string{"report", w.captions}, 1, "captions.tsv"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, _, stderr := execute(t, test.args...)
			if status != test.status || !strings.Contains(stderr, test.want) {
				t.Errorf("status %d, expected %d; standard error:\n%s(expected %q)", status, test.status, stderr, test.want)
			}
			if lines := strings.Count(strings.TrimSpace(stderr), "\n") + 1; test.status == 1 && lines > 1 {
				t.Errorf("%d lines of errors:\n%s", lines, stderr)
			}
		})
	}
	_, stdout, _ := execute(t, "-q", "dataset", "check", "folder", broken)
	for _, part := range []string{"3 photos with masks of", filepath.Base(mask[0]), "mask " + extra + " has no photo", "2 problems"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("check does not say %q:\n%s", part, stdout)
		}
	}
	if text := must(t, "-q", "dataset", "check", "folder", w.scenes); !strings.Contains(text, "sizes, ids and pairs are right") {
		t.Errorf("check of scenes:\n%s", text)
	}
	must(t, "dataset", "list")
	if classes := must(t, "dataset", "classes", "voc20"); strings.Count(classes, "\n") != 20 {
		t.Errorf("classes of voc20:\n%s", classes)
	}
}
