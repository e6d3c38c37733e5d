package tokenizer

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	startOfText = "<|startoftext|>"
	endOfText   = "<|endoftext|>"
)

// CLIP is the byte-level BPE of OpenAI's CLIP (Radford et al. 2021), with the cleaning its authors apply.
type CLIP struct {
	bpe        *bpe
	start, end int32
	size       int
}

// HasCLIP says whether a directory has the files that LoadCLIP reads, whatever they hold.
func HasCLIP(dir string) bool {
	has := func(name string) bool { return exists(filepath.Join(dir, name)) }
	return has("tokenizer.json") || has("vocab.json") && has("merges.txt")
}

// LoadCLIP reads vocab.json and merges.txt of a model directory, or its tokenizer.json.
func LoadCLIP(dir string) (*CLIP, error) {
	vocabulary, merges, err := readBPE(dir)
	if err != nil {
		return nil, err
	}
	t, err := newCLIP(vocabulary, merges)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer of %s: %w", dir, err)
	}
	return t, nil
}

func newCLIP(vocabulary map[string]int32, merges []pair) (*CLIP, error) {
	t := &CLIP{}
	for token, id := range vocabulary {
		if id < 0 || id > maxVocabulary {
			return nil, fmt.Errorf("token %q has the id %d, expected 0 to %d", token, id, maxVocabulary)
		}
		t.size = max(t.size, int(id)+1)
	}
	var okStart, okEnd bool
	t.start, okStart = vocabulary[startOfText]
	t.end, okEnd = vocabulary[endOfText]
	if !okStart || !okEnd {
		return nil, fmt.Errorf("vocabulary of %d tokens lacks %s or %s", len(vocabulary), startOfText, endOfText)
	}
	var err error
	// CLIP's unknown token is the end; a full vocabulary never needs it.
	t.bpe, err = newBPE(vocabulary, merges, t.end)
	return t, err
}

// maxVocabulary is far above any text encoder's; it keeps ids of hostile files from becoming sizes.
const maxVocabulary = 1 << 22

func unmarshalVocabulary(file *tokenizerFile, path string, vocabulary *map[string]int32) error {
	if err := json.Unmarshal(file.Model.Vocab, vocabulary); err != nil {
		return fmt.Errorf("read tokenizer %s: vocabulary: %w", path, err)
	}
	for _, added := range file.AddedTokens {
		(*vocabulary)[added.Content] = added.ID
	}
	return nil
}

// Start returns the id that begins every sequence, End the one that ends it.
func (t *CLIP) Start() int32 { return t.start }

// End returns the id that ends every sequence, at whose place CLIP reads the sentence vector.
func (t *CLIP) End() int32 { return t.end }

// Size returns the number of ids, which the embedding table must have rows for.
func (t *CLIP) Size() int { return t.size }

// Encode returns the ids of a text without start and end, however long it is.
func (t *CLIP) Encode(text string) []int32 {
	text = cleanCLIP(text)
	ids := make([]int32, 0, len(text)/3+4)
	for text != "" {
		var word string
		word, text = nextWord(text)
		switch word {
		case startOfText:
			ids = append(ids, t.start)
		case endOfText:
			ids = append(ids, t.end)
		default:
			ids = t.bpe.encode(ids, word)
		}
	}
	return ids
}

var contractions = []string{"'s", "'ſ", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// nextWord cuts the first word off a cleaned text, by CLIP's pattern: special tokens and English contractions, runs of
// letters, single digits, runs of anything else but spaces.
func nextWord(text string) (word, rest string) {
	text = strings.TrimLeft(text, " ")
	if text == "" {
		return "", ""
	}
	for _, special := range []string{startOfText, endOfText} {
		if strings.HasPrefix(text, special) {
			return special, text[len(special):]
		}
	}
	if text[0] == '\'' {
		for _, contraction := range contractions {
			if strings.HasPrefix(text, contraction) {
				return contraction, text[len(contraction):]
			}
		}
	}
	first, width := utf8.DecodeRuneInString(text)
	class := classOf(first)
	if class == digit {
		return text[:width], text[width:]
	}
	end := len(text)
	for i, c := range text {
		if classOf(c) != class {
			end = i
			break
		}
	}
	return text[:end], text[end:]
}

type class uint8

const (
	space class = iota
	letter
	digit
	other
)

func classOf(c rune) class {
	switch {
	case c >= 'a' && c <= 'z':
		return letter
	case c == ' ':
		return space
	case unicode.IsLetter(c):
		return letter
	case unicode.IsNumber(c):
		return digit
	case unicode.IsSpace(c):
		return space
	}
	return other
}
