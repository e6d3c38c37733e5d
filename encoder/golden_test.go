package encoder

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/internal/testdata"
)

// goldenModel finds the model that a golden file was made with.
func goldenModel(t *testing.T, name string) string {
	if name == "tiny-dinov3-eupe" {
		return testdata.Golden(t, "models", "tiny-eupe-pt")
	}
	for _, dir := range []string{testdata.Golden(t, "models"), filepath.Join(testdata.Root(), "models")} {
		if path := filepath.Join(dir, name); exists(path) {
			return path
		}
	}
	t.Fatalf("no model directory %s", name)
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// compareVectors checks rows of width numbers: each error at most the tolerance of the row's length, the median a tenth.
func compareVectors(t *testing.T, what string, got []float32, want []float64, width int, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d numbers, expected %d", what, len(got), len(want))
		return
	}
	var errs []float64
	for r := 0; r < len(want); r += width {
		var length, difference float64
		for c := range width {
			length += want[r+c] * want[r+c]
			d := float64(got[r+c]) - want[r+c]
			difference += d * d
		}
		errs = append(errs, math.Sqrt(difference/length))
	}
	slices.Sort(errs)
	worst, median := errs[len(errs)-1], errs[len(errs)/2]
	if !(worst <= tolerance && median <= tolerance/10) {
		t.Errorf("%s: worst error %.3g, median %.3g, expected %.3g and %.3g", what, worst, median, tolerance, tolerance/10)
	}
}

var visionCase = regexp.MustCompile(`^vision\.(\d+)x(\d+)\.s(\d+)\.(\w+)$`)

func TestGoldenVision(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testdata.Golden(t, "encoders"), "*.safetensors"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden encoders: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".safetensors")
		tensors := testdata.Tensors(t, file)
		name = strings.TrimSuffix(name, ".readouts")
		models := []string{name}
		if name == "tiny-dinov3" {
			models = append(models, "tiny-dinov3-eupe")
		}
		for _, model := range models {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".safetensors")+"/"+model, func(t *testing.T) {
				checkVision(t, model, tensors)
			})
		}
	}
}

func checkVision(t *testing.T, model string, tensors map[string]testdata.Tensor) {
	checked := 0
	var v *Vision
	for key, input := range tensors {
		m := visionCase.FindStringSubmatch(key)
		if m == nil || m[4] != "pixels" && m[4] != "rgb" {
			continue
		}
		if v == nil {
			var err error
			if v, err = OpenVision(goldenModel(t, model), Options{}); err != nil {
				t.Fatal(err)
			}
		}
		height, _ := strconv.Atoi(m[1])
		width, _ := strconv.Atoi(m[2])
		stride, _ := strconv.Atoi(m[3])
		pixels := input.Float32()
		batch := len(pixels) / (3 * height * width)
		if m[4] == "rgb" {
			pixels = nil
			for b := range batch {
				im := imaging.New(width, height)
				for i := range im.Pix {
					im.Pix[i] = uint8(input.Data[b*len(im.Pix)+i])
				}
				pixels = v.AppendPixels(pixels, im)
			}
		}
		prefix := strings.TrimSuffix(key, m[4])
		for other, want := range tensors {
			kind, ok := strings.CutPrefix(other, prefix)
			if !ok || kind == m[4] {
				continue
			}
			checked++
			out, err := v.Encode(context.Background(), pixels, batch, height, width, EncodeOptions{Stride: stride, Readout: readoutOf(t, kind)})
			if err != nil {
				t.Fatal(err)
			}
			got := out.Patches
			switch kind {
			case "cls_token":
				got = out.Class
			case "image_embeddings":
				if got, err = v.Project(out.Class); err != nil {
					t.Fatal(err)
				}
			}
			compareVectors(t, other, got, want.Data, want.Shape[len(want.Shape)-1], 2e-4)
		}
	}
	if checked == 0 {
		t.Skip("no vision cases")
	}
}

