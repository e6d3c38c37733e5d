package tokenizer

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/testdata"
	"pgregory.net/rapid"
)

var smallTexts = []string{
	"a red circle on a blue square", "a blue circle beside a red triangle", "two green squares and a red circle",
	"파란 사각형 위의 빨간 원", "빨간 삼각형 옆의 파란 원", "don't count 123 circles!",
}

func TestTrainedVocabularyIsReadBack(t *testing.T) {
	trained, err := TrainBPE(slices.Values(append(smallTexts, smallTexts...)), 580)
	if err != nil {
		t.Fatal(err)
	}
	if trained.Size() != 580 {
		t.Errorf("%d tokens, want 580", trained.Size())
	}
	dir := t.TempDir()
	if err := trained.Write(dir, 32); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadCLIP(dir)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := trained.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Start() != 578 || loaded.End() != 579 || loaded.Size() != 580 {
		t.Errorf("start %d, end %d, size %d, want 578, 579, 580", loaded.Start(), loaded.End(), loaded.Size())
	}
	for _, text := range append(smallTexts, "words never seen: 한국어, ελληνικά, 🐱") {
		ids := loaded.Encode(text)
		if !slices.Equal(ids, direct.Encode(text)) {
			t.Errorf("%q: read back %v, trained %v", text, ids, direct.Encode(text))
		}
		if got, want := decode(trained, ids), strings.ReplaceAll(cleanCLIP(text), " ", ""); strings.ReplaceAll(got, " ", "") != want {
			t.Errorf("%q decodes to %q", text, got)
		}
	}
	if got := loaded.Encode("red circle"); len(got) != 2 {
		t.Errorf("frequent words are cut: %v", got)
	}
	if got := loaded.Encode("빨간"); len(got) != 1 {
		t.Errorf("frequent Korean words are cut: %v", got)
	}
}

// decode turns ids back into text, with a space after each word.
func decode(trained *Trained, ids []int32) string {
	bytesOf := map[rune]byte{}
	for b, symbol := range byteSymbols {
		bytesOf[symbol] = byte(b)
	}
	var out []byte
	for _, id := range ids {
		token, end := strings.CutSuffix(trained.tokens[id], endOfWord)
		for _, symbol := range token {
			out = append(out, bytesOf[symbol])
		}
		if end {
			out = append(out, ' ')
		}
	}
	return string(out)
}

func TestTrainingIsTheSameForAnyOrder(t *testing.T) {
	write := func(texts []string) string {
		trained, err := TrainBPE(slices.Values(texts), 560)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := trained.Write(dir, 77); err != nil {
			t.Fatal(err)
		}
		vocabulary, err := os.ReadFile(filepath.Join(dir, "vocab.json"))
		if err != nil {
			t.Fatal(err)
		}
		merges, err := os.ReadFile(filepath.Join(dir, "merges.txt"))
		if err != nil {
			t.Fatal(err)
		}
		return string(vocabulary) + string(merges)
	}
	backwards := slices.Clone(smallTexts)
	slices.Reverse(backwards)
	if write(smallTexts) != write(backwards) {
		t.Error("the order of texts changes the vocabulary")
	}
}

// The trainer's bookkeeping must choose what counting all pairs anew at each step would choose.
func TestTrainingAgreesWithCountingAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.StringMatching(`[ab]{1,6}( [abc]{1,5}){0,4}`), 1, 6).Draw(t, "texts")
		size := minVocabulary + rapid.IntRange(0, 12).Draw(t, "merges")
		trained, err := TrainBPE(slices.Values(texts), size)
		if err != nil {
			t.Fatal(err)
		}
		if want := countAnew(texts, size); !slices.Equal(trained.merges, want) {
			t.Fatalf("merges %v, want %v", trained.merges, want)
		}
	})
}

func countAnew(texts []string, size int) []pair {
	var words [][]string
	for _, word := range strings.Fields(strings.Join(texts, " ")) {
		tokens := strings.Split(word, "")
		tokens[len(tokens)-1] += endOfWord
		words = append(words, tokens)
	}
	known := map[string]bool{}
	var merges []pair
	for minVocabulary+len(known) < size {
		counts := map[pair]int{}
		for _, tokens := range words {
			for i := 0; i+1 < len(tokens); i++ {
				counts[pair{tokens[i], tokens[i+1]}]++
			}
		}
		best, most := pair{}, 1
		for p, count := range counts {
			if count > most || (count == most && count > 1 && slices.Compare([]string{p.left, p.right}, []string{best.left, best.right}) < 0) {
				best, most = p, count
			}
		}
		if most < 2 {
			return merges
		}
		merges = append(merges, best)
		known[best.left+best.right] = true
		for i, tokens := range words {
			words[i] = joinAll(tokens, best)
		}
	}
	return merges
}

// joinAll joins all places of a pair from left to right.
func joinAll(tokens []string, p pair) []string {
	var joined []string
	for i := 0; i < len(tokens); i++ {
		if i+1 < len(tokens) && tokens[i] == p.left && tokens[i+1] == p.right {
			joined = append(joined, p.left+p.right)
			i++
			continue
		}
		joined = append(joined, tokens[i])
	}
	return joined
}

// Encoding a word must join pairs in the order of their ranks, as the published code does it.
func TestEncodingAgreesWithJoiningAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.StringMatching(`[ab]{1,9}( [abc]{1,9}){0,4}`), 1, 6).Draw(t, "texts")
		trained, err := TrainBPE(slices.Values(texts), minVocabulary+40)
		if err != nil {
			t.Fatal(err)
		}
		clip, err := trained.Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		word := rapid.StringMatching(`[abc]{1,80}`).Draw(t, "word")
		tokens := strings.Split(word, "")
		tokens[len(tokens)-1] += endOfWord
		for {
			best := -1
			for rank, merge := range trained.merges {
				if !slices.Equal(joinAll(tokens, merge), tokens) {
					best = rank
					break
				}
			}
			if best < 0 {
				break
			}
			tokens = joinAll(tokens, trained.merges[best])
		}
		var got []string
		for _, id := range clip.Encode(word) {
			got = append(got, trained.tokens[id])
		}
		if !slices.Equal(got, tokens) {
			t.Fatalf("%q: %q, want %q", word, got, tokens)
		}
	})
}

func TestTrainErrors(t *testing.T) {
	if _, err := TrainBPE(slices.Values(smallTexts), 513); err == nil {
		t.Error("a vocabulary too small for the bytes was trained")
	}
	if _, err := TrainBPE(slices.Values([]string{" ", ""}), 600); err == nil {
		t.Error("a vocabulary was trained on no words")
	}
}

func TestTrainOnSharedCaptions(t *testing.T) {
	file, err := os.Open(testdata.Shared(t, "data", "captions", "captions.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var texts []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if columns := strings.Split(lines.Text(), "\t"); len(columns) > 1 {
			texts = append(texts, columns[1])
		}
	}
	trained, err := TrainBPE(slices.Values(texts), 2048)
	if err != nil {
		t.Fatal(err)
	}
	clip, err := trained.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if got := clip.Encode("A brown dog is running on the grass ."); len(got) != 9 {
		t.Errorf("common words are cut: %d tokens of 9 words", len(got))
	}
}
