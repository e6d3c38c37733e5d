package pacl

import (
	"bytes"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/pretrain"
)

func TestTrainingCurves(t *testing.T) {
	var log []align.Progress
	for step := 1; step <= 40; step++ {
		p := align.Progress{Step: step, Steps: 40, Epochs: 4, Epoch: (step-1)/10 + 1, Loss: 4 / float64(step), Bound: 3 - 4/float64(step), Rate: 1e-3, LogitScale: 14}
		if step%10 == 0 {
			p.Validation = &align.Validation{Loss: 3, Bound: 1}
		}
		log = append(log, p)
	}
	panels := trainingPanels(log)
	mean := panels[0].Series[1]
	if want := 4.0; mean.Y[0] != want {
		t.Errorf("running mean begins at %g, expected %g", mean.Y[0], want)
	}
	want := 0.0
	for _, y := range panels[0].Series[0].Y[30:40] {
		want += y / 10
	}
	if math.Abs(mean.Y[39]-want) > 1e-12 {
		t.Errorf("running mean ends at %g, expected %g", mean.Y[39], want)
	}
	if n := len(panels[0].Series[2].X); n != 4 {
		t.Errorf("%d validations drawn, expected 4", n)
	}
	dir := t.TempDir()
	if err := drawCurves(dir); err != nil {
		t.Errorf("a training without a log: %v", err)
	}
	lines := `{"step":1,"steps":2,"epochs":1,"loss":2,"rate":0.1}` + "\n" + `{"step":2,"steps":2,"epochs":1,"loss":1}` + "\n" + `{"step":`
	if err := os.WriteFile(filepath.Join(dir, align.LogName), []byte(lines), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := drawCurves(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, CurvesName))
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil || picture.Bounds().Dx() < 600 {
		t.Errorf("curves: %v, %v", picture.Bounds(), err)
	}
}

// The curves of a pre-training are drawn from its log; a step of mosaics, which has no loss of CLIP's, has no place in that curve.
func TestPretrainingCurves(t *testing.T) {
	dir := t.TempDir()
	lines := `{"step":1,"loss":9,"clip_loss":4,"pacl_loss":5,"information_bound":0.1,"learning_rate":0.1}
{"step":2,"loss":5,"pacl_loss":5,"information_bound":-0.1,"learning_rate":0.1}
{"step":3,"loss":8,"clip_loss":3,"pacl_loss":5,"information_bound":0.2,"learning_rate":0.1}
{"step":`
	if err := os.WriteFile(filepath.Join(dir, "log.jsonl"), []byte(lines), 0o666); err != nil {
		t.Fatal(err)
	}
	log, err := pretrain.ReadLog(dir)
	if err != nil || len(log) != 3 {
		t.Fatalf("%d steps, %v", len(log), err)
	}
	panels := pretrainingPanels(log)
	if clip, pair := panels[0].Series[0], panels[0].Series[1]; len(clip.X) != 2 || clip.X[1] != 3 || clip.Y[1] != 3.5 || len(pair.X) != 3 {
		t.Errorf("losses %+v", panels[0].Series)
	}
	if err := DrawPretraining(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, CurvesName))
	if err != nil {
		t.Fatal(err)
	}
	if picture, err := png.Decode(bytes.NewReader(data)); err != nil || picture.Bounds().Dx() < 600 {
		t.Errorf("curves: %v", err)
	}
	if err := DrawPretraining(t.TempDir()); err == nil {
		t.Error("a folder without a log: no error")
	}
}
