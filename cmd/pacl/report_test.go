package main

import (
	"bufio"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/models/builtin"
)

// TestMain lets a test run the program as a process of its own, to kill it.
func TestMain(m *testing.M) {
	if os.Getenv("PACL_TEST_AS_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

const testExperiments = `
title = "Scenes"

[[model]]
name = "built-in"
model = "builtin"
methods = ["pacl", "plain", "naclip", "mean"]

[[model]]
name = "vit"
vision = "${PACL_TEST_VIT}"
text = "${PACL_TEST_NAMES}"
methods = ["tokens", "plain"]

[[model]]
name = "elsewhere"
model = "no-such-model"
methods = ["pacl"]

[[options]]
name = "own"

[[options]]
name = "refined"
refine = "pamr(1)x2"

[[dataset]]
name = "folder"
path = "scenes"
pictures = ["pacl"]

[[dataset]]
name = "folder"
experiment = "patches"
path = "scenes"
methods = ["plain", "pacl"]

[[dataset]]
name = "folder"
experiment = "coherence"
path = "scenes"
options = ["own"]

[[dataset]]
name = "colours"
experiment = "classify"
by = "class"
path = "classes"
options = ["own"]
methods = ["plain", "tokens"]

[[dataset]]
name = "captions"
experiment = "retrieval"
path = "scenes/captions.tsv"
limit = 4
options = ["own"]
methods = ["pacl"]
`

var seconds = regexp.MustCompile(`<td class="n">[0-9.]+</td>\s*<td>`)

// pages are what a report wrote, but for how long its cells took.
func pages(t *testing.T, folder string) string {
	t.Helper()
	all := ""
	for _, name := range []string{"report.md", "report.html"} {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		all += strings.ReplaceAll(seconds.ReplaceAllString(string(data), ""), folder, "FOLDER")
	}
	return all
}

// A report that is killed at any moment goes on where it was and ends with the same pages as one that was let be.
func TestReportSurvivesKills(t *testing.T) {
	w := newMeasured(t)
	t.Setenv("PACL_TEST_VIT", w.vit)
	t.Setenv("PACL_TEST_NAMES", w.names)
	experiments := filepath.Join(w.root, "experiments.toml")
	writeTo(t, experiments, []byte(testExperiments))
	whole, killed := filepath.Join(w.root, "whole"), filepath.Join(w.root, "killed")
	status, _, log := execute(t, "report", experiments, "--out", whole)
	if status != 0 {
		t.Fatalf("status %d: %s", status, log)
	}
	for _, kill := range []int{2, 5, 4} { // after so many lines of its log
		program := exec.Command(os.Args[0], "report", experiments, "--out", killed)
		program.Env = append(os.Environ(), "PACL_TEST_AS_PROGRAM=1")
		stderr, err := program.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stderr)
		for n := 0; lines.Scan(); {
			if n++; n == kill {
				program.Process.Kill()
			}
		}
		if err := program.Wait(); err == nil {
			t.Fatalf("the program ended before it was killed")
		}
	}
	status, _, again := execute(t, "report", experiments, "--out", killed)
	if status != 0 || !strings.Contains(again, ", stored") {
		t.Fatalf("status %d: %s", status, again)
	}
	if got, want := pages(t, killed), pages(t, whole); got != want {
		t.Errorf("the pages differ:\n%s\n%s", got, want)
	}
	text := pages(t, whole)
	for _, part := range []string{
		"encoder without a projection to the space of texts", "the head was trained with the pooling pacl", `model "no-such-model" not found`,
		"refinement and thresholds are for masks", "own tokens are compared with one another only", "95 % interval",
		"pacl eval folder --data " + filepath.Join(w.root, "scenes") + " --model builtin --protocol 'folder n=10 ",
		`pacl eval coherence folder --data ` + filepath.Join(w.root, "scenes") + ` --vision "${PACL_TEST_VIT}" --text "${PACL_TEST_NAMES}" --protocol `,
		"(pictures/1-1-best-1.jpg)", "(pictures/roc-3.png)", "data:image/jpeg;base64,", "instruction set",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the pages lack %q", part)
		}
	}
	markdown, err := os.ReadFile(filepath.Join(whole, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	repeatCommands(t, string(markdown), 2)
	for _, file := range []string{"pictures/1-1-best-1.jpg", "pictures/roc-3.png"} {
		if _, err := os.Stat(filepath.Join(whole, file)); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

// commandLine splits a command of a report as a shell does: quotes, and variables in double quotes.
func commandLine(t *testing.T, line string) (words []string) {
	t.Helper()
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		end := strings.IndexByte(line, ' ')
		if quote := line[0]; quote == '"' || quote == '\'' {
			close := strings.IndexByte(line[1:], quote)
			if close < 0 {
				t.Fatalf("no closing quote in %s", line)
			}
			word := line[1 : 1+close]
			if quote == '"' {
				word = os.ExpandEnv(word)
			}
			words, line = append(words, word), line[close+2:]
			continue
		}
		if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words
}

// repeatCommands runs the commands of a report and looks for their numbers in its tables, beside their protocols.
func repeatCommands(t *testing.T, markdown string, every int) {
	t.Helper()
	_, commands, _ := strings.Cut(markdown, "Each number alone:\n\n```\n")
	commands, _, _ = strings.Cut(commands, "```")
	for i, line := range strings.Split(strings.TrimSpace(commands), "\n") {
		if i%every != 0 {
			continue
		}
		words := commandLine(t, line)
		if len(words) < 3 || words[0] != "pacl" {
			t.Fatalf("command %q", line)
		}
		r := result(t, must(t, append([]string{"-q"}, append(words[1:], "--json")...)...))
		value, found := 0.0, false
		for _, key := range []string{"miou", "auc", "accuracy"} {
			if v, ok := r[key].(float64); ok && !found {
				value, found = v, true
			}
		}
		if recall, ok := r["image_to_text"].(map[string]any); ok {
			value, found = recall["1"].(float64), true
		}
		if !found {
			t.Fatalf("%s: no number in %v", line, r)
		}
		number := regexp.MustCompile(fmt.Sprintf(`(?m)^\|.* \*{0,2}%.2f\*{0,2} \|.*%s`, 100*value, regexp.QuoteMeta("`"+r["protocol"].(string)+"`")))
		if !number.MatchString(markdown) {
			t.Errorf("%s gives %.4f, which the report lacks", line, 100*value)
		}
	}
}

// tinyLayouts writes two photos of each public data set in its layout, and sets the variables of experiments/paper.toml.
func tinyLayouts(t *testing.T, root, photo string) {
	t.Helper()
	data, err := os.ReadFile(photo)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := imaging.Decode(data, imaging.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(path string, ids ...uint8) {
		t.Helper()
		path = filepath.Join(root, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if len(ids) == 0 {
			rgba := image.NewRGBA(image.Rect(0, 0, picture.Width, picture.Height))
			for i := range picture.Width * picture.Height {
				copy(rgba.Pix[4*i:], append(picture.Pix[3*i:3*i+3:3*i+3], 255))
			}
			err = jpeg.Encode(file, rgba, nil)
		} else {
			gray := image.NewGray(image.Rect(0, 0, picture.Width, picture.Height))
			for i := range gray.Pix {
				gray.Pix[i] = ids[i*len(ids)/len(gray.Pix)]
			}
			err = png.Encode(file, gray)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, split := range []string{"train", "val"} {
		for _, name := range []string{"a", "b"} {
			name = split + name
			put("voc/JPEGImages/" + name + ".jpg")
			put("voc/SegmentationClass/"+name+".png", 0, 3, 15, 255)
			put("context/JPEGImages/" + name + ".jpg")
			put("context/SegmentationClassContext/"+name+".png", 0, 3, 59, 7)
			put("coco/" + split + "2017/" + name + ".jpg")
			put("coco/stuffthingmaps_trainval2017/"+split+"2017/"+name+".png", 0, 89, 181, 255)
		}
		list := []byte(split + "a\n" + split + "b\n")
		writeTo(t, filepath.Join(root, "voc/ImageSets/Segmentation", split+".txt"), list)
		writeTo(t, filepath.Join(root, "context/ImageSets/SegmentationContext", split+".txt"), list)
	}
	put("ade/images/validation/c.jpg")
	put("ade/annotations/validation/c.png", 0, 1, 150, 4)
	for _, set := range []string{"imagenet", "cifar10", "cifar100", "food101", "pets", "cars", "aircraft", "flowers102", "caltech101", "dtd", "eurosat", "sun397"} {
		put("classify/" + set + "/red/1.jpg")
		put("classify/" + set + "/green/1.jpg")
	}
	for name, path := range map[string]string{"VOC2012": "voc", "CONTEXT": "context", "COCO": "coco", "ADE20K": "ade", "CLASSIFY": "classify"} {
		t.Setenv(name, filepath.Join(root, path))
	}
}

// experiments/paper.toml has a number for every cell once its variables are set: here with the built-in model, and a photo or
// two of each data set.
func TestPaperExperiments(t *testing.T) {
	if testing.Short() {
		t.Skip("a few hundred cells")
	}
	w := newMeasured(t)
	tinyLayouts(t, filepath.Join(w.root, "tiny"), filepath.Join(w.root, "data", "images", "000.png"))
	t.Setenv("CLIP_B16", builtinCLIP(t))
	t.Setenv("PACL_HEAD", builtin.Name)
	t.Setenv("CAPTIONS", filepath.Join(w.scenes, "captions.tsv"))
	text, err := os.ReadFile("../../experiments/paper.toml")
	if err != nil {
		t.Fatal(err)
	}
	// The same matrix at sizes that take no time; a window must not be larger than its input.
	experiments := filepath.Join(w.root, "paper.toml")
	small := strings.NewReplacer(`"224 short"`, `"40 short"`, `"448 short"`, `"48 short"`, `"336 short"`, `"64 short"`,
		"stride = 8", "stride = 4", "window = 224", "window = 40", "window_stride = 112", "window_stride = 16", `templates = "80"`, `templates = "none"`).Replace(string(text))
	writeTo(t, experiments, []byte(small))
	out := filepath.Join(w.root, "report")
	status, stdout, stderr := execute(t, "report", experiments, "--out", out)
	if status != 0 || strings.Contains(stderr, "n/a") || strings.Contains(stderr, "failed") || !strings.Contains(stdout, "216 results") {
		t.Fatalf("status %d: %s%s", status, stdout, stderr)
	}
	markdown, err := os.ReadFile(filepath.Join(out, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"| published |", "72.3", "swept=train", "threshold=", "by=class classes=2 crop=center", "refine=pamr(8,16)x10", "vectors=tokens"} {
		if !strings.Contains(string(markdown), part) {
			t.Errorf("the tables lack %q", part)
		}
	}
	repeatCommands(t, string(markdown), 9)
}
