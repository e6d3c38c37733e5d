package tokenizer

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// WordPiece is BERT's tokenizer (Devlin et al. 2019) as Hugging Face's tokenizers implement it: words cut into the longest
// pieces of the vocabulary from left to right.
type WordPiece struct {
	vocabulary map[string]int32
	special    []addedToken // found in the text as they stand, before it is cleaned
	rules      bertNormalizer
	unknown    int32
	prefix     string // of a piece that continues a word
	maxChars   int    // longer words are unknown
	size       int
}

type bertNormalizer struct {
	Type         string           `json:"type"`
	CleanText    *bool            `json:"clean_text"`
	ChineseChars *bool            `json:"handle_chinese_chars"`
	StripAccents *bool            `json:"strip_accents"` // null: as lowercase
	Lowercase    *bool            `json:"lowercase"`
	Normalizers  []bertNormalizer `json:"normalizers"`
}

// LoadWordPiece reads the tokenizer.json of a model directory, or its vocab.txt and tokenizer_config.json.
func LoadWordPiece(dir string) (*WordPiece, error) {
	t := &WordPiece{prefix: "##", maxChars: 100}
	var err error
	if exists(filepath.Join(dir, "tokenizer.json")) {
		err = t.readTokenizerFile(dir)
	} else {
		err = t.readVocabularyText(dir)
	}
	if err != nil {
		return nil, err
	}
	for _, token := range []string{"[CLS]", "[SEP]", "[UNK]"} {
		if _, ok := t.vocabulary[token]; !ok {
			return nil, fmt.Errorf("read tokenizer of %s: vocabulary of %d tokens lacks %s", dir, len(t.vocabulary), token)
		}
	}
	for token, id := range t.vocabulary {
		if id < 0 || id > maxVocabulary {
			return nil, fmt.Errorf("read tokenizer of %s: token %q has the id %d, expected 0 to %d", dir, token, id, maxVocabulary)
		}
		t.size = max(t.size, int(id)+1)
	}
	return t, nil
}

func (t *WordPiece) readTokenizerFile(dir string) error {
	path := filepath.Join(dir, "tokenizer.json")
	file, err := readTokenizerFile(dir)
	if err != nil {
		return err
	}
	if file.Model.Type != "WordPiece" {
		return fmt.Errorf("read tokenizer %s: model is %q, expected WordPiece", path, file.Model.Type)
	}
	if err := unmarshalVocabulary(file, path, &t.vocabulary); err != nil {
		return err
	}
	if len(file.Normalizer) > 0 && string(file.Normalizer) != "null" {
		if err := json.Unmarshal(file.Normalizer, &t.rules); err != nil {
			return fmt.Errorf("read tokenizer %s: normalizer: %w", path, err)
		}
	}
	if t.rules.Type == "Sequence" && len(t.rules.Normalizers) == 1 {
		t.rules = t.rules.Normalizers[0]
	}
	if t.rules.Type != "BertNormalizer" {
		return fmt.Errorf("read tokenizer %s: normalizer is %q, expected BertNormalizer", path, t.rules.Type)
	}
	if file.Model.Prefix != nil {
		t.prefix = *file.Model.Prefix
	}
	if file.Model.MaxChars > 0 {
		t.maxChars = file.Model.MaxChars
	}
	for _, added := range file.AddedTokens {
		if added.Content != "" {
			t.special = append(t.special, added)
		}
	}
	unknown := file.Model.UnknownToken
	if unknown == "" {
		unknown = "[UNK]"
	}
	t.unknown = t.vocabulary[unknown]
	return nil
}

func (t *WordPiece) readVocabularyText(dir string) error {
	data, err := readFile(filepath.Join(dir, "vocab.txt"))
	if err != nil {
		return err
	}
	t.vocabulary = map[string]int32{}
	id := int32(0)
	for line := range strings.Lines(string(data)) {
		t.vocabulary[strings.TrimRight(line, "\r\n")] = id
		id++
	}
	var config struct {
		Lowercase    *bool `json:"do_lower_case"`
		StripAccents *bool `json:"strip_accents"`
		ChineseChars *bool `json:"tokenize_chinese_chars"`
	}
	if path := filepath.Join(dir, "tokenizer_config.json"); exists(path) {
		if err := readJSON(path, &config); err != nil {
			return err
		}
	}
	t.rules = bertNormalizer{Lowercase: config.Lowercase, StripAccents: config.StripAccents, ChineseChars: config.ChineseChars}
	t.unknown = t.vocabulary["[UNK]"]
	for _, token := range []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} {
		if id, ok := t.vocabulary[token]; ok {
			t.special = append(t.special, addedToken{ID: id, Content: token, Special: true})
		}
	}
	return nil
}

// Start returns the id of [CLS].
func (t *WordPiece) Start() int32 { return t.vocabulary["[CLS]"] }

// End returns the id of [SEP].
func (t *WordPiece) End() int32 { return t.vocabulary["[SEP]"] }

