package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// SentencePiece is the tokenizer of SigLIP (a unigram model, Kudo 2018) and of SigLIP 2 (Gemma's BPE), with the cleaning
// that either was trained with: SigLIP's texts are lower-case and without ASCII punctuation, SigLIP 2's are lower-case.
type SentencePiece struct {
	pieces map[string]int32
	size   int
	// Unigram: the score of every piece by id; nil for BPE.
	scores     []float32
	defined    map[int32]bool // pieces that are taken whole wherever they stand
	longest    int            // bytes of the longest piece
	unknownAt  float32        // score of an unknown character
	best       float32        // score of the best piece
	normalizer charsMap

	// BPE
	merges mergeTable
	added  []addedToken // found in the text before everything else

	byteIDs      []int32 // of the 256 bytes, where unknown characters are cut into them
	unknown, end int32
	pad          int32
	prefix       bool // whether a text is taken to begin with a space
	trim         bool // whether spaces are collapsed and those at the ends dropped
	canonical    bool // SigLIP's removal of punctuation
}

const (
	pieceSpace  = "\u2581" // stands for a space in pieces
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

// LoadSentencePiece reads spiece.model, tokenizer.model or tokenizer.json of a model directory.
func LoadSentencePiece(dir string) (*SentencePiece, error) {
	for _, name := range []string{"spiece.model", "tokenizer.model"} {
		path := filepath.Join(dir, name)
		if !exists(path) {
			continue
		}
		data, err := readFile(path)
		if err != nil {
			return nil, err
		}
		t, err := parseSentencePieceModel(data)
		if err != nil {
			return nil, fmt.Errorf("read tokenizer %s: %w", path, err)
		}
		return t, nil
	}
	path := filepath.Join(dir, "tokenizer.json")
	file, err := readTokenizerFile(dir)
	if err != nil {
		return nil, err
	}
	t, err := sentencePieceOf(file, path)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer %s: %w", path, err)
	}
	return t, nil
}

// Size returns the number of ids, which the embedding table must have rows for.
func (t *SentencePiece) Size() int { return t.size }

// End returns the id that ends every sequence.
func (t *SentencePiece) End() int32 { return t.end }

// Pad returns the id that fills a sequence up to the length that the model was trained with.
func (t *SentencePiece) Pad() int32 { return t.pad }

// Encode returns the ids of a text without the end, however long it is.
func (t *SentencePiece) Encode(text string) []int32 {
	text = lower(strings.ToValidUTF8(text, "\uFFFD"))
	if t.canonical {
		text = strings.Map(func(c rune) rune {
			if c < 0x80 && strings.ContainsRune(punctuation, c) {
				return -1
			}
			return c
		}, strings.ReplaceAll(text, pieceSpace, " "))
	}
	text = t.normalizer.normalize(text)
	if t.trim {
		text = collapseSpace(text)
	}
	if text == "" {
		return nil
	}
	text = strings.ReplaceAll(text, " ", pieceSpace)
	if t.prefix {
		text = pieceSpace + text
	}
	if t.scores == nil {
		return t.encodeBPE(text)
	}
	return t.encodeUnigram(text)
}

