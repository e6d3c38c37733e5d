package demo

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"image/jpeg"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pacl/pacl/models/builtin"
	"github.com/pacl/pacl/scene"
)

// TestDemo runs a small demonstration and looks at what it leaves behind.
func TestDemo(t *testing.T) {
	model, clip, err := builtin.Dir()
	if errors.Is(err, builtin.ErrLeftOut) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	stages := map[string]bool{}
	report, err := Run(context.Background(), Options{Model: model, CLIP: clip, Out: out, Scenes: 12, Training: 120,
		Progress: func(stage string, done, total int) {
			if done > total {
				t.Errorf("%s: %d of %d", stage, done, total)
			}
			stages[strings.Split(stage, ",")[0]] = true
		}})
	if err != nil {
		t.Fatal(err)
	}
	if len(stages) < 5 {
		t.Errorf("only these stages were told of: %v", stages)
	}
	figures := map[string]Method{}
	for _, m := range report.Methods {
		figures[m.Name] = m
		for what, share := range map[string]float64{"mIoU": m.MIoU, "mIoU of novel pairs": m.Novel, "patches": m.Patches, "coherence": m.Coherence} {
			if !(share >= 0 && share <= 1) {
				t.Errorf("%s: %s is %g", m.Name, what, share)
			}
		}
	}
	for _, name := range []string{"plain", "MaskCLIP", "SCLIP", "ClearCLIP", "NACLIP"} {
		free, ok := figures[name]
		if !ok {
			t.Fatalf("%s is missing in %v", name, report.Methods)
		}
		if free.MIoU >= figures["PACL"].MIoU {
			t.Errorf("%s reads out better than the trained head: %+v, %+v", name, free, figures["PACL"])
		}
	}
	if live := report.Live; live == nil || live.Steps != len(live.Losses) || !(live.LastLoss < live.FirstLoss) {
		t.Errorf("the live training went wrong: %+v", live)
	}
	if !strings.Contains(report.Protocol, "n=12") || !strings.Contains(report.Protocol, "background=ignored") {
		t.Errorf("protocol line %q", report.Protocol)
	}

	page, err := os.ReadFile(report.Page)
	if err != nil {
		t.Fatal(err)
	}
	if outside := regexp.MustCompile(`(src|href)="(?:https?:)?//[^"]*|@import|<script|<link`).Find(page); outside != nil {
		t.Errorf("the page asks for %q", outside)
	}
	inside := regexp.MustCompile(`src="data:image/jpeg;base64,([^"]+)"`).FindAllSubmatch(page, -1)
	if len(inside) != 2*shownScenes {
		t.Errorf("%d pictures on the page, expected %d", len(inside), 2*shownScenes)
	}
	for i, match := range inside {
		// html/template writes + as an entity.
		data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(match[1]), "&#43;", "+"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
			t.Errorf("picture %d: %v", i, err)
		}
	}
	if !strings.Contains(string(page), "Korean words") || !strings.Contains(string(page), "synonyms only") {
		t.Error("the page shows no scene segmented by synonyms, or none by Korean words")
	}
	if len(report.Pictures) != 2*shownScenes {
		t.Errorf("pictures %v", report.Pictures)
	}
	for _, path := range report.Pictures {
		if info, err := os.Stat(path); err != nil || info.Size() < 1000 || filepath.Dir(path) != out {
			t.Errorf("picture %s: %v, %v", path, info, err)
		}
	}
}

// TestCancel stops the demonstration at once.
func TestCancel(t *testing.T) {
	model, clip, err := builtin.Dir()
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, Options{Model: model, CLIP: clip, Out: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, expected %v", err, context.Canceled)
	}
}

// TestShownScene asks that synonyms are shown of kinds that have them.
func TestShownScene(t *testing.T) {
	synonyms := func(k scene.Kind) []string { return k.English[1:] }
	for seed := uint64(0); seed < 20; seed++ {
		for _, o := range shownScene(seed, synonyms).Objects {
			if len(scene.Kinds[o.Kind].English) < 2 {
				t.Errorf("seed %d shows a %s, which has no synonym", seed, scene.Kinds[o.Kind].Name())
			}
		}
	}
}
