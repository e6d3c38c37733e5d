package pacl

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadmesAreInStep compares README.ko.md with README.md: the same commands and code, comments aside, in the same order,
// and the same files named by links.
func TestReadmesAreInStep(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	english, korean := read("README.md"), read("README.ko.md")
	if diff := cmp.Diff(codeBlocks(english), codeBlocks(korean)); diff != "" {
		t.Errorf("the code of README.md (-) and README.ko.md (+) differs:\n%s", diff)
	}
	links := func(text string) map[string]bool {
		found := make(map[string]bool)
		for _, match := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
			// Each may point at the other.
			if target := match[1]; !strings.HasPrefix(target, "README") {
				found[target] = true
				if _, err := os.Stat(target); err != nil {
					t.Errorf("a link names %s: %v", target, err)
				}
			}
		}
		return found
	}
	want, got := links(english), links(korean)
	for target := range want {
		if !got[target] {
			t.Errorf("README.ko.md lacks a link to %s", target)
		}
	}
}

// codeBlocks are the lines of fenced code, without comments, which are translated.
func codeBlocks(text string) (lines []string) {
	inside := false
	comment := regexp.MustCompile(`(^|\s+)(#|//) .*$`)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "```") {
			inside = !inside
			lines = append(lines, line)
			continue
		}
		if line = comment.ReplaceAllString(line, ""); inside && line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