// Size returns the number of ids, which the embedding table must have rows for.
func (t *WordPiece) Size() int { return t.size }

// Encode returns the ids of a text without [CLS] and [SEP], however long it is.
func (t *WordPiece) Encode(text string) []int32 {
	text = strings.ToValidUTF8(text, "\uFFFD")
	var ids []int32
	for text != "" {
		at, token := t.firstSpecial(text)
		for _, word := range t.words(text[:at]) {
			ids = t.encodeWord(ids, word)
		}
		text = text[at:]
		if token != nil {
			ids = append(ids, token.ID)
			text = text[len(token.Content):]
		}
	}
	return ids
}

// firstSpecial finds the first special token of a text; it returns the text's length and nil if there is none.
func (t *WordPiece) firstSpecial(text string) (int, *addedToken) {
	at, found := len(text), (*addedToken)(nil)
	for i := range t.special {
		place := strings.Index(text[:min(len(text), at+len(t.special[i].Content))], t.special[i].Content)
		if place >= 0 && (place < at || (place == at && found != nil && len(t.special[i].Content) > len(found.Content))) {
			at, found = place, &t.special[i]
		}
	}
	return at, found
}

// encodeWord appends the pieces of a word, or the unknown token if it cannot be cut into pieces.
func (t *WordPiece) encodeWord(ids []int32, word string) []int32 {
	if utf8.RuneCountInString(word) > t.maxChars {
		return append(ids, t.unknown)
	}
	first := len(ids)
	for start := 0; start < len(word); {
		id, length := t.longestPiece(word[start:], start > 0)
		if length == 0 {
			return append(ids[:first], t.unknown)
		}
		ids = append(ids, id)
		start += length
	}
	return ids
}

func (t *WordPiece) longestPiece(rest string, inner bool) (id int32, length int) {
	prefix := ""
	if inner {
		prefix = t.prefix
	}
	for end := len(rest); end > 0; {
		if id, ok := t.vocabulary[prefix+rest[:end]]; ok {
			return id, end
		}
		_, width := utf8.DecodeLastRuneInString(rest[:end])
		end -= width
	}
	return 0, 0
}

// words cleans a text and cuts it at white space and around punctuation.
func (t *WordPiece) words(text string) []string {
	var clean strings.Builder
	for _, c := range text {
		switch {
		case enabled(t.rules.CleanText) && (c == 0 || c == 0xfffd || isControl(c)):
		case enabled(t.rules.CleanText) && isBERTSpace(c):
			clean.WriteByte(' ')
		case enabled(t.rules.ChineseChars) && isChinese(c):
			clean.WriteByte(' ')
			clean.WriteRune(c)
			clean.WriteByte(' ')
		default:
			clean.WriteRune(c)
		}
	}
	text = clean.String()
	lowercase := enabled(t.rules.Lowercase)
	strip := lowercase
	if t.rules.StripAccents != nil {
		strip = *t.rules.StripAccents
	}
	if strip {
		text = strings.Map(func(c rune) rune {
			if unicode.Is(unicode.Mn, c) {
				return -1
			}
			return c
		}, norm.NFD.String(text))
	}
	if lowercase {
		// Letter by letter: unlike in CLIP's cleaning, a sigma does not look at its neighbours.
		text = strings.ToLower(strings.ReplaceAll(text, "İ", "i\u0307"))
	}
	var words []string
	for _, field := range strings.FieldsFunc(text, unicode.IsSpace) {
		start := 0
		for i, c := range field {
			if !isBERTPunctuation(c) {
				continue
			}
			if start < i {
				words = append(words, field[start:i])
			}
			start = i + utf8.RuneLen(c)
			words = append(words, field[i:start])
		}
		if start < len(field) {
			words = append(words, field[start:])
		}
	}
	return words
}

func enabled(option *bool) bool { return option == nil || *option }

func isBERTSpace(c rune) bool { return c == '\t' || c == '\n' || c == '\r' || unicode.IsSpace(c) }

func isControl(c rune) bool {
	return c != '\t' && c != '\n' && c != '\r' && unicode.Is(unicode.C, c)
}

func isBERTPunctuation(c rune) bool {
	ascii := c >= '!' && c <= '/' || c >= ':' && c <= '@' || c >= '[' && c <= '`' || c >= '{' && c <= '~'
	return ascii || unicode.IsPunct(c)
}

// isChinese holds for the blocks that BERT's authors list (not Hangul, Hiragana and Katakana).
func isChinese(c rune) bool {
	return c >= 0x4E00 && c <= 0x9FFF || c >= 0x3400 && c <= 0x4DBF || c >= 0x20000 && c <= 0x2A6DF ||
		c >= 0x2A700 && c <= 0x2B73F || c >= 0x2B740 && c <= 0x2B81F || c >= 0x2B920 && c <= 0x2CEAF ||
		c >= 0xF900 && c <= 0xFAFF || c >= 0x2F800 && c <= 0x2FA1F
}
