package tokenizer

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"strings"
)

// endOfWord is the mark that CLIP's tokens carry at the end of a word.
const endOfWord = "</w>"

// byteSymbols gives every byte a printable character, as GPT-2's vocabulary does: those that print stand for
// themselves, the others for the characters from U+0100 on.
var byteSymbols = func() (symbols [256]rune) {
	next := rune(0x100)
	for b := range symbols {
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae && b <= 0xff:
			symbols[b] = rune(b)
		default:
			symbols[b] = next
			next++
		}
	}
	return symbols
}()

// merge says how early a pair of tokens is joined and to which token.
type merge struct {
	rank  int32
	token int32
}

// bpe joins the bytes of a word to tokens by a list of ranked merges.
type bpe struct {
	inner  [256]int32 // token of a byte within a word
	last   [256]int32 // token of a byte that ends a word
	merges mergeTable
}

func newBPE(vocabulary map[string]int32, merges []pair, unknown int32) (*bpe, error) {
	table, err := newMergeTable(vocabulary, merges)
	if err != nil {
		return nil, err
	}
	b := &bpe{merges: table}
	lookup := func(token string) int32 {
		if id, ok := vocabulary[token]; ok {
			return id
		}
		return unknown
	}
	for i, symbol := range byteSymbols {
		b.inner[i] = lookup(string(symbol))
		b.last[i] = lookup(string(symbol) + endOfWord)
	}
	return b, nil
}

// encode appends the tokens of one word to ids.
func (b *bpe) encode(ids []int32, word string) []int32 {
	if word == "" {
		return ids
	}
	first := len(ids)
	for i := 0; i < len(word)-1; i++ {
		ids = append(ids, b.inner[word[i]])
	}
	ids = append(ids, b.last[word[len(word)-1]])
	return ids[:first+b.merges.apply(ids[first:], true)]
}

// mergeTable holds the merges of a BPE by the pair of tokens that they join.
type mergeTable map[[2]int32]merge

// apply joins tokens in place until no merge is left and returns how many are left. Of the merges that are possible the
// one of the lowest rank is made next: at all its places at once, from left to right, as OpenAI's code does it, or at the
// first place only, as SentencePiece does.
func (m mergeTable) apply(symbols []int32, everywhere bool) int {
	// joins[i] is the merge of symbols i and i+1, kept beside them so that each round looks up only what changed.
	var space [64]merge
	joins := space[:0]
	for i := 0; i+1 < len(symbols); i++ {
		joins = append(joins, m.join(symbols[i], symbols[i+1]))
	}
	for {
		best := merge{rank: math.MaxInt32}
		for _, join := range joins {
			if join.rank < best.rank {
				best = join
			}
		}
		if best.rank == math.MaxInt32 {
			return len(symbols)
		}
		// to is the write position. The join kept at a position is that of the pair to its right, so the one to the left
		// of a new token is looked up again.
		to, done := 0, false
		for from := 0; from < len(symbols); {
			token, width := symbols[from], 1
			if !done && from < len(joins) && joins[from].rank == best.rank {
				token, width = best.token, 2
				done = !everywhere
			}
			changed := width == 2
			if to > 0 && changed {
				joins[to-1] = m.join(symbols[to-1], token)
			}
			next := from + width
			var after merge
			switch {
			case next >= len(symbols):
			case changed:
				after = m.join(token, symbols[next])
			default:
				after = joins[from]
			}
			symbols[to] = token
			if next < len(symbols) {
				joins[to] = after
			}
			to++
			from = next
		}
		symbols, joins = symbols[:to], joins[:to-1]
	}
}

func (m mergeTable) join(left, right int32) merge {
	if found, ok := m[[2]int32{left, right}]; ok {
		return found
	}
	return merge{rank: math.MaxInt32}
}

// newMergeTable ranks merge rules by their order.
func newMergeTable(vocabulary map[string]int32, rules []pair) (mergeTable, error) {
	table := make(mergeTable, len(rules))
	for rank, rule := range rules {
		left, okLeft := vocabulary[rule.left]
		right, okRight := vocabulary[rule.right]
		joined, okJoined := vocabulary[rule.left+rule.right]
		if !okLeft || !okRight || !okJoined {
			return nil, fmt.Errorf("merge %d (%q %q): its tokens are not in the vocabulary", rank+1, rule.left, rule.right)
		}
		if _, twice := table[[2]int32{left, right}]; !twice {
			table[[2]int32{left, right}] = merge{int32(rank), joined}
		}
	}
	return table, nil
}

func cutMerge(line string) (left, right string, ok bool) {
	left, right, ok = strings.Cut(line, " ")
	return left, right, ok && left != "" && right != "" && !strings.Contains(right, " ")
}

// readMerges reads a merges.txt: a version line that may be missing, then two tokens a line.
func readMerges(path string) ([]pair, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var merges []pair
	lines := bufio.NewScanner(bytes.NewReader(data))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimRight(lines.Text(), "\r")
		if line == "" || (number == 1 && strings.HasPrefix(line, "#version")) {
			continue
		}
		left, right, ok := cutMerge(line)
		if !ok {
			return nil, fmt.Errorf("read tokenizer %s: line %d is %.60q, expected two tokens with a space between", path, number, line)
		}
		merges = append(merges, pair{left, right})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read tokenizer %s: %w", path, err)
	}
	return merges, nil
}

// readBPE reads a vocabulary and its merges from vocab.json and merges.txt, or else from tokenizer.json.
func readBPE(dir string) (map[string]int32, []pair, error) {
	vocabulary := map[string]int32{}
	if path := filepath.Join(dir, "vocab.json"); exists(path) && exists(filepath.Join(dir, "merges.txt")) {
		if err := readJSON(path, &vocabulary); err != nil {
			return nil, nil, err
		}
		merges, err := readMerges(filepath.Join(dir, "merges.txt"))
		return vocabulary, merges, err
	}
	file, err := readTokenizerFile(dir)
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, "tokenizer.json")
	if file.Model.Type != "BPE" {
		return nil, nil, fmt.Errorf("read tokenizer %s: model is %q, expected BPE", path, file.Model.Type)
	}
	if file.Model.Suffix != endOfWord {
		return nil, nil, fmt.Errorf("read tokenizer %s: end_of_word_suffix is %q, expected %q as CLIP has it", path, file.Model.Suffix, endOfWord)
	}
	if err := unmarshalVocabulary(file, path, &vocabulary); err != nil {
		return nil, nil, err
	}
	return vocabulary, file.Model.Merges, nil
}
