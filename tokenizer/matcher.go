package tokenizer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Matcher finds the names of a fixed vocabulary in texts.
//
// Texts and names are cut into lower-case words (runs of letters and digits). From left to right the longest name or
// alias that matches wins, of names with equal words the first. Its last word may be a plural: after the word itself,
// -ies is taken for -y, -ves for -f and -fe, then -es and -s are taken off.
type Matcher struct {
	names    []string
	spelling []string       // what Suggest offers: names, then aliases
	index    map[string]int // words joined by a space -> index of the name
	longest  int            // words of the longest name
}

// NewMatcher returns a Matcher of the names and of aliases (alias to name).
func NewMatcher(names []string, aliases map[string]string) (*Matcher, error) {
	m := &Matcher{names: slices.Clone(names), index: make(map[string]int, len(names)+len(aliases))}
	add := func(text string, name int) error {
		words := splitWords(text)
		if len(words) == 0 {
			return fmt.Errorf("name %.60q has no letter or digit", text)
		}
		m.longest = max(m.longest, len(words))
		key := strings.Join(words, " ")
		if _, taken := m.index[key]; !taken {
			m.index[key] = name
			m.spelling = append(m.spelling, text)
		}
		return nil
	}
	place := make(map[string]int, len(names))
	for i, name := range names {
		if err := add(name, i); err != nil {
			return nil, err
		}
		if _, taken := place[name]; !taken {
			place[name] = i
		}
	}
	sorted := make([]string, 0, len(aliases))
	for alias := range aliases {
		sorted = append(sorted, alias)
	}
	slices.Sort(sorted)
	for _, alias := range sorted {
		name, ok := place[aliases[alias]]
		if !ok {
			return nil, fmt.Errorf("alias %.60q stands for %.60q, which is not among the %d names", alias, aliases[alias], len(names))
		}
		if err := add(alias, name); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Find returns the indices of the distinct names in a text, in the order in which they are first found.
func (m *Matcher) Find(text string) []int {
	words := splitWords(text)
	var found []int
	for i := 0; i < len(words); {
		name, length := m.match(words[i:])
		if length == 0 {
			i++
			continue
		}
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
		i += length
	}
	return found
}

// match returns the longest name that the words begin with and how many words it takes, 0 if there is none.
func (m *Matcher) match(words []string) (name, length int) {
	for length := min(m.longest, len(words)); length > 0; length-- {
		head := strings.Join(words[:length-1], " ")
		if length > 1 {
			head += " "
		}
		for _, last := range singulars(words[length-1]) {
			if name, ok := m.index[head+last]; ok {
				return name, length
			}
		}
	}
	return 0, 0
}

// singulars returns the word and what it may be the plural of, in the order in which they are tried.
func singulars(word string) []string {
	forms := append(make([]string, 0, 5), word)
	if base, ok := strings.CutSuffix(word, "ies"); ok {
		forms = append(forms, base+"y")
	}
	if base, ok := strings.CutSuffix(word, "ves"); ok {
		forms = append(forms, base+"f", base+"fe")
	}
	if base, ok := strings.CutSuffix(word, "es"); ok && base != "" {
		forms = append(forms, base)
	}
	if base, ok := strings.CutSuffix(word, "s"); ok && base != "" {
		forms = append(forms, base)
	}
	return forms
}

func splitWords(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
}

// longestSuggested is how much of a word is compared: no name is longer, and hostile labels are.
const longestSuggested = 64

// Suggest returns the n names or aliases whose spelling is nearest to the word, nearest first.
func (m *Matcher) Suggest(word string, n int) []string {
	target := spelled(word)
	if n <= 0 || len(target) == 0 {
		return nil
	}
	type candidate struct {
		spelling string
		distance int
	}
	candidates := make([]candidate, len(m.spelling))
	for i, spelling := range m.spelling {
		candidates[i] = candidate{spelling, editDistance(target, spelled(spelling))}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	suggestions := make([]string, 0, min(n, len(candidates)))
	for _, c := range candidates[:cap(suggestions)] {
		suggestions = append(suggestions, c.spelling)
	}
	return suggestions
}

func spelled(text string) []rune {
	letters := []rune(strings.Join(splitWords(text), " "))
	return letters[:min(len(letters), longestSuggested)]
}

// editDistance counts the letters to insert, delete, replace or swap with their neighbour to turn a into b (optimal
// string alignment).
func editDistance(a, b []rune) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	before, last, row := rows[0], rows[1], rows[2]
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
