package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/pacl/pacl/feature"
)

func TestShardNumbers(t *testing.T) {
	slurm := func(id, count, first, step string) map[string]string {
		return map[string]string{"SLURM_ARRAY_TASK_ID": id, "SLURM_ARRAY_TASK_COUNT": count, "SLURM_ARRAY_TASK_MIN": first, "SLURM_ARRAY_TASK_STEP": step}
	}
	job := func(index string) map[string]string { return map[string]string{"JOB_COMPLETION_INDEX": index} }
	both := slurm("1", "4", "0", "1")
	both["JOB_COMPLETION_INDEX"] = "3"
	tests := []struct {
		flag         string
		environment  map[string]string
		index, count int
		want         string // part of an error
	}{
		{"", nil, 0, 1, ""},
		{"2/5", nil, 2, 5, ""},
		{"2/5", slurm("0", "16", "0", "1"), 2, 5, ""},
		{"5/5", nil, 0, 0, "expected I/N"},
		{"-1/5", nil, 0, 0, "expected I/N"},
		{"1/0", nil, 0, 0, "expected I/N"},
		{"1", nil, 0, 0, "expected I/N"},
		{"a/b", nil, 0, 0, "expected I/N"},
		{"1/2/3", nil, 0, 0, "expected I/N"},
		{"", slurm("0", "16", "0", "1"), 0, 16, ""},
		{"", slurm("15", "16", "0", "1"), 15, 16, ""},
		{"", slurm("1", "16", "1", "1"), 0, 16, ""},
		{"", slurm("16", "16", "1", "1"), 15, 16, ""},
		{"", slurm("12", "4", "0", "4"), 3, 4, ""},
		{"", slurm("110", "3", "100", "5"), 2, 3, ""},
		{"", map[string]string{"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, 3, 4, ""},
		{"", slurm("7", "3", "1", "1"), 0, 0, "part 6 of 3"}, // --array=1,3,7
		{"", slurm("3", "4", "0", "2"), 0, 0, "in steps of 2"},
		{"", slurm("x", "4", "0", "1"), 0, 0, `SLURM_ARRAY_TASK_ID is "x"`},
		{"", slurm("3", "", "0", "1"), 0, 0, `SLURM_ARRAY_TASK_COUNT is ""`},
		{"/16", slurm("5", "2", "5", "1"), 5, 16, ""}, // lost parts again: --array=5,11
		{"/16", slurm("11", "2", "5", "1"), 11, 16, ""},
		{"/16", slurm("16", "16", "1", "1"), 0, 0, "part 16 of 16"},
		{"/8", job("0"), 0, 8, ""},
		{"/8", job("7"), 7, 8, ""},
		{"/8", job("8"), 0, 0, "part 8 of 8"},
		{"", job("3"), 0, 0, "set --shard /N"},
		{"3/8", job("5"), 3, 8, ""},
		{"/8", nil, 0, 0, "neither is set"},
		{"/0", job("0"), 0, 0, "expected I/N"},
		{"", both, 1, 4, ""},
	}
	for _, test := range tests {
		got, err := parseShard(test.flag, func(name string) string { return test.environment[name] })
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("--shard %q with %v: %+v, error %v, expected %q", test.flag, test.environment, got, err, test.want)
			}
			continue
		}
		if err != nil || got.index != test.index || got.count != test.count {
			t.Errorf("--shard %q with %v: %d of %d, %v, expected %d of %d", test.flag, test.environment, got.index, got.count, err, test.index, test.count)
		}
	}
}

