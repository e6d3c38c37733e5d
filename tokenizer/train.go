package tokenizer

import (
	"bytes"
	"cmp"
	"container/heap"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
)

// minVocabulary is what every byte-level vocabulary holds: each byte within a word and at its end, start and end of text.
const minVocabulary = 2*256 + 2

// Trained is a vocabulary that TrainBPE has learned.
type Trained struct {
	tokens []string // by id; the last two are start and end of text
	merges []pair
}

// TrainBPE learns a byte-level BPE vocabulary of CLIP's kind from texts of any language, which are cleaned and split as
// CLIP does it. It ends at vocabSize tokens (at least 514), or earlier when no pair occurs twice; of pairs that occur
// equally often the one that sorts first is joined. The same texts, in whatever order, give the same vocabulary. Memory
// grows with the number of different words.
func TrainBPE(texts iter.Seq[string], vocabSize int) (*Trained, error) {
	if vocabSize < minVocabulary || vocabSize > maxVocabulary {
		return nil, fmt.Errorf("train tokenizer: vocabulary of %d tokens, expected %d to %d", vocabSize, minVocabulary, maxVocabulary)
	}
	counts := map[string]int64{}
	for text := range texts {
		for rest := cleanCLIP(text); rest != ""; {
			var word string
			if word, rest = nextWord(rest); word != "" && word != startOfText && word != endOfText {
				counts[word]++
			}
		}
	}
	if len(counts) == 0 {
		return nil, fmt.Errorf("train tokenizer: the texts hold no word")
	}
	t := newTrainer(counts)
	for len(t.tokens) < vocabSize-2 && t.joinMostFrequent() {
	}
	return &Trained{append(t.tokens, startOfText, endOfText), t.merges}, nil
}

// Size returns the number of tokens.
func (t *Trained) Size() int { return len(t.tokens) }

// Tokenizer returns the tokenizer of the vocabulary, the same that LoadCLIP reads from what Write wrote.
func (t *Trained) Tokenizer() (*CLIP, error) {
	vocabulary := make(map[string]int32, len(t.tokens))
	for id, token := range t.tokens {
		vocabulary[token] = int32(id)
	}
	return newCLIP(vocabulary, t.merges)
}

// trainedJSON is how a vocabulary lies within other files.
type trainedJSON struct {
	Tokens []string    `json:"tokens"`
	Merges [][2]string `json:"merges"`
}

// MarshalJSON makes the vocabulary part of another file.
func (t *Trained) MarshalJSON() ([]byte, error) {
	out := trainedJSON{Tokens: t.tokens}
	for _, m := range t.merges {
		out.Merges = append(out.Merges, [2]string{m.left, m.right})
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Trained) UnmarshalJSON(data []byte) error {
	var in trainedJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if n := len(in.Tokens); n < minVocabulary || n > maxVocabulary {
		return fmt.Errorf("vocabulary of %d tokens, expected %d to %d", n, minVocabulary, maxVocabulary)
	}
	t.tokens, t.merges = in.Tokens, nil
	for _, m := range in.Merges {
		t.merges = append(t.merges, pair{m[0], m[1]})
	}
	return nil
}

// Write writes vocab.json, merges.txt and tokenizer_config.json into a directory, which it makes if need be. contextLength
// is the number of tokens that the text encoder takes, 77 for CLIP.
func (t *Trained) Write(dir string, contextLength int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write tokenizer: %w", err)
	}
	var vocabulary, merges bytes.Buffer
	for id, token := range t.tokens {
		separator := ",\n"
		if id == 0 {
			separator = "{\n"
		}
		quoted, err := marshalPlain(token)
		if err != nil {
			return fmt.Errorf("write tokenizer: %w", err)
		}
		fmt.Fprintf(&vocabulary, "%s  %s: %d", separator, quoted, id)
	}
	vocabulary.WriteString("\n}\n")
	merges.WriteString("#version: 0.2\n")
	for _, rule := range t.merges {
		fmt.Fprintf(&merges, "%s %s\n", rule.left, rule.right)
	}
	config, err := json.MarshalIndent(map[string]any{
		"tokenizer_class":  "CLIPTokenizer",
		"do_lower_case":    true,
		"model_max_length": contextLength,
		"bos_token":        startOfText,
		"eos_token":        endOfText,
		"pad_token":        endOfText,
		"unk_token":        endOfText,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("write tokenizer: %w", err)
	}
	for _, file := range []struct {
		name string
		data []byte
	}{
		{"vocab.json", vocabulary.Bytes()},
		{"merges.txt", merges.Bytes()},
		{"tokenizer_config.json", append(config, '\n')},
	} {
		if err := os.WriteFile(filepath.Join(dir, file.name), file.data, 0o644); err != nil {
			return fmt.Errorf("write tokenizer: %w", err)
		}
	}
	return nil
}

// marshalPlain is json.Marshal without the escapes for HTML, which other readers find odd in a vocabulary.
func marshalPlain(token string) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(token)
	return bytes.TrimRight(out.Bytes(), "\n"), err
}

// trainer keeps the words as lists of tokens and how often each pair of neighbours occurs in them.
type trainer struct {
	tokens []string
	ids    map[string]int32
	merges []pair
	words  []trainedWord
	pairs  map[[2]int32]*pairCount
	queue  pairQueue
}