// encodeUnigram finds the pieces whose scores sum to the most (Viterbi), as SentencePiece does it: in float32, and of
// equal sums the one found first.
func (t *SentencePiece) encodeUnigram(text string) []int32 {
	type step struct {
		score float32
		start int32 // -1: not reached
		id    int32
	}
	steps := make([]step, len(text)+1)
	for i := range steps {
		steps[i].start = -1
	}
	steps[0].start = 0
	for start := 0; start < len(text); {
		_, width := utf8.DecodeRuneInString(text[start:])
		single := false
		for end := start + width; end <= len(text) && end-start <= t.longest; {
			if id, ok := t.pieces[text[start:end]]; ok && id != t.unknown {
				score := t.scores[id]
				if t.defined[id] {
					score = float32(end-start)*t.best - 0.1
				}
				if sum := steps[start].score + score; steps[end].start < 0 || sum > steps[end].score {
					steps[end] = step{sum, int32(start), id}
				}
				single = single || end == start+width
			}
			if end == len(text) {
				break
			}
			_, next := utf8.DecodeRuneInString(text[end:])
			end += next
		}
		if !single {
			end := start + width
			if sum := steps[start].score + t.unknownAt; steps[end].start < 0 || sum > steps[end].score {
				steps[end] = step{sum, int32(start), t.unknown}
			}
		}
		start += width
	}
	var ids []int32
	for end := len(text); end > 0; {
		s := steps[end]
		switch {
		case s.id != t.unknown:
			ids = append(ids, s.id)
		case t.byteIDs != nil:
			for i := end - 1; i >= int(s.start); i-- {
				ids = append(ids, t.byteIDs[text[i]])
			}
		case len(ids) == 0 || ids[len(ids)-1] != t.unknown:
			ids = append(ids, t.unknown) // neighbouring unknown characters are one unknown piece
		}
		end = int(s.start)
	}
	slices.Reverse(ids)
	return ids
}

// encodeBPE joins characters to pieces; tokens that were added to the vocabulary are found before.
func (t *SentencePiece) encodeBPE(text string) []int32 {
	var ids []int32
	for text != "" {
		at, token := len(text), (*addedToken)(nil)
		if len(t.added) > 0 {
			at, token = t.firstAdded(text)
		}
		ids = t.joinCharacters(ids, text[:at])
		text = text[at:]
		if token != nil {
			ids = append(ids, token.ID)
			text = text[len(token.Content):]
		}
	}
	return ids
}

// firstAdded finds the first place in a text where an added token stands, and the longest one there.
func (t *SentencePiece) firstAdded(text string) (int, *addedToken) {
	for i := range text {
		for j := range t.added {
			if strings.HasPrefix(text[i:], t.added[j].Content) {
				return i, &t.added[j]
			}
		}
	}
	return len(text), nil
}

func (t *SentencePiece) joinCharacters(ids []int32, text string) []int32 {
	first := len(ids)
	for i, c := range text {
		character := text[i : i+utf8.RuneLen(c)]
		id, ok := t.pieces[character]
		switch {
		case ok:
			ids = append(ids, id)
		case t.byteIDs != nil:
			for j := range len(character) {
				ids = append(ids, t.byteIDs[character[j]])
			}
		case len(ids) == first || ids[len(ids)-1] != t.unknown:
			ids = append(ids, t.unknown)
		}
	}
	return ids[:first+t.merges.apply(ids[first:], false)]
}

// sentencePieceOf makes a tokenizer of a tokenizer.json whose model is Unigram, or BPE without ends of words.
func sentencePieceOf(file *tokenizerFile, path string) (*SentencePiece, error) {
	t := &SentencePiece{pieces: map[string]int32{}, unknown: -1}
	switch file.Model.Type {
	case "Unigram":
		var entries []scoredPiece
		if err := json.Unmarshal(file.Model.Vocab, &entries); err != nil {
			return nil, fmt.Errorf("vocabulary: %w", err)
		}
		t.scores = make([]float32, len(entries))
		for id, entry := range entries {
			t.addPiece(entry.piece, int32(id))
			t.scores[id] = entry.score
		}
		if file.Model.UnknownID != nil {
			t.unknown = *file.Model.UnknownID
		}
		charsmap, err := findCharsMap(file.Normalizer)
		if err != nil {
			return nil, err
		}
		if t.normalizer, err = parseCharsMap(charsmap); err != nil {
			return nil, err
		}
		t.prefix, t.trim, t.canonical = true, true, true
	case "BPE":
		if file.Model.Suffix != "" {
			return nil, fmt.Errorf("BPE with the end of word %q, expected none as Gemma's", file.Model.Suffix)
		}
		if err := unmarshalVocabulary(file, path, &t.pieces); err != nil {
			return nil, err
		}
		var err error
		if t.merges, err = newMergeTable(t.pieces, file.Model.Merges); err != nil {
			return nil, err
		}
		if id, ok := t.pieces[file.Model.UnknownToken]; ok {
			t.unknown = id
		}
	default:
		return nil, fmt.Errorf("model is %q, expected Unigram or BPE", file.Model.Type)
	}
	for _, added := range file.AddedTokens {
		t.addPiece(added.Content, added.ID)
		if t.scores == nil && added.Content != "" {
			// The space is written as in pieces by the time that added tokens are looked for.
			added.Content = strings.ReplaceAll(added.Content, " ", pieceSpace)
			t.added = append(t.added, added)
		}
	}
	return t, t.finish(file.Model.ByteFallback)
}

