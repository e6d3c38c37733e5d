package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pacl/pacl/internal/testdata"
	"pgregory.net/rapid"
)

func TestCleaning(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"  A\tDog \n", "a dog"},
		{"“curly” ‘quotes’", `"curly" 'quotes'`},
		{"ﬁne ﬂow ŉ", "fine flow 'n"},
		{"ｆｕｌｌ　ＷＩＤＴＨ ｶﾞ", "full width ガ"},
		{"a\x00b\x07c\ufeff", "abc"},
		{"red \x1b[31;1mtext", "red text"},
		{"one\r\ntwo\rthree\u2028four", "one two three four"},
		{"e\u0301", "é"},
		{"\u0085", "…"},
		{"fish &amp;amp; chips", "fish & chips"},
		{"&ldquo;x&rdquo;", `"x"`},
		{"<b> &ldquo;x&rdquo;", "<b> “x”"},
		{"&EACUTE;t&eacute;", "été"},
		{"&notanentity; &#150; &#x41; &#0; &#99999999999; &#1;", "¬anentity; – a \ufffd \ufffd"},
		{"ΟΔΟΣ İ", "οδος i\u0307"},
		{"bad \xff byte &", "bad \ufffd byte &"},
	} {
		if got := cleanCLIP(test.text); got != test.want {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}

// The short way for plain texts must not differ from the long one.
func TestCleaningShortcut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -%'-~\t\n\r]{0,40}`).Draw(t, "text")
		if got, want := cleanCLIP(text), lower(collapseSpace(unescapeHTML(unescapeHTML(mend(text))))); got != want {
			t.Fatalf("%q: %q, want %q", text, got, want)
		}
	})
}