type trainedWord struct {
	tokens []int32
	count  int64
}

type pairCount struct {
	count int64
	words []int32 // where the pair is or was
}

func newTrainer(counts map[string]int64) *trainer {
	t := &trainer{ids: map[string]int32{}, pairs: map[[2]int32]*pairCount{}}
	t.queue.tokens = &t.tokens
	symbols := slices.Clone(byteSymbols[:])
	// The ids of the bytes stand in OpenAI's order: printable characters first.
	slices.SortStableFunc(symbols, cmp.Compare)
	for _, end := range []string{"", endOfWord} {
		for _, symbol := range symbols {
			t.token(string(symbol) + end)
		}
	}
	for word, count := range counts {
		tokens := make([]int32, len(word))
		for i := range len(word) {
			symbol := string(byteSymbols[word[i]])
			if i == len(word)-1 {
				symbol += endOfWord
			}
			tokens[i] = t.ids[symbol]
		}
		t.words = append(t.words, trainedWord{tokens, count})
	}
	// The order of words decides nothing but the order of work; sorted, a run repeats in every step.
	slices.SortFunc(t.words, func(a, b trainedWord) int { return slices.Compare(a.tokens, b.tokens) })
	for i, word := range t.words {
		for j := 0; j+1 < len(word.tokens); j++ {
			t.count([2]int32{word.tokens[j], word.tokens[j+1]}, word.count, int32(i))
		}
	}
	for pair, counted := range t.pairs {
		t.queue.entries = append(t.queue.entries, queued{pair, counted.count})
	}
	heap.Init(&t.queue)
	return t
}

func (t *trainer) token(text string) int32 {
	id, ok := t.ids[text]
	if !ok {
		id = int32(len(t.tokens))
		t.ids[text] = id
		t.tokens = append(t.tokens, text)
	}
	return id
}

// count adds occurrences of a pair in a word; word -1 stands for occurrences that are gone.
func (t *trainer) count(pair [2]int32, occurrences int64, word int32) {
	counted := t.pairs[pair]
	if counted == nil {
		counted = &pairCount{}
		t.pairs[pair] = counted
	}
	counted.count += occurrences
	if last := len(counted.words) - 1; word >= 0 && (last < 0 || counted.words[last] != word) {
		counted.words = append(counted.words, word)
	}
}

// joinMostFrequent adds one merge; it reports false when no pair occurs twice.
func (t *trainer) joinMostFrequent() bool {
	var best queued
	for {
		if t.queue.Len() == 0 {
			return false
		}
		best = heap.Pop(&t.queue).(queued)
		// Entries are not taken out when a count changes: one that does not tell today's count is old.
		if counted := t.pairs[best.pair]; counted != nil && counted.count == best.count {
			break
		}
	}
	if best.count < 2 {
		return false
	}
	left, right := t.tokens[best.pair[0]], t.tokens[best.pair[1]]
	joined := t.token(left + right)
	t.merges = append(t.merges, pair{left, right})

	places := t.pairs[best.pair].words
	slices.Sort(places)
	changed := map[[2]int32]struct{}{}
	for _, i := range slices.Compact(places) {
		word := &t.words[i]
		for j := 0; j+1 < len(word.tokens); j++ {
			neighbours := [2]int32{word.tokens[j], word.tokens[j+1]}
			t.count(neighbours, -word.count, -1)
			changed[neighbours] = struct{}{}
		}
		kept := word.tokens[:0]
		for j := 0; j < len(word.tokens); j++ {
			token := word.tokens[j]
			if j+1 < len(word.tokens) && token == best.pair[0] && word.tokens[j+1] == best.pair[1] {
				token = joined
				j++
			}
			kept = append(kept, token)
		}
		word.tokens = kept
		for j := 0; j+1 < len(kept); j++ {
			neighbours := [2]int32{kept[j], kept[j+1]}
			t.count(neighbours, word.count, i)
			changed[neighbours] = struct{}{}
		}
	}
	for pair := range changed {
		if count := t.pairs[pair].count; count > 0 && pair != best.pair {
			heap.Push(&t.queue, queued{pair, count})
		} else {
			delete(t.pairs, pair)
		}
	}
	return true
}

type queued struct {
	pair  [2]int32
	count int64
}

// pairQueue gives the most frequent pair first, of equally frequent ones the one that sorts first.
type pairQueue struct {
	entries []queued
	tokens  *[]string
}

func (q *pairQueue) Len() int { return len(q.entries) }

func (q *pairQueue) Less(i, j int) bool {
	a, b := q.entries[i], q.entries[j]
	if a.count != b.count {
		return a.count > b.count
	}
	tokens := *q.tokens
	if a.pair[0] != b.pair[0] {
		return tokens[a.pair[0]] < tokens[b.pair[0]]
	}
	return tokens[a.pair[1]] < tokens[b.pair[1]]
}

func (q *pairQueue) Swap(i, j int) { q.entries[i], q.entries[j] = q.entries[j], q.entries[i] }
func (q *pairQueue) Push(x any)    { q.entries = append(q.entries, x.(queued)) }
func (q *pairQueue) Pop() any {
	last := q.entries[len(q.entries)-1]
	q.entries = q.entries[:len(q.entries)-1]
	return last
}
