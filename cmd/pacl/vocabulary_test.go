package main

import (
	"bytes"
	"encoding/binary"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/testdata"
	"github.com/pacl/pacl/weights"
)

// A head trained with a names table finds the same masks with the text encoder that made the table.
func TestTableAndEncoderAgree(t *testing.T) {
	encoders := map[string]func(*testing.T) string{
		"siglip": func(*testing.T) string { return filepath.Join("..", "..", "encoder", "testdata", "siglip") },
		"clip":   func(t *testing.T) string { return testdata.Golden(t, "models", "tiny-clip-hf") },
	}
	for name, find := range encoders {
		t.Run(name, func(t *testing.T) {
			encoder := find(t)
			w := newWorld(t)
			names := filepath.Join(w.root, "names.txt")
			if err := os.WriteFile(names, []byte("red, crimson\ngreen\nblue\nyellow\n"), 0o666); err != nil {
				t.Fatal(err)
			}
			table, head := filepath.Join(w.root, "table"), filepath.Join(w.root, "with-table")
			must(t, "-q", "vocabulary", "--names", names, "--text", encoder, "--out", table)
			must(t, "-q", "train", "--captions", w.captions, "--vision", w.vit, "--text", table, "--out", head,
				"--batch", "16", "--epochs", "6", "--rate", "0.005", "--precision", "f32")
			segment := func(out, text string) (map[string][]byte, string) {
				t.Helper()
				status, _, stderr := execute(t, "segment", "--model", head, "--vision", w.vit, "--text", text, "--labels", "red, green, blue, yellow",
					"--precision", "f32", "-o", filepath.Join(w.root, out), filepath.Join(w.root, "data", "images"))
				if status != 0 {
					t.Fatalf("with %s: %s", text, stderr)
				}
				masks := map[string][]byte{}
				paths, err := filepath.Glob(filepath.Join(w.root, out, "*.mask.png"))
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range paths {
					file, err := os.Open(path)
					if err != nil {
						t.Fatal(err)
					}
					mask, err := png.Decode(file)
					file.Close()
					if err != nil {
						t.Fatal(err)
					}
					bounds := mask.Bounds()
					for y := range bounds.Dy() {
						for x := range bounds.Dx() {
							r, g, b, _ := mask.At(x, y).RGBA()
							masks[filepath.Base(path)] = append(masks[filepath.Base(path)], byte(r>>8), byte(g>>8), byte(b>>8))
						}
					}
				}
				return masks, stderr
			}
			byTable, _ := segment("by-table", table)
			byEncoder, stderr := segment("by-encoder", encoder)
			if len(byTable) != 60 || len(byEncoder) != 60 {
				t.Fatalf("%d and %d masks, expected 60", len(byTable), len(byEncoder))
			}
			seen := map[string]bool{}
			for name, mask := range byTable {
				if !bytes.Equal(mask, byEncoder[name]) {
					t.Errorf("%s differs", name)
				}
				for i := 0; i < len(mask); i += 3 {
					seen[string(mask[i:i+3])] = true
				}
			}
			if len(seen) < 3 {
				t.Errorf("only %d labels in all masks: nothing was compared", len(seen))
			}
			if !strings.Contains(stderr, "is another copy of table") {
				t.Errorf("no word about the other encoder: %s", stderr)
			}
		})
	}
}

// Encoders that do not belong to a head, a table or each other are refused with one line that names both.
func TestEncodersThatDoNotBelongTogether(t *testing.T) {
	w := newWorld(t)
	siglip, siglip2 := filepath.Join("..", "..", "encoder", "testdata", "siglip"), filepath.Join("..", "..", "encoder", "testdata", "siglip2")
	table, head := filepath.Join(w.root, "siglip-table"), filepath.Join(w.root, "siglip-head")
	must(t, "-q", "vocabulary", "--names", "red, green, blue, yellow", "--text", siglip, "--out", table)
	must(t, "-q", "train", "--captions", w.captions, "--vision", w.vit, "--text", table, "--out", head, "--batch", "16", "--epochs", "1", "--precision", "f32")
	otherTable := filepath.Join(w.root, "siglip2-table")
	must(t, "-q", "vocabulary", "--names", "red, green, blue, yellow", "--text", siglip2, "--out", otherTable)
	photo := filepath.Join(w.root, "data", "images", "000.png")
	for _, c := range []struct {
		name  string
		args  []string
		names []string
	}{
		{"another table of other words", []string{"--model", head, "--text", w.names}, []string{"siglip-table", w.names}},
		{"a table of another text tower", []string{"--model", head, "--text", otherTable}, []string{"siglip-table", otherTable}},
		{"another text tower", []string{"--model", head, "--text", siglip2}, []string{"siglip-table", siglip2}},
		{"a head of another vision encoder", []string{"--model", head, "--text", table, "--vision", siglip}, []string{"vit", siglip}},
		{"a text tower of another width", []string{"--model", w.head, "--text", siglip}, []string{"names", siglip}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"-q", "segment", "--labels", "red, green", "-o", filepath.Join(w.root, "never"), photo}, c.args...)
			status, _, stderr := execute(t, args...)
			if status != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "do not belong together") {
				t.Errorf("status %d, expected one line:\n%s", status, stderr)
			}
			for _, name := range c.names {
				if !strings.Contains(stderr, name) {
					t.Errorf("%s is not named: %s", name, stderr)
				}
			}
		})
	}
}

