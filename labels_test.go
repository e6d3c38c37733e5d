package pacl

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLabels(t *testing.T) {
	tests := []struct {
		list string
		want []Label
		err  string
	}{
		{list: "cat", want: []Label{{"cat", []string{"cat"}}}},
		{list: " cat ,dog|puppy | Dog,", want: []Label{{"cat", []string{"cat"}}, {"dog", []string{"dog", "puppy"}}}},
		{list: "traffic  light", want: []Label{{"traffic light", []string{"traffic light"}}}},
		{list: "고양이, 개|강아지", want: []Label{{"고양이", []string{"고양이"}}, {"개", []string{"개", "강아지"}}}},
		{list: "", err: "label list is empty"},
		{list: " , ", err: "label list is empty"},
		{list: "|", err: "a label without a word"},
		{list: "cat, dog, Cat", err: `label "Cat" stands twice, at places 1 and 3`},
		{list: strings.Repeat("a", 10000), err: "has 10000 characters, at most 300"},
		{list: "a\x00b", err: "control character"},
		{list: "a\xffb", err: "not UTF-8"},
	}
	for _, test := range tests {
		got, err := ParseLabels(test.list)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("ParseLabels(%.40q): error %v, want %q", test.list, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("ParseLabels(%q): %v", test.list, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("ParseLabels(%q) (-want +got):\n%s", test.list, diff)
		}
	}
}

func TestReadLabels(t *testing.T) {
	got, err := ReadLabels(strings.NewReader("\ufeffperson, person in shirt\r\n\ntelevision monitor, tv monitor\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Label{
		{"person", []string{"person", "person in shirt"}},
		{"television monitor", []string{"television monitor", "tv monitor"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := ReadLabels(strings.NewReader("cat\n\ncat\n")); err == nil {
		t.Error("a label that stands twice was accepted")
	}
}

func FuzzParseLabels(f *testing.F) {
	f.Add("cat, dog|puppy")
	f.Add("||,,\xff")
	f.Fuzz(func(t *testing.T, list string) {
		labels, err := ParseLabels(list)
		if err != nil {
			return
		}
		for _, label := range labels {
			if label.Name == "" || len(label.Words) == 0 || label.Words[0] != label.Name {
				t.Fatalf("ParseLabels(%q) gave %+v", list, label)
			}
		}
	})
}
