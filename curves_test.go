package pacl

import (
	"bytes"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/pacl/pacl/align"
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