// Of a CLIP without a head nothing is known but the width: a text encoder of another one is told of.
func TestAnotherTextEncoderForACLIP(t *testing.T) {
	clip, other := testdata.Golden(t, "models", "tiny-clip-hf"), testdata.Golden(t, "models", "tiny-clip-openclip")
	w := newWorld(t)
	photo := filepath.Join(w.root, "data", "images", "000.png")
	args := []string{"segment", "--vision", clip, "--labels", "red, green", "-o", filepath.Join(w.root, "out"), photo}
	if status, _, stderr := execute(t, args...); status != 0 || strings.Contains(stderr, "warning") {
		t.Errorf("a CLIP alone: status %d, %s", status, stderr)
	}
	status, _, stderr := execute(t, append(args, "--text", other)...)
	if status != 0 || !strings.Contains(stderr, clip+" and "+other) {
		t.Errorf("another CLIP's texts: status %d, %s", status, stderr)
	}
}

func TestVocabularyFormats(t *testing.T) {
	w := newWorld(t)
	siglip := filepath.Join("..", "..", "encoder", "testdata", "siglip")
	dir, array := filepath.Join(w.root, "table"), filepath.Join(w.root, "vectors.npy")
	must(t, "-q", "vocabulary", "--names", "cat, dog|puppy, fire hydrant", "--text", siglip, "--out", dir, "--template", "a photo of a {}.")
	must(t, "-q", "vocabulary", "--names", "cat, dog|puppy, fire hydrant", "--text", siglip, "--out", array, "--format", "npy", "--template", "a photo of a {}.")
	set, err := weights.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	vectors, err := set.Need("vectors", 3, 24)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(array)
	if err != nil {
		t.Fatal(err)
	}
	length := int(binary.LittleEndian.Uint16(data[8:]))
	header := string(data[10 : 10+length])
	if !strings.HasPrefix(string(data), "\x93NUMPY\x01\x00") || (10+length)%64 != 0 || !strings.HasSuffix(header, "\n") ||
		!strings.HasPrefix(header, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 24), }") {
		t.Errorf("header %q", data[:10+length])
	}
	for i, want := range vectors.Float32() {
		if got := math.Float32frombits(binary.LittleEndian.Uint32(data[10+length+4*i:])); got != want {
			t.Fatalf("number %d is %v, expected %v", i, got, want)
		}
	}
	if list, err := os.ReadFile(strings.TrimSuffix(array, ".npy") + ".txt"); err != nil || string(list) != "cat\ndog\nfire hydrant\n" {
		t.Errorf("names %q, %v", list, err)
	}
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || !strings.Contains(string(config), `"puppy": "dog"`) || !strings.Contains(string(config), `"encoder": "siglip"`) {
		t.Errorf("config %s, %v", config, err)
	}
	for want, args := range map[string][]string{
		"is a names table itself":      {"--names", "cat, dog", "--text", dir, "--out", w.root + "/x"},
		"it has no text encoder":       {"--names", "cat, dog", "--text", w.vit, "--out", w.root + "/x"},
		"has no {}":                    {"--names", "cat, dog", "--text", siglip, "--out", w.root + "/x", "--template", "a photo"},
		"expected a name that ends in": {"--names", "cat, dog", "--text", siglip, "--out", w.root + "/x", "--format", "npy"},
		"stands twice":                 {"--names", "cat, cat", "--text", siglip, "--out", w.root + "/x"},
		`stands for "cat" and for`:     {"--names", "cat|pet, dog|pet", "--text", siglip, "--out", w.root + "/x"},
		"no such file":                 {"--names", "none.txt", "--text", siglip, "--out", w.root + "/x"},
	} {
		if status, _, stderr := execute(t, append([]string{"vocabulary"}, args...)...); status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%v: status %d, %s, expected %q", args, status, stderr, want)
		}
	}
}