// scoredPiece is a vocabulary entry of a Unigram model: ["piece", score].
type scoredPiece struct {
	piece string
	score float32
}

func (p *scoredPiece) UnmarshalJSON(data []byte) error {
	parts := []any{&p.piece, &p.score}
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("a piece of %d parts, expected text and score", len(parts))
	}
	return nil
}

func (t *SentencePiece) addPiece(piece string, id int32) {
	if _, ok := t.pieces[piece]; !ok {
		t.pieces[piece] = id
	}
}

// finish checks a vocabulary and derives what encoding needs.
func (t *SentencePiece) finish(byteFallback bool) error {
	for piece, id := range t.pieces {
		if id < 0 || id > maxVocabulary {
			return fmt.Errorf("piece %q has the id %d, expected 0 to %d", piece, id, maxVocabulary)
		}
		t.size = max(t.size, int(id)+1)
		t.longest = max(t.longest, len(piece))
	}
	// Added tokens of a Unigram model may have ids beyond its scores; they never stand in a text.
	if t.scores != nil {
		for piece, id := range t.pieces {
			if int(id) >= len(t.scores) {
				delete(t.pieces, piece)
			}
		}
		lowest := float32(math.Inf(1))
		t.best = float32(math.Inf(-1))
		for id, score := range t.scores {
			if score != score || math.IsInf(float64(score), 0) {
				return fmt.Errorf("piece %d has the score %v", id, score)
			}
			lowest, t.best = min(lowest, score), max(t.best, score)
		}
		t.unknownAt = lowest - 10
	}
	if byteFallback {
		t.byteIDs = make([]int32, 256)
		for b := range t.byteIDs {
			id, ok := t.pieces[fmt.Sprintf("<0x%02X>", b)]
			if !ok {
				return fmt.Errorf("unknown characters are to be cut into bytes, but the vocabulary lacks <0x%02X>", b)
			}
			t.byteIDs[b] = id
		}
	}
	if t.unknown < 0 || int(t.unknown) >= t.size {
		id, ok := t.pieces["<unk>"]
		if !ok {
			return errors.New("the vocabulary lacks <unk>")
		}
		t.unknown = id
	}
	end, okEnd := t.pieces["</s>"]
	if gemma, ok := t.pieces["<eos>"]; ok {
		end, okEnd = gemma, true
	}
	if !okEnd {
		return errors.New("the vocabulary lacks </s> or <eos>")
	}
	t.end, t.pad = end, end // SigLIP pads with its end
	if pad, ok := t.pieces["<pad>"]; ok && t.scores == nil {
		t.pad = pad
	}
	slices.SortStableFunc(t.added, func(a, b addedToken) int { return cmp.Compare(len(b.Content), len(a.Content)) })
	return nil
}

// findCharsMap looks for the Precompiled part of a normalizer and returns its map; nil if there is none.
func findCharsMap(normalizer json.RawMessage) ([]byte, error) {
	if len(normalizer) == 0 || bytes.Equal(normalizer, []byte("null")) {
		return nil, nil
	}
	var parts struct {
		Type        string            `json:"type"`
		CharsMap    string            `json:"precompiled_charsmap"`
		Normalizers []json.RawMessage `json:"normalizers"`
	}
	if err := json.Unmarshal(normalizer, &parts); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if parts.Type == "Precompiled" {
		decoded, err := base64.StdEncoding.DecodeString(parts.CharsMap)
		if err != nil {
			return nil, fmt.Errorf("precompiled_charsmap: %w", err)
		}
		return decoded, nil
	}
	for _, part := range parts.Normalizers {
		if found, err := findCharsMap(part); err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}
