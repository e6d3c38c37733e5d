package encoder

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/testdata"
	"github.com/pacl/pacl/weights"
)

// OpenAI's archive holds the tensors of the Hugging Face directory, split and transposed as the two schemes say, bit for
// bit.
func TestGoldenOpenAITensors(t *testing.T) {
	archive := openWeights(t, testdata.Golden(t, "models", "tiny-clip-openai", "tiny.pt"))
	directory := openWeights(t, testdata.Golden(t, "models", "tiny-clip-hf"))
	seen := map[string]bool{}
	compare := func(from, to scheme) {
		for _, name := range [][2]string{{from.class, to.class}, {from.position, to.position}, {from.tokens, to.tokens},
			{from.patch + ".weight", to.patch + ".weight"}} {
			if name[0] != "" && name[0] != ".weight" {
				compareTensor(t, archive, directory, name[0], name[1], seen)
			}
		}
		for _, name := range [][2]string{{from.preNorm, to.preNorm}, {from.finalNorm, to.finalNorm}} {
			compareLayer(t, archive, directory, name[0], name[1], seen)
		}
		compareTransposed(t, archive, directory, from.projectionTransposed, to.projection, seen)
		for i := 0; hasTensor(archive, from.at(i).norm1+".weight"); i++ {
			a, b := from.at(i), to.at(i)
			for _, name := range [][2]string{{a.norm1, b.norm1}, {a.norm2, b.norm2}, {a.out, b.out}, {a.fc1, b.fc1}, {a.fc2, b.fc2}} {
				compareLayer(t, archive, directory, name[0], name[1], seen)
			}
			for _, kind := range []string{"weight", "bias"} {
				joined := mustTensor(t, archive, a.inProjection+kind, seen)
				var parts []byte
				for _, name := range []string{b.query, b.key, b.value} {
					parts = append(parts, mustTensor(t, directory, name+"."+kind, nil).Data...)
				}
				if !bytes.Equal(joined.Data, parts) {
					t.Errorf("%s%s is not the queries, keys and values of the directory", a.inProjection, kind)
				}
			}
		}
	}
	compare(openCLIPVisionScheme(), clipVisionScheme())
	compare(openCLIPTextScheme(), clipTextScheme())
	a, b := mustTensor(t, archive, "logit_scale", seen).Float64(), mustTensor(t, directory, "logit_scale", nil).Float64()
	if len(a) != 1 || math.Abs(a[0]-b[0]) > 1e-6*math.Abs(b[0]) {
		t.Errorf("logit_scale is %v, expected %v", a, b)
	}
	for _, name := range archive.Names() {
		if tensor, _ := archive.Get(name); !seen[name] && tensor.Len() > 1 {
			t.Errorf("tensor %s was compared with nothing", name)
		}
	}
	t.Logf("%d tensors are equal", len(seen))
}

func openWeights(t *testing.T, path string) *weights.Set {
	t.Helper()
	set, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

func hasTensor(set *weights.Set, name string) bool {
	_, ok := set.Get(name)
	return ok
}

func mustTensor(t *testing.T, set *weights.Set, name string, seen map[string]bool) weights.Tensor {
	t.Helper()
	tensor, ok := set.Get(name)
	if !ok {
		t.Fatalf("%s: tensor %s is missing", set.Path(), name)
	}
	if seen != nil {
		seen[name] = true
	}
	return tensor
}

func compareTensor(t *testing.T, a, b *weights.Set, from, to string, seen map[string]bool) {
	t.Helper()
	x, y := mustTensor(t, a, from, seen), mustTensor(t, b, to, nil)
	if x.DType != y.DType || !bytes.Equal(x.Data, y.Data) {
		t.Errorf("%s %s%v differs from %s %s%v", from, x.DType, x.Shape, to, y.DType, y.Shape)
	}
}

func compareLayer(t *testing.T, a, b *weights.Set, from, to string, seen map[string]bool) {
	t.Helper()
	if from == "" {
		return
	}
	compareTensor(t, a, b, from+".weight", to+".weight", seen)
	compareTensor(t, a, b, from+".bias", to+".bias", seen)
}

func compareTransposed(t *testing.T, a, b *weights.Set, from, to string, seen map[string]bool) {
	t.Helper()
	x, y := mustTensor(t, a, from, seen), mustTensor(t, b, to, nil)
	rows, columns, size := x.Shape[0], x.Shape[1], x.DType.Size()
	transposed := make([]byte, 0, len(x.Data))
	for c := range columns {
		for r := range rows {
			transposed = append(transposed, x.Data[(r*columns+c)*size:][:size]...)
		}
	}
	if x.DType != y.DType || fmt.Sprint(y.Shape) != fmt.Sprint([]int{columns, rows}) || !bytes.Equal(transposed, y.Data) {
		t.Errorf("%s transposed differs from %s", from, to)
	}
}

// OpenAI's archive has no tokenizer: it comes from where the user says, then from the hub cache.
func TestOpenAITokenizer(t *testing.T) {
	file := testdata.Golden(t, "models", "tiny-clip-openai", "tiny.pt")
	directory := testdata.Golden(t, "models", "tiny-clip-hf")
	v, err := OpenVision(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if info := v.Info(); info.Family != "clip" || info.ProjectionDim == 0 || info.PatchSize < 2 {
		t.Errorf("vision encoder %+v", info)
	}
	text, err := OpenText(file, Options{Tokenizer: directory})
	if err != nil {
		t.Fatal(err)
	}
	want, err := text.Embed(context.Background(), []string{"a photo of a cat"})
	if err != nil {
		t.Fatal(err)
	}
	if text.Width() != v.Info().ProjectionDim {
		t.Errorf("texts of width %d, images of %d", text.Width(), v.Info().ProjectionDim)
	}
	t.Setenv("PACL_MODELS", "")
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	if _, err := OpenText(file, Options{}); err == nil || !strings.Contains(err.Error(), "--tokenizer") {
		t.Errorf("without a tokenizer: %v", err)
	}
	t.Setenv("HF_HUB_CACHE", cacheOf(t, "openai/clip-vit-base-patch32", directory))
	if text, err = OpenText(file, Options{}); err != nil {
		t.Fatal(err)
	}
	got, err := text.Embed(context.Background(), []string{"a photo of a cat"})
	if err != nil {
		t.Fatal(err)
	}
	compareVectors(t, "with the cache's tokenizer", got, float64s(want), text.Width(), 1e-6)
}

func float64s(values []float32) []float64 {
	result := make([]float64, len(values))
	for i, v := range values {
		result[i] = float64(v)
	}
	return result
}

// cacheOf makes a hub cache whose only model is a directory.
func cacheOf(t *testing.T, id, directory string) string {
	t.Helper()
	cache := t.TempDir()
	root := filepath.Join(cache, "models--"+strings.ReplaceAll(id, "/", "--"))
	for _, dir := range []string{"refs", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "refs", "main"), []byte("0123456789abcdef"), 0o666); err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(directory)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(absolute, filepath.Join(root, "snapshots", "0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	return cache
}
