package scene

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// Language is the language of a caption.
type Language uint8

const (
	English Language = iota
	Korean
)

// Caption writes a caption of the scene; number chooses one of its endless captions. Seven of ten name everything, the
// others a part; half of them, and all of monochrome scenes, say nothing but kinds, the others mostly colours and patterns
// too; words are now and then replaced by a synonym.
func (s *Scene) Caption(language Language, number uint64) string {
	w := s.writer(language, number)
	w.bare = w.chance(0.5) || s.monochrome
	return w.caption(s)
}

func (s *Scene) writer(language Language, number uint64) *writer {
	return &writer{random: rand.New(rand.NewPCG(s.seed, saltCaption+2*number+uint64(language))), language: language}
}

func (w *writer) caption(s *Scene) string {
	groups := s.groups()
	w.random.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	if len(groups) > 1 && w.chance(0.3) {
		groups = groups[:1+w.random.IntN(len(groups)-1)]
	}
	if a, b, where := relation(groups); where != nil && w.chance(0.3) {
		return w.relation(a, b, where, groups[2:])
	}
	phrases := make([]string, len(groups))
	for i, g := range groups {
		phrases[i] = w.phrase(g)
	}
	return w.sentence(phrases, len(groups) == 1 && len(groups[0]) == 1, s.ground.style)
}

// groups are the objects that one phrase names: those of the same kind and colour.
func (s *Scene) groups() [][]Object {
	var groups [][]Object
next:
	for _, o := range s.Objects {
		for i, g := range groups {
			if g[0].Kind == o.Kind && g[0].Colour == o.Colour {
				groups[i] = append(g, o)
				continue next
			}
		}
		groups = append(groups, []Object{o})
	}
	return groups
}

// place is how one object lies to another.
type place struct{ english, korean string }

// relation says how the first of two single objects lies to the second.
func relation(groups [][]Object) (a, b []Object, where *place) {
	if len(groups) < 2 || len(groups[0]) > 1 || len(groups[1]) > 1 {
		return nil, nil, nil
	}
	a, b = groups[0], groups[1]
	dx, dy := a[0].X-b[0].X, a[0].Y-b[0].Y
	switch {
	case math.Abs(dx) > 1.5*math.Abs(dy) && dx < 0:
		return a, b, &place{"to the left of", "왼쪽에"}
	case math.Abs(dx) > 1.5*math.Abs(dy):
		return a, b, &place{"to the right of", "오른쪽에"}
	case math.Abs(dy) > 1.5*math.Abs(dx) && dy < 0:
		return a, b, &place{"above", "위에"}
	case math.Abs(dy) > 1.5*math.Abs(dx):
		return a, b, &place{"below", "아래에"}
	}
	return a, b, &place{"next to", "옆에"}
}

type writer struct {
	random   *rand.Rand
	language Language
	bare     bool // neither colours nor patterns
}

func (w *writer) chance(p float64) bool { return w.random.Float64() < p }

// word chooses the usual word four times of five, else one of its synonyms; it returns its index.
func (w *writer) word(words []string) int {
	if len(words) > 1 && w.chance(0.2) {
		return 1 + w.random.IntN(len(words)-1)
	}
	return 0
}

// phrase names a group: "two red striped stars".
func (w *writer) phrase(group []Object) string {
	kind, pattern := Kinds[group[0].Kind], group[0].Pattern
	for _, o := range group {
		if o.Pattern != pattern {
			pattern = Plain
		}
	}
	var words []string
	if c := group[0].Colour; !w.bare && c != Unnamed && w.chance(0.85) {
		colour := Colours[c]
		words = append(words, pick(w, colour.English, colour.Korean))
	}
	if pattern != Plain && !w.bare && w.chance(0.5) {
		words = append(words, pick(w, patternWords[pattern].english, patternWords[pattern].korean))
	}
	if w.language == Korean {
		words = append(words, kind.Korean[w.word(kind.Korean)])
		if n := len(group); n > 1 {
			words = append(words, koreanCounts[min(n, len(koreanCounts)-1)], "개")
		}
		return strings.Join(words, " ")
	}
	i := w.word(kind.English)
	if n := len(group); n > 1 {
		words = append([]string{englishCounts[min(n, len(englishCounts)-1)]}, append(words, kind.Plural[i])...)
		return strings.Join(words, " ")
	}
	words = append(words, kind.English[i])
	return article(words[0]) + " " + strings.Join(words, " ")
}

