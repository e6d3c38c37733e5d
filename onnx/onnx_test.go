package onnx

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/encoder"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/internal/testdata"
)

// runner is the program that lets ONNX Runtime run models; see runtime.
const runner = `
const ort = require('onnxruntime-node'), fs = require('fs');
(async () => {
  for (const job of JSON.parse(fs.readFileSync(process.argv[2]))) {
    const session = await ort.InferenceSession.create(job.model, { intraOpNumThreads: 2 });
    const feeds = {};
    for (const i of job.inputs) {
      const raw = fs.readFileSync(i.file), buffer = raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length);
      feeds[i.name] = i.ints ? new ort.Tensor('int64', new BigInt64Array(buffer), i.dims) : new ort.Tensor('float32', new Float32Array(buffer), i.dims);
    }
    const result = await session.run(feeds);
    for (const name of Object.keys(result)) {
      const t = result[name];
      fs.writeFileSync(job.out + '.' + name, Buffer.from(t.data.buffer, t.data.byteOffset, t.data.byteLength));
      fs.writeFileSync(job.out + '.' + name + '.dims', JSON.stringify(t.dims));
    }
  }
})().catch((e) => { console.error(e); process.exit(1); });
`

// runtime is a folder with npm's onnxruntime-node: PACL_ONNXRUNTIME, or a new one where that is 1. Without the variable the
// test is skipped.
func runtime(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("PACL_ONNXRUNTIME")
	switch folder {
	case "":
		t.Skip("PACL_ONNXRUNTIME=1 compares with ONNX Runtime, which npm installs")
	case "1":
		folder = t.TempDir()
		install := exec.Command("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "onnxruntime-node@1.30.0")
		install.Dir = folder
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm: %v\n%s", err, out)
		}
	}
	return folder
}

type input struct {
	Name string `json:"name"`
	Dims []int  `json:"dims"`
	Ints bool   `json:"ints"`
	File string `json:"file"`
	data any
}

type result struct {
	dims []int
	data []float32
}

// run lets ONNX Runtime run a model on several sets of inputs, which shows that lengths may vary.
func run(t *testing.T, folder string, model []byte, sets ...[]input) []map[string]result {
	t.Helper()
	work := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(work, name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	type job struct {
		Model  string  `json:"model"`
		Inputs []input `json:"inputs"`
		Out    string  `json:"out"`
	}
	modelPath := write("model.onnx", model)
	var jobs []job
	for n, inputs := range sets {
		for i := range inputs {
			raw, err := binary.Append(nil, binary.LittleEndian, inputs[i].data)
			if err != nil {
				t.Fatal(err)
			}
			inputs[i].File = write(fmt.Sprintf("in%d.%s", n, inputs[i].Name), raw)
		}
		jobs = append(jobs, job{modelPath, inputs, filepath.Join(work, fmt.Sprintf("out%d", n))})
	}
	spec, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	script := write("run.js", []byte(runner))
	command := exec.Command("node", script, write("jobs.json", spec))
	command.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(folder, "node_modules"))
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("ONNX Runtime: %v\n%s", err, out)
	}
	results := make([]map[string]result, len(sets))
	for n := range sets {
		results[n] = make(map[string]result)
		for _, name := range []string{"scores", "patches", "vectors"} {
			raw, err := os.ReadFile(jobs[n].Out + "." + name)
			if err != nil {
				continue
			}
			r := result{data: make([]float32, len(raw)/4)}
			for i := range r.data {
				r.data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
			}
			dims, _ := os.ReadFile(jobs[n].Out + "." + name + ".dims")
			if err := json.Unmarshal(dims, &r.dims); err != nil {
				t.Fatal(err)
			}
			results[n][name] = r
		}
	}
	return results
}

func random(r *rand.Rand, n int) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(r.NormFloat64())
	}
	return values
}

func units(r *rand.Rand, n, width int) []float32 {
	values := random(r, n*width)
	m := kernel.FromFloat32(values, n, width)
	kernel.NormalizeRows(m, m, 1e-12)
	return values
}

func compare(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	worst := 0.0
	for i := range want {
		worst = max(worst, math.Abs(float64(got[i]-want[i])))
		if math.IsNaN(float64(got[i])) {
			t.Fatalf("%s: number %d is NaN", what, i)
		}
	}
	t.Logf("%s: largest difference %.2g of %d numbers", what, worst, len(want))
	if worst > 1e-4 {
		t.Errorf("%s: largest difference %g, at most 1e-4 is allowed", what, worst)
	}
}

