package encoder

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/testdata"
)

// linked makes a directory whose files are those of another, with some replaced or added.
func linked(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	made := t.TempDir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if _, replaced := files[entry.Name()]; replaced {
			continue
		}
		absolute, err := filepath.Abs(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(absolute, filepath.Join(made, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		path := filepath.Join(made, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// A sentence encoder pools as its 1_Pooling/config.json says.
func TestSentencePooling(t *testing.T) {
	golden := testdata.Tensors(t, testdata.Golden(t, "encoders", "tiny-bert.safetensors"))
	dir := testdata.Golden(t, "models", "tiny-bert")
	modules := `[{"type": "sentence_transformers.models.Transformer", "path": ""},
		{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}, {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]`
	class := linked(t, dir, map[string]string{"modules.json": modules, "1_Pooling/config.json": `{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}`})
	encoder, err := OpenText(class, Options{})
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for name, ids := range golden {
		prefix, ok := strings.CutSuffix(name, ".ids")
		if !ok {
			continue
		}
		row := make([]int32, len(ids.Data))
		for i, id := range ids.Data {
			row[i] = int32(id)
		}
		got, err := encoder.(*textTransformer).EmbedIDs(t.Context(), [][]int32{row})
		if err != nil {
			t.Fatal(err)
		}
		want := append([]float64(nil), golden[prefix+".tokens"].Data[:encoder.Width()]...)
		squares := 0.0
		for _, v := range want {
			squares += v * v
		}
		for i := range want {
			want[i] /= math.Sqrt(squares)
		}
		compareVectors(t, prefix, got, want, len(want), 2e-4)
		checked++
	}
	if checked == 0 {
		t.Error("no cases")
	}
	mean := linked(t, dir, map[string]string{"1_Pooling/config.json": `{"pooling_mode_mean_tokens": true}`})
	if e, err := OpenText(mean, Options{}); err != nil || e.(*textTransformer).pooling != meanToken {
		t.Errorf("the mean: %v", err)
	}
	for text, files := range map[string]map[string]string{
		"neither by the mean": {"1_Pooling/config.json": `{"pooling_mode_max_tokens": true}`},
		"has a layer":         {"modules.json": strings.Replace(modules, "models.Normalize", "models.Dense", 1)},
	} {
		if _, err := OpenText(linked(t, dir, files), Options{}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: error %v, expected %q", files, err, text)
		}
	}
}

// Towers of OpenCLIP that are computed in another way than CLIP's are refused instead of computed wrongly.
func TestOpenCLIPVariants(t *testing.T) {
	dir := testdata.Golden(t, "models", "tiny-clip-openclip")
	change := func(tower, key string, value any) string {
		var config map[string]any
		testdata.JSON(t, filepath.Join(dir, "open_clip_config.json"), &config)
		config["model_cfg"].(map[string]any)[tower].(map[string]any)[key] = value
		text, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		return linked(t, dir, map[string]string{"open_clip_config.json": string(text)})
	}
	for _, c := range []struct {
		tower, key string
		value      any
	}{
		{"vision_cfg", "pool_type", "avg"}, {"vision_cfg", "no_ln_pre", true}, {"vision_cfg", "attentional_pool", true},
		{"vision_cfg", "timm_model_name", "vit_base_patch16_siglip_224"}, {"text_cfg", "no_causal_mask", true},
		{"text_cfg", "embed_cls", true}, {"text_cfg", "hf_model_name", "roberta-base"}, {"text_cfg", "pool_type", "last"},
	} {
		changed := change(c.tower, c.key, c.value)
		_, err := OpenVision(changed, Options{})
		if c.tower == "text_cfg" {
			_, err = OpenText(changed, Options{})
		}
		if err == nil || !strings.Contains(err.Error(), c.key) && !strings.Contains(err.Error(), "roberta-base") {
			t.Errorf("%s %s = %v: error %v", c.tower, c.key, c.value, err)
		}
	}
	for _, c := range []struct{ tower, key, value string }{{"vision_cfg", "pool_type", "tok"}, {"text_cfg", "pool_type", "argmax"}} {
		changed := change(c.tower, c.key, c.value)
		if _, err := OpenVision(changed, Options{}); err != nil {
			t.Error(err)
		}
		if _, err := OpenText(changed, Options{}); err != nil {
			t.Error(err)
		}
	}
}
