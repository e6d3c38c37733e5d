package tokenizer

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func loadSmallModel(t testing.TB, name, as string) *SentencePiece {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".model"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeTestFile(t, dir, as, string(data))
	loaded, err := LoadSentencePiece(dir)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

type pieceCase struct {
	Model string  `json:"model"`
	Text  string  `json:"text"`
	IDs   []int32 `json:"ids"`
}

// pieceCases reads what Google's SentencePiece gives (testdata/make.py).
func pieceCases(t *testing.T) []pieceCase {
	t.Helper()
	file, err := os.Open("testdata/sentencepiece.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var cases []pieceCase
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var c pieceCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if len(cases) < 100 {
		t.Fatalf("only %d cases", len(cases))
	}
	return cases
}

func TestSentencePieceModels(t *testing.T) {
	models := map[string]*SentencePiece{
		"unigram": loadSmallModel(t, "unigram", "spiece.model"),
		"bpe":     loadSmallModel(t, "bpe", "tokenizer.model"),
	}
	for _, c := range pieceCases(t) {
		if got := models[c.Model].Encode(c.Text); !slices.Equal(got, c.IDs) {
			t.Errorf("%s %q: %v, want %v", c.Model, c.Text, got, c.IDs)
		}
	}
	if unigram := models["unigram"]; unigram.End() != 1 || unigram.Pad() != 1 || unigram.Size() != 420 {
		t.Errorf("unigram: end %d, pad %d, size %d, want 1, 1, 420", unigram.End(), unigram.Pad(), unigram.Size())
	}
	if bpe := models["bpe"]; bpe.End() != 1 || bpe.Pad() != 0 || bpe.Size() != 700 {
		t.Errorf("BPE: end %d, pad %d, size %d, want 1, 0, 700", bpe.End(), bpe.Pad(), bpe.Size())
	}
}

// modelPieces reads the pieces of a model file in the order of their ids.
func modelPieces(t *testing.T, name string) (texts []string, scores []float32, charsmap []byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".model"))
	if err != nil {
		t.Fatal(err)
	}
	model := &SentencePiece{pieces: map[string]int32{}, defined: map[int32]bool{}}
	err = eachField(data, func(f field) error {
		switch f.number {
		case fieldPieces:
			return model.readPiece(f.data, &texts)
		case fieldNormalizer:
			return eachField(f.data, func(f field) error {
				if f.number == fieldCharsMap {
					charsmap = f.data
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts, model.scores, charsmap
}

// The same models written as tokenizer.json, as Hugging Face's converter does it, must give the same ids.
func TestSentencePieceTokenizerFiles(t *testing.T) {
	texts, scores, charsmap := modelPieces(t, "unigram")
	var vocabulary []any
	for id, text := range texts {
		vocabulary = append(vocabulary, []any{text, scores[id]})
	}
	unigram := map[string]any{
		"normalizer": map[string]any{"type": "Sequence", "normalizers": []any{
			map[string]any{"type": "Lowercase"},
			map[string]any{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(charsmap)},
		}},
		"model": map[string]any{"type": "Unigram", "unk_id": 2, "vocab": vocabulary},
	}

	texts, scores, _ = modelPieces(t, "bpe")
	ids, merges := map[string]int32{}, []any{}
	for id, text := range texts {
		ids[text] = int32(id)
	}
	order := slices.Clone(texts)
	slices.SortStableFunc(order, func(a, b string) int {
		return int(scores[ids[b]] - scores[ids[a]])
	})
	for _, text := range order {
		for cut := range text {
			_, left := ids[text[:cut]]
			if _, right := ids[text[cut:]]; left && right && !strings.HasPrefix(text, "<") && text != "\n\n" {
				merges = append(merges, []string{text[:cut], text[cut:]})
			}
		}
	}
	bpe := map[string]any{
		"added_tokens": []addedToken{{ID: ids["\n\n"], Content: "\n\n"}, {ID: ids["<unused0>"], Content: "<unused0>"}, {ID: ids["▁▁"], Content: "▁▁"}},
		"normalizer":   map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": "▁"},
		"model":        map[string]any{"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": ids, "merges": merges},
	}
	loaded := map[string]*SentencePiece{}
	for name, content := range map[string]any{"unigram": unigram, "bpe": bpe} {
		data, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		writeTestFile(t, dir, "tokenizer.json", string(data))
		if loaded[name], err = LoadSentencePiece(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range pieceCases(t) {
		if c.Model == "unigram" && strings.Contains(c.Text, "picnic") {
			continue // the file says nothing of pieces that are taken whole
		}
		if got := loaded[c.Model].Encode(c.Text); !slices.Equal(got, c.IDs) {
			t.Errorf("%s %q: %v, want %v", c.Model, c.Text, got, c.IDs)
		}
	}
}

func TestBadSentencePieceModels(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join("testdata", "unigram.model"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ content, want string }{
		{string(whole[:len(whole)/2]), "ends within a field"},
		{"", "lacks <unk>"},
		{"\x0f", "wire type 7"},
		{"\x0a\x03\x0a\x01\xff", "expected a text"},
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "ends within a field"},
	} {
		dir := t.TempDir()
		writeTestFile(t, dir, "spiece.model", test.content)
		if _, err := LoadSentencePiece(dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.20q: %v, want %q", test.content, err, test.want)
		}
	}
	for _, size := range []uint32{3, 8, 1 << 31} {
		if _, err := parseCharsMap(binary.LittleEndian.AppendUint32(nil, size)); err == nil {
			t.Errorf("a character map of %d bytes in 4 was read", size)
		}
	}
}

func FuzzSentencePiece(f *testing.F) {
	for _, name := range []string{"unigram", "bpe"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".model"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "a dog ﬁnds 字 <sep>")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		model, err := parseSentencePieceModel(data)
		if err != nil {
			return
		}
		for _, id := range model.Encode(text) {
			if id < 0 || int(id) >= model.Size() {
				t.Fatalf("%q gives the id %d of %d", text, id, model.Size())
			}
		}
	})
}

func ExampleLoadSentencePiece() {
	data, err := os.ReadFile(filepath.Join("testdata", "unigram.model"))
	if err != nil {
		fmt.Println(err)
		return
	}
	model, err := parseSentencePieceModel(data)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(model.Encode("A dog!")), slices.Equal(model.Encode("A dog!"), model.Encode("a dog")))
	// Output: 2 true
}
