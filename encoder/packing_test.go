package encoder

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/fixture"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/internal/testdata"
)

// packAlways makes a test keep even small packed weights, in a cache of its own.
func packAlways(t *testing.T) {
	t.Setenv("PACL_CACHE", t.TempDir())
	before := packedWorth
	packedWorth = 0
	t.Cleanup(func() { packedWorth = before })
}

// What is found packed on disk is what packing makes, and files that are anything else are passed over.
func TestPackedWeightsOnDisk(t *testing.T) {
	packAlways(t)
	dir := fixture.ViT(t, filepath.Join(t.TempDir(), "vit"), 1)
	side := 4 * fixture.Patch
	pixels := make([]float32, 3*side*side)
	for i := range pixels {
		pixels[i] = float32(i%17)/8 - 1
	}
	for _, p := range []kernel.Precision{kernel.Float32, kernel.BFloat16} {
		open := func() (*Vision, []float32) {
			v, err := OpenVision(dir, Options{Precision: p})
			if err != nil {
				t.Fatal(err)
			}
			out, err := v.Encode(context.Background(), pixels, 1, side, side, EncodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return v, out.Patches
		}
		files := func() []string {
			list, err := filepath.Glob(filepath.Join(os.Getenv("PACL_CACHE"), "packed", "*"))
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		known := files()
		v, want := open()
		if len(files()) != len(known)+1 {
			t.Fatalf("%v: files %v after %v", p, files(), known)
		}
		var path string
		for _, f := range files() {
			if !slices.Contains(known, f) {
				path = f
			}
		}
		if _, got := open(); !slices.Equal(got, want) {
			t.Errorf("%v: other tokens from packed weights on disk", p)
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, damage := range map[string]func() []byte{
			"cut":    func() []byte { return whole[:len(whole)-128] },
			"longer": func() []byte { return append(slices.Clone(whole), make([]byte, 128)...) },
			"header": func() []byte { b := slices.Clone(whole); b[30]++; return b },
			"short":  func() []byte { return whole[:10] },
			"empty":  func() []byte { return nil },
		} {
			// A file that is in use is replaced by another, never changed.
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, got := open(); !slices.Equal(got, want) {
				t.Errorf("%v, %s: other tokens from a damaged file", p, name)
			}
			if again, err := os.ReadFile(path); err != nil || !slices.Equal(again, whole) {
				t.Errorf("%v, %s: the damaged file was not replaced", p, name)
			}
		}
		// A weight that lies on disk can be packed anew.
		weight := v.blocks.blocks[0].fc1.weight
		weight.Repack(kernel.NewMat(kernel.Float32, weight.N, weight.K), false, p)
	}
	t.Setenv("PACL_CACHE", "off")
	if _, err := OpenVision(dir, Options{}); err != nil {
		t.Error(err)
	}
}

// Numbers that went bad on disk are told, and where they may lie.
func TestDamagedNumbers(t *testing.T) {
	packAlways(t)
	dir := fixture.ViT(t, filepath.Join(t.TempDir(), "vit"), 1)
	side := 4 * fixture.Patch
	encode := func() error {
		v, err := OpenVision(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Encode(context.Background(), make([]float32, 3*side*side), 1, side, side, EncodeOptions{})
		return err
	}
	if err := encode(); err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(os.Getenv("PACL_CACHE"), "packed")
	files, err := filepath.Glob(filepath.Join(packed, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, error %v", files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole[packedHead:] {
		whole[packedHead+i] = 0xff // NaN in either precision
	}
	if err := os.WriteFile(files[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"no number", dir, packed} {
		if err := encode(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected one that names %q", err, want)
		}
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := encode(); err != nil {
		t.Errorf("without the damaged file: %v", err)
	}
}

// An output in the memory of an older one, larger or smaller, is the same as one in new memory.
func TestOutputsUseMemoryAgain(t *testing.T) {
	v, err := OpenVision(fixture.ViT(t, filepath.Join(t.TempDir(), "vit"), 1), Options{Precision: kernel.Float32})
	if err != nil {
		t.Fatal(err)
	}
	var used Output
	for _, batch := range []int{1, 3, 2, 5} {
		side := (2 + batch) * fixture.Patch
		pixels := make([]float32, batch*3*side*side)
		for i := range pixels {
			pixels[i] = float32((i+batch)%19)/9 - 1
		}
		want, err := v.Encode(context.Background(), pixels, batch, side, side, EncodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range used.Patches {
			used.Patches[i] = -1
		}
		used, err = v.Encode(context.Background(), pixels, batch, side, side, EncodeOptions{Into: &used})
		if err != nil {
			t.Fatal(err)
		}
		if used.GridH != want.GridH || !slices.Equal(used.Patches, want.Patches) || !slices.Equal(used.Class, want.Class) {
			t.Fatalf("batch %d: other tokens in used memory", batch)
		}
	}
}

// Encoders of all families say the same whether their weights and vectors were packed now or are found packed on disk.
func TestGoldenFromDisk(t *testing.T) {
	testdata.Golden(t, "models") // skips where there is none
	packAlways(t)
	for name, test := range map[string]func(*testing.T){
		"vision": TestGoldenVision, "text": TestGoldenText, "bert": TestGoldenBERT, "siglip": TestSigLIPAgainstPyTorch, "checkpoints": TestPublishedCheckpoints,
	} {
		t.Run(name+" packed now", test)
		packed, err := filepath.Glob(filepath.Join(os.Getenv("PACL_CACHE"), "packed", "*"))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name+" from disk", test)
		again, err := filepath.Glob(filepath.Join(os.Getenv("PACL_CACHE"), "packed", "*"))
		if err != nil || !slices.Equal(packed, again) || len(packed) == 0 {
			t.Errorf("%s: %d files became %d (%v), expected the same", name, len(packed), len(again), err)
		}
	}
}
