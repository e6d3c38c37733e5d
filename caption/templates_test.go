package caption

import (
	"slices"
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	eighty, err := Templates("clip80")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		count int
	}{{"none", 1}, {"", 1}, {"pacl7", 7}, {"clip80", 80}, {"a satellite photo of {}", 1}} {
		templates, err := Templates(test.name)
		if err != nil {
			t.Fatal(err)
		}
		distinct := slices.Compact(slices.Sorted(slices.Values(templates)))
		if len(distinct) != test.count {
			t.Errorf("%q has %d different templates, want %d", test.name, len(distinct), test.count)
		}
		for _, template := range templates {
			if strings.Count(template, "{}") != 1 || strings.Contains(Fill(template, "cat"), "{") {
				t.Errorf("%q of %q has not one place for the name", template, test.name)
			}
			if test.count == 7 && !slices.Contains(eighty, template) {
				t.Errorf("%q is not among CLIP's", template)
			}
		}
	}
	if _, err := Templates("pacl8"); err == nil {
		t.Error("unknown templates were taken")
	}
}
