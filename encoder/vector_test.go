package encoder

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/fixture"
	"github.com/pacl/pacl/weights"
)

// A tensor that is missing is told by its name; without biases a layer has none.
func TestMissingTensors(t *testing.T) {
	dir := fixture.ViT(t, filepath.Join(t.TempDir(), "vit"), 1)
	set, err := weights.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, missing := range set.Names() {
		if strings.HasSuffix(missing, ".bias") && !strings.Contains(missing, "norm") {
			continue
		}
		var rest []weights.Tensor
		for _, name := range set.Names() {
			if tensor, _ := set.Get(name); name != missing {
				rest = append(rest, tensor)
			}
		}
		damaged := fixture.ViT(t, filepath.Join(t.TempDir(), "damaged"), 1)
		if err := weights.Write(filepath.Join(damaged, "model.safetensors"), rest, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenVision(damaged, Options{}); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: error %v, expected one that names it", missing, err)
		}
	}
}
