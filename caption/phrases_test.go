package caption

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// labelled reads the captions of testdata/phrases.txt and the phrases that are bracketed in them.
func labelled(t *testing.T) (captions []string, phrases [][]string) {
	t.Helper()
	file, err := os.Open("testdata/phrases.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	bracketed := regexp.MustCompile(`\[([^]]*)\]`)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		var gold []string
		for _, match := range bracketed.FindAllStringSubmatch(line, -1) {
			gold = append(gold, strings.ToLower(match[1]))
		}
		captions = append(captions, strings.NewReplacer("[", "", "]", "").Replace(line))
		phrases = append(phrases, gold)
	}
	return captions, phrases
}

// TestPhraseQuality asserts the precision and recall that Phrases states.
func TestPhraseQuality(t *testing.T) {
	captions, gold := labelled(t)
	if len(captions) != 200 {
		t.Errorf("%d labelled captions, want 200", len(captions))
	}
	var exact, exactNouns score
	for i, caption := range captions {
		var found, foundNouns, wantNouns []string
		for _, phrase := range Phrases(caption) {
			found = append(found, phrase.Text)
			foundNouns = append(foundNouns, lastWord(phrase.Text))
		}
		for _, phrase := range gold[i] {
			wantNouns = append(wantNouns, lastWord(phrase))
		}
		if !exact.add(found, gold[i]) {
			t.Logf("%s\n found %q\n  want %q", caption, found, gold[i])
		}
		exactNouns.add(foundNouns, wantNouns)
	}
	t.Logf("phrases: precision %.3f, recall %.3f of %d", exact.precision(), exact.recall(), exact.wanted)
	t.Logf("their last nouns: precision %.3f, recall %.3f", exactNouns.precision(), exactNouns.recall())
	if exact.precision() < statedPrecision || exact.recall() < statedRecall {
		t.Errorf("precision %.3f, recall %.3f, stated are %.3f and %.3f", exact.precision(), exact.recall(), statedPrecision, statedRecall)
	}
}

// What the comment of Phrases states.
const statedPrecision, statedRecall = 0.958, 0.963

type score struct{ right, found, wanted int }

// add counts the phrases found that are wanted, each as often as it is there, and reports whether all agree.
func (s *score) add(found, wanted []string) bool {
	s.found += len(found)
	s.wanted += len(wanted)
	left := slices.Clone(wanted)
	missed := false
	for _, phrase := range found {
		if i := slices.Index(left, phrase); i >= 0 {
			left = slices.Delete(left, i, i+1)
			s.right++
		} else {
			missed = true
		}
	}
	return !missed && len(left) == 0
}

func (s *score) precision() float64 { return float64(s.right) / float64(s.found) }
func (s *score) recall() float64    { return float64(s.right) / float64(s.wanted) }

func lastWord(phrase string) string { return phrase[strings.LastIndexByte(phrase, ' ')+1:] }

func TestNounPhrases(t *testing.T) {
	for _, test := range []struct {
		caption string
		want    []string
	}{
		{"A small toy airplane and a toy airplane.", []string{"small toy airplane", "toy airplane"}},
		{"The girl's large, brown dog", []string{"girl", "large brown dog", "dog"}},
		{"“Two” people’s hats", []string{"people", "hats"}},
		{"He does it", nil},
		{"", nil},
	} {
		if got := NounPhrases(test.caption); !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, want %q", test.caption, got, test.want)
		}
	}
}

func TestVerbForms(t *testing.T) {
	for _, test := range []struct{ base, third, ing, ed string }{
		{"run", "runs", "running", "runned"}, {"carry", "carries", "carrying", "carried"}, {"play", "plays", "playing", "played"},
		{"lie", "lies", "lying", "lied"}, {"chase", "chases", "chasing", "chased"}, {"watch", "watches", "watching", "watched"},
		{"open", "opens", "opening", "opened"}, {"clap", "claps", "clapping", "clapped"}, {"chew", "chews", "chewing", "chewed"},
		{"see", "sees", "seeing", "seed"}, {"go", "goes", "going", "goed"},
	} {
		if third, ing, ed := thirdPerson(test.base), ingForm(test.base), edForm(test.base); third != test.third || ing != test.ing || ed != test.ed {
			t.Errorf("%s: %s, %s, %s, want %s, %s, %s", test.base, third, ing, ed, test.third, test.ing, test.ed)
		}
	}
}

func FuzzNounPhrases(f *testing.F) {
	f.Add("A black and white dog's ball, in front of 3 men.")
	f.Add("one 'a-b' \xff -- and")
	f.Fuzz(func(t *testing.T, text string) {
		for _, phrase := range NounPhrases(text) {
			if phrase == "" || strings.TrimSpace(phrase) != phrase {
				t.Errorf("%q gives the phrase %q", text, phrase)
			}
		}
	})
}