func readoutOf(t *testing.T, kind string) Readout {
	switch kind {
	case "patch_tokens", "cls_token", "image_embeddings":
		return NoReadout
	case "patch_embeddings":
		return Plain
	}
	r, err := ParseReadout(kind)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// bfloat16 features of real photos stay close to float32 ones. One patch of this photo is ill-conditioned: its cosine goes from
// 0.989 to 0.9995 with the order of sums of the instruction set, where that of all others stays above 0.999.
func TestBFloat16Features(t *testing.T) {
	tensors := testdata.Tensors(t, testdata.Golden(t, "encoders", "vit-tiny-16.safetensors"))
	v, err := OpenVision(goldenModel(t, "vit-tiny-16"), Options{Precision: kernel.BFloat16})
	if err != nil {
		t.Fatal(err)
	}
	input := tensors["vision.224x320.s16.rgb"]
	im := imaging.New(input.Shape[2], input.Shape[1])
	for i := range im.Pix {
		im.Pix[i] = uint8(input.Data[i])
	}
	out, err := v.Encode(context.Background(), v.Pixels(im), 1, im.Height, im.Width, EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := tensors["vision.224x320.s16.patch_tokens"].Data
	var cosines []float64
	for r := 0; r < len(want); r += out.Width {
		var ab, aa, bb float64
		for c := range out.Width {
			a, b := float64(out.Patches[r+c]), want[r+c]
			ab, aa, bb = ab+a*b, aa+a*a, bb+b*b
		}
		cosines = append(cosines, ab/math.Sqrt(aa*bb))
	}
	slices.Sort(cosines)
	worst, percentile, median := cosines[0], cosines[len(cosines)/100], cosines[len(cosines)/2]
	if !(worst >= 0.98 && percentile >= 0.999 && median >= 0.9998) {
		t.Errorf("cosines: worst %.5f, first percentile %.5f, median %.5f; expected at least 0.98, 0.999 and 0.9998", worst, percentile, median)
	}
	t.Logf("cosines: worst %.6f, first percentile %.6f, median %.6f", worst, percentile, median)
}

func TestGoldenText(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(testdata.Golden(t, "encoders"), "*.texts.json"))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".texts.json")
		t.Run(name, func(t *testing.T) {
			var texts []string
			testdata.JSON(t, file, &texts)
			tensors := testdata.Tensors(t, strings.TrimSuffix(file, ".texts.json")+".safetensors")
			encoder, err := OpenText(goldenModel(t, name), Options{})
			if err != nil {
				t.Fatal(err)
			}
			ids, want := tensors["text.ids"], tensors["text.embeddings"]
			rows := make([][]int32, ids.Shape[0])
			for i := range rows {
				for _, id := range ids.Data[i*ids.Shape[1] : (i+1)*ids.Shape[1]] {
					rows[i] = append(rows[i], int32(id))
				}
			}
			got, err := encoder.(*textTransformer).EmbedIDs(context.Background(), rows)
			if err != nil {
				t.Fatal(err)
			}
			compareVectors(t, "ids", got, want.Data, want.Shape[1], 2e-4)
			if got, err = encoder.Embed(context.Background(), texts); err != nil {
				t.Fatal(err)
			}
			compareVectors(t, "texts", got, want.Data, want.Shape[1], 2e-4)
		})
	}
}

func TestGoldenBERT(t *testing.T) {
	tensors := testdata.Tensors(t, testdata.Golden(t, "encoders", "tiny-bert.safetensors"))
	encoder, err := OpenText(goldenModel(t, "tiny-bert"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for name, ids := range tensors {
		prefix, ok := strings.CutSuffix(name, ".ids")
		if !ok {
			continue
		}
		var row []int32
		for _, id := range ids.Data {
			row = append(row, int32(id))
		}
		got, err := encoder.(*textTransformer).EmbedIDs(context.Background(), [][]int32{row})
		if err != nil {
			t.Fatal(err)
		}
		want := tensors[prefix+".mean_pooled"]
		compareVectors(t, prefix, got, want.Data, len(want.Data), 2e-4)
		checked++
	}
	if checked == 0 {
		t.Error("no cases")
	}
}

func TestGoldenNames(t *testing.T) {
	file, err := os.Open(testdata.Golden(t, "tokenizer", "names.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tensors := testdata.Tensors(t, testdata.Golden(t, "encoders", "clip-b32-names.safetensors"))
	encoder, err := OpenText(goldenModel(t, "clip-b32-names"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(file)
	for k := 0; lines.More(); k++ {
		var line struct {
			Text  string
			Names []string
		}
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		got, err := encoder.Embed(context.Background(), []string{line.Text})
		want, ok := tensors["line"+strconv.Itoa(k)]
		if !ok || len(line.Names) == 0 {
			var unknown *UnknownNameError
			if len(line.Names) == 0 && !errors.As(err, &unknown) {
				t.Errorf("line %d: error %v, expected an unknown name", k, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range want.Data {
			if math.Abs(float64(got[i])-v) > 1e-5 {
				t.Errorf("line %d, number %d: %v, expected %v", k, i, got[i], v)
				break
			}
		}
	}
}