func TestVisionInONNXRuntime(t *testing.T) {
	folder := runtime(t)
	for _, c := range []struct {
		model   string
		readout encoder.Readout
		stride  int
		layer   int
	}{
		{"tiny-clip-hf", encoder.Plain, 0, 0},
		{"tiny-clip-hf", encoder.MaskCLIP, 0, 0},
		{"tiny-clip-hf", encoder.SCLIP, 0, 0},
		{"tiny-clip-hf", encoder.ClearCLIP, 0, 0},
		{"tiny-clip-hf", encoder.NACLIP, 0, 0},
		{"tiny-clip-openclip", encoder.NoReadout, 0, 0},
		{"tiny-clip-openai", encoder.NACLIP, 0, 0},
		{"tiny-dinov2", encoder.NoReadout, 0, 0},
		{"tiny-dinov2-reg", encoder.NoReadout, 0, 1},
		{"tiny-dinov3", encoder.NoReadout, 0, 0},
		{"tiny-eupe-pt", encoder.NoReadout, 0, 0},
		{"siglip", encoder.NoReadout, 0, 0},
		{"siglip2", encoder.NoReadout, 3, 0},
		{"vit-tiny-16", encoder.NoReadout, 0, 0},
		{"vit-tiny-16", encoder.NoReadout, 8, 0},
	} {
		name := fmt.Sprintf("%s %s stride %d layer %d", c.model, c.readout, c.stride, c.layer)
		t.Run(name, func(t *testing.T) {
			var dir string
			switch {
			case strings.HasPrefix(c.model, "vit"):
				dir = testdata.Shared(t, "models", c.model)
			case strings.HasPrefix(c.model, "siglip"):
				dir = filepath.Join("..", "encoder", "testdata", c.model)
			default:
				dir = testdata.Golden(t, "models", c.model)
			}
			vision, err := encoder.OpenVision(dir, encoder.Options{Precision: kernel.Float32})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := vision.Raw()
			if err != nil {
				t.Fatal(err)
			}
			info := vision.Info()
			o := VisionOptions{Readout: c.readout, Stride: c.stride, Layer: c.layer}
			shared := info.ProjectionDim
			if c.readout == encoder.NoReadout {
				recipe := align.DefaultRecipe(info.Width, 24)
				if o.Head, err = align.NewHead(recipe.Head, 3, 1/0.07); err != nil {
					t.Fatal(err)
				}
				shared = o.Head.Config.Width
			}
			var model bytes.Buffer
			if err := WriteVision(&model, raw, o); err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 2))
			const labels = 5
			texts := units(r, labels, shared)
			p := info.PatchSize
			sizes := [][3]int{{2, 3 * p, 4 * p}, {1, 6 * p, 5 * p}}
			var sets [][]input
			for _, s := range sizes {
				sets = append(sets, []input{
					{Name: "pixels", Dims: []int{s[0], 3, s[1], s[2]}, data: random(r, s[0]*3*s[1]*s[2])},
					{Name: "texts", Dims: []int{labels, shared}, data: texts},
				})
			}
			results := run(t, folder, model.Bytes(), sets...)
			for n, s := range sizes {
				out, err := vision.Encode(context.Background(), sets[n][0].data.([]float32), s[0], s[1], s[2],
					encoder.EncodeOptions{Stride: c.stride, Readout: c.readout, Layer: c.layer})
				if err != nil {
					t.Fatal(err)
				}
				rows := s[0] * out.GridH * out.GridW
				unit := kernel.FromFloat32(out.Patches, rows, out.Width)
				if o.Head != nil {
					if unit, err = o.Head.Patches(unit, kernel.Float32); err != nil {
						t.Fatal(err)
					}
				} else {
					kernel.NormalizeRows(unit, unit, 1e-12)
				}
				scores := kernel.NewMat(kernel.Float32, rows, labels)
				kernel.Gemm(scores, 1, unit, false, kernel.FromFloat32(texts, labels, shared), true, false, kernel.Float32)
				if got, want := fmt.Sprint(results[n]["scores"].dims), fmt.Sprint([]int{s[0], out.GridH, out.GridW, labels}); got != want {
					t.Errorf("scores are %s, want %s", got, want)
				}
				compare(t, "patches", results[n]["patches"].data, unit.F)
				compare(t, "scores", results[n]["scores"].data, scores.F)
			}
		})
	}
}

// embedder is what text transformers offer besides encoder.Text.
type embedder interface {
	EmbedIDs(ctx context.Context, sequences [][]int32) ([]float32, error)
}