// deployed runs a command as a cluster does: the test's own binary as pacl (see TestMain), with variables of the cluster.
func deployed(t *testing.T, environment []string, name string, args ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(name, args...)
	command.Env = append(os.Environ(), "PACL_TEST_AS_PROGRAM=1", "PACL="+self, "GOMAXPROCS=2")
	command.Env = append(command.Env, environment...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// The script for Slurm, run with the variables that an array of three tasks has, makes a cache; what a task lost is named
// and made again.
func TestSlurmArray(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a script for bash")
	}
	w := newWorld(t)
	out := filepath.Join(w.root, "parts")
	task := func(environment ...string) {
		t.Helper()
		output, err := deployed(t, environment, "bash", "../../deploy/slurm-features.sh", w.captions, w.vit, w.names, out, "--flip", "--precision", "f32")
		if err != nil {
			t.Fatalf("%v: %v\n%s", environment, err, output)
		}
	}
	for _, id := range []string{"1", "2", "3"} {
		task("SLURM_ARRAY_TASK_ID="+id, "SLURM_ARRAY_TASK_COUNT=3", "SLURM_ARRAY_TASK_MIN=1", "SLURM_ARRAY_TASK_MAX=3", "SLURM_ARRAY_TASK_STEP=1", "SLURM_CPUS_PER_TASK=2")
	}
	sameFeatures(t, out, w.head+".features")

	if err := os.RemoveAll(filepath.Join(out, "part-002-of-003")); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := execute(t, "train", "--features", out, "--out", filepath.Join(w.root, "never"))
	if status != 1 || !strings.Contains(stderr, "part-002-of-003 (pacl features --shard 1/3)") {
		t.Errorf("a lost part: status %d, %s", status, stderr)
	}
	if about := must(t, "info", out); !strings.Contains(about, "missing: part-002-of-003") || !strings.Contains(about, "2 finished parts of 3") {
		t.Errorf("info says %s", about)
	}
	task("SLURM_ARRAY_TASK_ID=1", "SLURM_ARRAY_TASK_COUNT=1", "SLURM_ARRAY_TASK_MIN=1", "SLURM_ARRAY_TASK_MAX=1", "SLURM_ARRAY_TASK_STEP=1", "SHARDS=3")
	sameFeatures(t, out, w.head+".features")

	// A part of another list does not pass for one of these.
	if err := os.RemoveAll(filepath.Join(out, "part-002-of-003")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(w.captions)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(filepath.Dir(w.captions), "other.tsv")
	if err := os.WriteFile(other, append(text, "images/000.png\tanother red caption\n"...), 0o666); err != nil {
		t.Fatal(err)
	}
	must(t, "-q", "features", "--captions", other, "--vision", w.vit, "--text", w.names, "--out", out, "--flip", "--precision", "f32", "--shard", "1/3")
	if status, _, stderr := execute(t, "train", "--features", out, "--out", filepath.Join(w.root, "never")); status != 1 || !strings.Contains(stderr, "data list") {
		t.Errorf("a part of another list: status %d, %s", status, stderr)
	}
}

// The command of the Indexed Job, run once for each completion, makes a cache.
func TestKubernetesIndexedJob(t *testing.T) {
	w := newWorld(t)
	text, err := os.ReadFile("../../deploy/kubernetes-features.yaml")
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		if m == nil {
			t.Fatalf("no %s in the job", pattern)
		}
		return string(m[1])
	}
	completions := find(`(?m)^  completions: (\d+)$`)
	if find(`(?m)^  completionMode: (\w+)$`) != "Indexed" || completions != "8" {
		t.Fatalf("an Indexed Job of 8 was expected, found %s completions", completions)
	}
	out := filepath.Join(w.root, "parts")
	replace := map[string]string{"/data/captions.tsv": w.captions, "/models/vision": w.vit, "/models/text": w.names, "/data/features": out}
	var args []string
	for _, quoted := range strings.Split(find(`(?m)^          args: \[(.*)\]$`), ", ") {
		arg := strings.Trim(quoted, `"`)
		if local, ok := replace[arg]; ok {
			arg = local
		}
		args = append(args, arg)
	}
	if last := args[len(args)-1]; last != "/"+completions {
		t.Errorf("--shard %s, but %s completions", last, completions)
	}
	args = append(args, "--flip", "--precision", "f32")
	for index := range 8 {
		t.Setenv("JOB_COMPLETION_INDEX", string(rune('0'+index)))
		must(t, append([]string{"-q"}, args...)...)
	}
	sameFeatures(t, out, w.head+".features")
}

// sameFeatures checks that two caches hold the same images, captions and numbers.
func sameFeatures(t *testing.T, a, b string) {
	t.Helper()
	var caches []*feature.Cache
	for _, dir := range []string{a, b} {
		c, err := feature.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		caches = append(caches, c)
	}
	x, y := caches[0], caches[1]
	if x.Len() != y.Len() {
		t.Fatalf("%d images, expected %d", x.Len(), y.Len())
	}
	for i := range x.Len() {
		if x.Key(i) != y.Key(i) || x.CaptionCount(i) != y.CaptionCount(i) || x.Caption(i, 0).Text != y.Caption(i, 0).Text {
			t.Fatalf("image %d is %s, expected %s", i, x.Key(i), y.Key(i))
		}
		for view := range x.Views() {
			p, q := x.Tokens(i, view), y.Tokens(i, view)
			for k := range p {
				if p[k] != q[k] {
					t.Fatalf("image %d, view %d, number %d differs", i, view, k)
				}
			}
		}
	}
}