func TestWordSplitting(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"don't we've 'tis", []string{"don", "'t", "we", "'ve", "'t", "is"}},
		{"4k tv/monitor...", []string{"4", "k", "tv", "/", "monitor", "..."}},
		{"!<|startoftext|> <|endoftext|>x", []string{"!<|", "startoftext", "|>", endOfText, "x"}},
		{"''' 's", []string{"'''", "'s"}},
	} {
		var got []string
		for rest := test.text; rest != ""; {
			var word string
			if word, rest = nextWord(rest); word != "" {
				got = append(got, word)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}

func TestMatcher(t *testing.T) {
	names := []string{"dog", "wolf", "knife", "pony", "box", "glass", "glasses", "hot dog", "T-shirt", "Hot Dog", "bus stop", "bus", "potted plant"}
	matcher, err := NewMatcher(names, map[string]string{"plant": "potted plant", "dog": "wolf", "feet of clay": "bus"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		text string
		want []string
	}{
		{"Dogs, wolves and KNIVES", []string{"dog", "wolf", "knife"}},
		{"two ponies in boxes", []string{"pony", "box"}},
		{"glasses and a glass", []string{"glasses", "glass"}},
		{"hot dogs", []string{"hot dog"}},
		{"hot-dog! t shirts", []string{"hot dog", "T-shirt"}},
		{"buses at bus stops", []string{"bus", "bus stop"}},
		{"feet of clay, plants", []string{"bus", "potted plant"}},
		{"a dog and a dog", []string{"dog"}},
		{"s es ves ies", nil},
		{"", nil},
	} {
		var got []string
		for _, i := range matcher.Find(test.text) {
			got = append(got, names[i])
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
	if got, want := matcher.Suggest("knfie", 2), "knife"; len(got) != 2 || got[0] != want {
		t.Errorf("suggestions for knfie are %q, want %q first", got, want)
	}
	if got := matcher.Suggest(strings.Repeat("long ", 2000), 3); len(got) != 3 {
		t.Errorf("%d suggestions for a long word, want 3", len(got))
	}
	if got := matcher.Suggest("dog", 100); len(got) != 14 {
		t.Errorf("%d suggestions, want one for each of 14 spellings", len(got))
	}
	if _, err := NewMatcher([]string{"dog", "?!"}, nil); err == nil {
		t.Error("a name without letters was taken")
	}
	if _, err := NewMatcher([]string{"dog"}, map[string]string{"puppy": "cat"}); err == nil {
		t.Error("an alias for nothing was taken")
	}
}

// Every name is found in itself unless an earlier one has its words.
func TestNamesFindThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.StringMatching(`[ab]{1,2}(es|s|ies|ves)?( [ab]{1,2}s?){0,2}`), 1, 12).Draw(t, "names")
		matcher, err := NewMatcher(names, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if got := matcher.Find(strings.ToUpper(name)); len(got) != 1 || got[0] != slices.Index(names, name) {
				t.Fatalf("%q among %q: found %v", name, names, got)
			}
		}
	})
}

func TestVocabularyTextIsTokenizerJSON(t *testing.T) {
	cases := readGolden(t, "bert.jsonl")
	whole, err := LoadWordPiece(testdata.Golden(t, "models", "tiny-bert"))
	if err != nil {
		t.Fatal(err)
	}
	lines := make([]string, whole.Size())
	for token, id := range whole.vocabulary {
		lines[id] = token
	}
	dir := t.TempDir()
	writeTestFile(t, dir, "vocab.txt", strings.Join(lines, "\n")+"\n")
	writeTestFile(t, dir, "tokenizer_config.json", `{"do_lower_case": true}`)
	fromText, err := LoadWordPiece(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if got, want := fromText.Encode(c.Text), whole.Encode(c.Text); !slices.Equal(got, want) {
			t.Errorf("%q: %v from vocab.txt, %v from tokenizer.json", c.Text, got, want)
		}
	}
}

func TestSmallWordPiece(t *testing.T) {
	dir := t.TempDir()
	writeTestFile(t, dir, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nplay\n##ing\n##s\ncafe\n中\n!\n")
	bert, err := LoadWordPiece(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		text string
		want []int32
	}{
		{"A Café", []int32{5, 9}},
		{"playing plays!play", []int32{6, 7, 6, 8, 11, 6}},
		{"中a中", []int32{10, 5, 10}},
		{"xyz " + strings.Repeat("a", 101), []int32{1, 1}},
		{"a[MASK]a", []int32{5, 4, 5}},
		{" \x00 ", nil},
	} {
		if got := bert.Encode(test.text); !slices.Equal(got, test.want) {
			t.Errorf("%q: %v, want %v", test.text, got, test.want)
		}
	}
}

func TestBadTokenizerFiles(t *testing.T) {
	for _, test := range []struct {
		files map[string]string
		want  string
	}{
		{nil, "tokenizer.json"},
		{map[string]string{"vocab.json": "{", "merges.txt": ""}, "vocab.json"},
		{map[string]string{"vocab.json": `{"a": 1}`, "merges.txt": ""}, "lacks <|startoftext|>"},
		{map[string]string{"vocab.json": `{"a": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}`, "merges.txt": "a b"}, `merge 1 ("a" "b")`},
		{map[string]string{"vocab.json": `{"a": 99999999, "<|startoftext|>": 2, "<|endoftext|>": 3}`, "merges.txt": ""}, "id 99999999"},
		{map[string]string{"vocab.json": `{}`, "merges.txt": "#version\na b c\n"}, "line 2"},
		{map[string]string{"tokenizer.json": `{"model": {"type": "Unigram"}}`}, `model is "Unigram", expected BPE`},
		{map[string]string{"tokenizer.json": `{"model": {"type": "BPE", "merges": [["a"]]}}`}, "merge of 1 tokens"},
	} {
		dir := t.TempDir()
		for name, content := range test.files {
			writeTestFile(t, dir, name, content)
		}
		if _, err := LoadCLIP(dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.files, err, test.want)
		}
	}
	dir := t.TempDir()
	writeTestFile(t, dir, "vocab.txt", "a\nb\n")
	if _, err := LoadWordPiece(dir); err == nil || !strings.Contains(err.Error(), "lacks [CLS]") {
		t.Errorf("got %v, want an error about [CLS]", err)
	}
}

func writeTestFile(t testing.TB, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// smallCLIP is a tokenizer of all bytes and a few merges.
func smallCLIP(t testing.TB) *CLIP {
	t.Helper()
	trained, err := TrainBPE(slices.Values([]string{"a red circle", "a red square", "빨간 원 빨간"}), 540)
	if err != nil {
		t.Fatal(err)
	}
	clip, err := trained.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return clip
}

func FuzzCLIP(f *testing.F) {
	for _, text := range []string{"a red circle", "&amp;&#x41;&notit;", "<|startoftext|>", "ﬁ\r\nΣ", "\xff\x1b[0m"} {
		f.Add(text)
	}
	clip := smallCLIP(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, id := range clip.Encode(text) {
			if id < 0 || int(id) >= clip.Size() {
				t.Fatalf("%q gives the id %d of %d", text, id, clip.Size())
			}
		}
		if clean := cleanCLIP(text); !utf8.ValidString(clean) {
			t.Fatalf("%q becomes %q", text, clean)
		}
	})
}

func FuzzWordPiece(f *testing.F) {
	f.Add("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n", "ab [SEP] É中")
	f.Fuzz(func(t *testing.T, vocabulary, text string) {
		dir := t.TempDir()
		writeTestFile(t, dir, "vocab.txt", vocabulary)
		bert, err := LoadWordPiece(dir)
		if err != nil {
			return
		}
		for _, id := range bert.Encode(text) {
			if id < 0 || int(id) >= bert.Size() {
				t.Fatalf("%q gives the id %d of %d", text, id, bert.Size())
			}
		}
	})
}

func FuzzTokenizerFile(f *testing.F) {
	f.Add(`{"model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": 0, "b</w>": 1, "ab</w>": 2, "<|startoftext|>": 3, "<|endoftext|>": 4}, "merges": ["a b</w>"]}}`, "ab b a")
	f.Add(`{"added_tokens": [{"id": 0, "content": "[CLS]"}], "normalizer": {"type": "BertNormalizer"}, "model": {"type": "WordPiece", "vocab": {"[UNK]": 1, "[SEP]": 2, "a": 3}}}`, "a [CLS]")
	f.Fuzz(func(t *testing.T, content, text string) {
		dir := t.TempDir()
		writeTestFile(t, dir, "tokenizer.json", content)
		if clip, err := LoadCLIP(dir); err == nil {
			for _, id := range clip.Encode(text) {
				if id < 0 || int(id) >= clip.Size() {
					t.Fatalf("%q gives the id %d of %d", text, id, clip.Size())
				}
			}
		}
		if bert, err := LoadWordPiece(dir); err == nil {
			bert.Encode(text)
		}
	})
}

func FuzzMatcher(f *testing.F) {
	f.Add("hot dog\ndog\nbus", "Hot dogs on buses")
	f.Fuzz(func(t *testing.T, names, text string) {
		matcher, err := NewMatcher(strings.Split(names, "\n"), nil)
		if err != nil {
			return
		}
		for _, i := range matcher.Find(text) {
			if i < 0 || i >= len(matcher.names) {
				t.Fatalf("index %d of %d names", i, len(matcher.names))
			}
		}
		matcher.Suggest(text, 3)
	})
}

func ExampleMatcher() {
	names := []string{"dog", "hot dog", "person"}
	matcher, err := NewMatcher(names, map[string]string{"people": "person"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, i := range matcher.Find("People eating hot dogs") {
		fmt.Println(names[i])
	}
	fmt.Println(matcher.Suggest("hotdog", 1))
	// Output:
	// person
	// hot dog
	// [hot dog]
}

func BenchmarkCLIP(b *testing.B) {
	clip := smallCLIP(b)
	const text = "A black and brown dog in a grassy, well-lit area with his mouth partially open."
	for b.Loop() {
		clip.Encode(text)
	}
}