func TestTextInONNXRuntime(t *testing.T) {
	folder := runtime(t)
	for _, name := range []string{"tiny-clip-hf", "tiny-clip-openclip", "tiny-bert"} {
		for _, headed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " head ", headed), func(t *testing.T) {
				text, err := encoder.OpenText(testdata.Golden(t, "models", name), encoder.Options{Precision: kernel.Float32})
				if err != nil {
					t.Fatal(err)
				}
				raw, err := encoder.RawTextOf(text)
				if err != nil {
					t.Fatal(err)
				}
				r := rand.New(rand.NewPCG(5, 6))
				var o TextOptions
				width := text.Width()
				if headed {
					c := align.DefaultRecipe(32, width).Head
					c.Text = align.TextLinear
					if o.Head, err = align.NewHead(c, 3, 1/0.07); err != nil {
						t.Fatal(err)
					}
					o.Centre = random(r, width)
					for i := range o.Centre {
						o.Centre[i] *= 0.05
					}
				}
				var model bytes.Buffer
				if err := WriteText(&model, raw, o); err != nil {
					t.Fatal(err)
				}
				texts := []string{"a cat", "a photo of the large dog on green grass", "sky"}
				all := sequences(t, text, raw, texts)
				// Batches of different sizes and lengths through the same file.
				batches := [][][]int32{all, all[2:]}
				var sets [][]input
				for n, rows := range batches {
					longest := 0
					for _, row := range rows {
						longest = max(longest, len(row))
					}
					longest += 2 * (1 - n)
					var ids, mask []int64
					for _, row := range rows {
						for i := range longest {
							if i < len(row) {
								ids, mask = append(ids, int64(row[i])), append(mask, 1)
							} else {
								ids, mask = append(ids, 0), append(mask, 0)
							}
						}
					}
					inputs := []input{{Name: "ids", Dims: []int{len(rows), longest}, Ints: true, data: ids}}
					if raw.Mean {
						inputs = append(inputs, input{Name: "mask", Dims: []int{len(rows), longest}, Ints: true, data: mask})
					}
					sets = append(sets, inputs)
				}
				results := run(t, folder, model.Bytes(), sets...)
				for n, rows := range batches {
					vectors, err := text.(embedder).EmbedIDs(context.Background(), rows)
					if err != nil {
						t.Fatal(err)
					}
					want := kernel.FromFloat32(vectors, len(rows), width)
					kernel.NormalizeRows(want, want, 1e-12)
					if headed {
						for i := range want.Rows {
							kernel.Axpy(want.Row(i), -1, o.Centre)
						}
						kernel.NormalizeRows(want, want, 1e-12)
						if want, err = o.Head.Texts(want.F); err != nil {
							t.Fatal(err)
						}
					}
					compare(t, "vectors", results[n]["vectors"].data, want.F)
				}
			})
		}
	}
}

// sequences are token ids that end as the encoder's texts end, of different lengths.
func sequences(t *testing.T, text encoder.Text, raw encoder.RawText, texts []string) [][]int32 {
	t.Helper()
	end := raw.EndID
	if end < 0 {
		end = int32(raw.Info.Vocabulary - 1)
	}
	rows := make([][]int32, len(texts))
	for i, s := range texts {
		rows[i] = []int32{1}
		for _, c := range []byte(s)[:min(len(s), 10)] {
			rows[i] = append(rows[i], int32(c)%min(end, 400))
		}
		rows[i] = append(rows[i], end)
	}
	return rows
}

// TestModelIsWellFormed reads a model back field by field: every node's inputs exist before it, and every name once.
func TestModelIsWellFormed(t *testing.T) {
	vision, err := encoder.OpenVision(testdata.Golden(t, "models", "tiny-clip-hf"), encoder.Options{Precision: kernel.Float32})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := vision.Raw()
	if err != nil {
		t.Fatal(err)
	}
	var model bytes.Buffer
	if err := WriteVision(&model, raw, VisionOptions{Readout: encoder.NACLIP}); err != nil {
		t.Fatal(err)
	}
	graph := fields(t, model.Bytes())[7][0]
	known := map[string]bool{"": true}
	define := func(name []byte) {
		if known[string(name)] {
			t.Errorf("%s is defined twice", name)
		}
		known[string(name)] = true
	}
	parts := fields(t, graph)
	for _, v := range parts[11] {
		define(fields(t, v)[1][0])
	}
	for _, v := range parts[5] {
		define(fields(t, v)[8][0])
	}
	for _, node := range parts[1] {
		n := fields(t, node)
		for _, in := range n[1] {
			if !known[string(in)] {
				t.Errorf("%s takes %s, which nothing has made yet", n[4][0], in)
			}
		}
		for _, out := range n[2] {
			define(out)
		}
	}
	for _, v := range parts[12] {
		if name := fields(t, v)[1][0]; !known[string(name)] {
			t.Errorf("output %s is not made", name)
		}
	}
	if len(parts[1]) < 50 || len(parts[12]) != 2 {
		t.Errorf("%d nodes, %d outputs", len(parts[1]), len(parts[12]))
	}
}

// fields splits a protocol buffer into its fields of bytes.
func fields(t *testing.T, b []byte) map[protowire.Number][][]byte {
	t.Helper()
	result := make(map[protowire.Number][][]byte)
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
		if kind == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				t.Fatal(protowire.ParseError(n))
			}
			result[number] = append(result[number], v)
			b = b[n:]
			continue
		}
		n = protowire.ConsumeFieldValue(number, kind, b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
	}
	return result
}
