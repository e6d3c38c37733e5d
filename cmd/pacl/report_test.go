package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
pictures = true

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
	for _, file := range []string{"pictures/1-1-best-1.jpg", "pictures/roc-3.png"} {
		if _, err := os.Stat(filepath.Join(whole, file)); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}
