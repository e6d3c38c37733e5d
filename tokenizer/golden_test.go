package tokenizer

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pacl/pacl/internal/testdata"
)

type goldenText struct {
	Group string   `json:"group"`
	Text  string   `json:"text"`
	IDs   []int32  `json:"ids"`
	Names []string `json:"names"`
}

func readGolden(t *testing.T, name string) []goldenText {
	t.Helper()
	file, err := os.Open(testdata.Golden(t, "tokenizer", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var cases []goldenText
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c goldenText
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s has no cases", name)
	}
	return cases
}

func TestCLIPGolden(t *testing.T) {
	cases := readGolden(t, "clip.jsonl")
	for _, model := range []string{"tiny-clip-hf", "tiny-clip-openclip"} {
		t.Run(model, func(t *testing.T) {
			clip, err := LoadCLIP(testdata.Golden(t, "models", model))
			if err != nil {
				t.Fatal(err)
			}
			guessed, differ := 0, 0
			for _, c := range cases {
				got := clip.Encode(c.Text)
				same := slices.Equal(got, c.IDs)
				if c.Group == "mojibake" {
					guessed++
					if !same {
						differ++
					}
					continue
				}
				if !same {
					t.Errorf("%s: %q:\n got %v\nwant %v", c.Group, c.Text, got, c.IDs)
				}
			}
			t.Logf("%d of %d texts whose encoding would have to be guessed differ", differ, guessed)
		})
	}
}

func TestBERTGolden(t *testing.T) {
	cases := readGolden(t, "bert.jsonl")
	bert, err := LoadWordPiece(testdata.Golden(t, "models", "tiny-bert"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if got := bert.Encode(c.Text); !slices.Equal(got, c.IDs) {
			t.Errorf("%s: %q:\n got %v\nwant %v", c.Group, c.Text, got, c.IDs)
		}
	}
}

func TestNamesGolden(t *testing.T) {
	var config struct {
		Names   []string          `json:"names"`
		Aliases map[string]string `json:"aliases"`
	}
	data, err := os.ReadFile(filepath.Join(testdata.Shared(t, "models", "clip-b32-names"), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	matcher, err := NewMatcher(config.Names, config.Aliases)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range readGolden(t, "names.jsonl") {
		got := []string{}
		for _, i := range matcher.Find(c.Text) {
			got = append(got, config.Names[i])
		}
		if !slices.Equal(got, c.Names) {
			t.Errorf("%q: found %q, want %q", c.Text, got, c.Names)
		}
	}
}