func pick(w *writer, english, korean []string) string {
	if w.language == Korean {
		return korean[w.word(korean)]
	}
	return english[w.word(english)]
}

var (
	englishCounts = []string{"", "a", "two", "three", "four", "many"}
	koreanCounts  = []string{"", "한", "두", "세", "네", "여러"}
	groundWords   = [groundStyles]place{
		{"plain", "무늬 없는"}, {"striped", "줄무늬"}, {"checked", "체크무늬"}, {"dotted", "점무늬"}, {"wavy", "물결무늬"}, {"cloudy", "얼룩무늬"}}
)

func article(next string) string {
	if strings.ContainsRune("aeiou", rune(next[0])) {
		return "an"
	}
	return "a"
}

func (w *writer) sentence(phrases []string, single bool, ground groundStyle) string {
	if w.language == Korean {
		list := joinKorean(phrases)
		backdrop := ""
		if w.chance(0.1) {
			backdrop = groundWords[ground].korean + " 바탕에 "
		}
		switch w.random.IntN(4) {
		case 0:
			return backdrop + list
		case 1:
			return backdrop + withParticle(list, "이", "가") + " 있다"
		case 2:
			return list + " 그림"
		}
		return "그림 속에 " + withParticle(list, "이", "가") + " 있다"
	}
	list := joinEnglish(phrases)
	if w.chance(0.1) {
		list += " on a " + groundWords[ground].english + " ground"
	}
	switch w.random.IntN(5) {
	case 0:
		return "a picture of " + list
	case 1:
		verb := "there are "
		if single || !startsPlural(phrases[0]) {
			verb = "there is "
		}
		return verb + list
	case 2:
		return "a scene with " + list
	}
	return list
}

func startsPlural(phrase string) bool {
	return !strings.HasPrefix(phrase, "a ") && !strings.HasPrefix(phrase, "an ")
}

func (w *writer) relation(a, b []Object, where *place, others [][]Object) string {
	first, second := w.phrase(a), w.phrase(b)
	var rest []string
	for _, g := range others {
		rest = append(rest, w.phrase(g))
	}
	if w.language == Korean {
		text := withParticle(first, "이", "가") + " " + second + " " + where.korean + " 있다"
		if len(rest) > 0 {
			text += ", " + withParticle(joinKorean(rest), "도", "도") + " 있다"
		}
		return text
	}
	text := fmt.Sprintf("%s %s %s", first, where.english, second)
	if len(rest) > 0 {
		text += ", with " + joinEnglish(rest)
	}
	return text
}

func joinEnglish(phrases []string) string {
	last := len(phrases) - 1
	if last == 0 {
		return phrases[0]
	}
	return strings.Join(phrases[:last], ", ") + " and " + phrases[last]
}

// joinKorean joins with commas and, before the last phrase, the particle that its neighbour's final sound asks for.
func joinKorean(phrases []string) string {
	last := len(phrases) - 1
	if last == 0 {
		return phrases[0]
	}
	return withParticle(strings.Join(phrases[:last], ", "), "과", "와") + " " + phrases[last]
}

// withParticle appends the first particle after a final consonant, the second after a vowel.
func withParticle(text, afterConsonant, afterVowel string) string {
	letters := []rune(text)
	if last := letters[len(letters)-1]; last >= 0xac00 && last <= 0xd7a3 && (last-0xac00)%28 != 0 {
		return text + afterConsonant
	}
	return text + afterVowel
}
