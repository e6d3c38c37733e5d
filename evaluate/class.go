package evaluate

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// Class is one class of a data set.
type Class struct {
	Name string `json:"name"`
	// Words are the texts that stand for the class, the first one its published name.
	Words []string `json:"words"`
}

// parseClasses reads one class a line, its words separated by ", ".
func parseClasses(lines string) []Class {
	var classes []Class
	for _, line := range strings.Split(lines, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		words := strings.Split(line, ", ")
		classes = append(classes, Class{Name: words[0], Words: words})
	}
	return classes
}

// background is the background as a class that competes with the others by the best of its words.
func background(words string) Class {
	return Class{Name: "background", Words: strings.Split(words, ", ")}
}

// WithoutSynonyms leaves each class its first word only. A background of many words keeps them: it has no name of its
// own.
func WithoutSynonyms(classes []Class) []Class {
	result := make([]Class, len(classes))
	for i, c := range classes {
		result[i] = c
		if c.Name == c.Words[0] {
			result[i].Words = c.Words[:1]
		}
	}
	return result
}

// ReadClasses reads the classes.txt of a folder data set.
func ReadClasses(path string) ([]Class, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("class names: %w", err)
	}
	defer file.Close()
	var text strings.Builder
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" {
			return nil, fmt.Errorf("%s: line %d is empty, expected the name of class %d", path, number, number-1)
		}
		text.WriteString(line + "\n")
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	classes := parseClasses(text.String())
	if len(classes) == 0 || len(classes) > maxClasses {
		return nil, fmt.Errorf("%s: %d class names, expected 1 to %d, one a line", path, len(classes), maxClasses)
	}
	return classes, nil
}
