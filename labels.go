package pacl

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxLabels bounds a label list: masks hold 16-bit ids.
	MaxLabels = 60000
	// MaxWordLength is the longest label or synonym, in characters.
	MaxWordLength = 300
)

// Label is one class of a segmentation: its name and all words that stand for it.
type Label struct {
	Name string
	// Words are the synonyms that are scored, the name among them; a patch scores for the label what its best word scores.
	Words []string
}

// ParseLabels reads labels as they are typed: separated by commas, synonyms within a label by "|", as in
// "cat, dog|puppy, person". The first word of a label is its name.
func ParseLabels(list string) ([]Label, error) {
	var labels []Label
	for _, field := range strings.Split(list, ",") {
		if strings.TrimSpace(field) == "" {
			continue
		}
		label, err := newLabel(strings.Split(field, "|"))
		if err != nil {
			return nil, err
		}
		labels = append(labels, label)
	}
	return checkLabels(labels)
}

// LoadLabels reads a cls_*.txt file: one label a line, its synonyms separated by ", ".
func LoadLabels(path string) ([]Label, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	defer file.Close()
	labels, err := ReadLabels(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return labels, nil
}

// ReadLabels reads the text of a cls_*.txt file, as LoadLabels does.
func ReadLabels(r io.Reader) ([]Label, error) {
	const limit = 16 << 20
	var labels []Label
	lines := bufio.NewScanner(io.LimitReader(r, limit))
	lines.Buffer(nil, 1<<20)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimPrefix(lines.Text(), "\ufeff")
		if strings.TrimSpace(line) == "" {
			continue
		}
		label, err := newLabel(strings.Split(line, ", "))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		labels = append(labels, label)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	return checkLabels(labels)
}

func newLabel(words []string) (Label, error) {
	var label Label
	seen := make(map[string]bool, len(words))
	for _, word := range words {
		word = strings.Join(strings.Fields(word), " ")
		switch {
		case word == "" || seen[strings.ToLower(word)]:
			continue
		case !utf8.ValidString(word):
			return Label{}, fmt.Errorf("label %q is not UTF-8 text", clip(word))
		case utf8.RuneCountInString(word) > MaxWordLength:
			return Label{}, fmt.Errorf("label %q has %d characters, at most %d are allowed",
				clip(word), utf8.RuneCountInString(word), MaxWordLength)
		case strings.IndexFunc(word, unicode.IsControl) >= 0:
			return Label{}, fmt.Errorf("label %q holds a control character", clip(word))
		}
		seen[strings.ToLower(word)] = true
		label.Words = append(label.Words, word)
	}
	if len(label.Words) == 0 {
		return Label{}, errors.New("a label without a word")
	}
	label.Name = label.Words[0]
	return label, nil
}

func checkLabels(labels []Label) ([]Label, error) {
	if len(labels) == 0 {
		return nil, errors.New("the label list is empty, expected words such as \"cat, dog|puppy, person\"")
	}
	if len(labels) > MaxLabels {
		return nil, fmt.Errorf("%d labels, at most %d are allowed", len(labels), MaxLabels)
	}
	seen := make(map[string]int, len(labels))
	for i, label := range labels {
		key := strings.ToLower(label.Name)
		if first, ok := seen[key]; ok {
			return nil, fmt.Errorf("label %q stands twice, at places %d and %d", label.Name, first+1, i+1)
		}
		seen[key] = i
	}
	return labels, nil
}

// clip shortens a text for an error message.
func clip(text string) string {
	const length = 40
	runes := []rune(text)
	if len(runes) <= length {
		return text
	}
	return string(runes[:length]) + "…"
}
