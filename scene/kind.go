package scene

// Kind is what an object is: its words and its outline.
type Kind struct {
	// English holds the name and its synonyms, the name first; Korean likewise.
	English, Korean []string
	// Plural is the plural of each English word.
	Plural []string

	parts []part
	turn  float64 // largest rotation to either side, in degrees
}

// part is one layer of an outline: a path in hundredths of the object's radius, y pointing down, and what fills it.
// The commands are those of SVG (M L Q C Z, absolute) and two of our own: "O cx cy rx ry" adds an ellipse, "o" one that
// cuts a hole.
type part struct {
	fill fill
	path string
}

type fill uint8

const (
	whole fill = iota // the object's colour and pattern; the first part is always of this kind
	dark              // a darker shade of the colour
	light             // a lighter shade
	cream             // nearly white
	ink               // nearly black
	wood              // brown
)

// Kinds are all kinds of objects, in the order of their label indices.
var Kinds = []Kind{
	{English: []string{"circle", "disc"}, Plural: []string{"circles", "discs"}, Korean: []string{"동그라미", "원"}, turn: 180,
		parts: []part{{whole, "O 0 0 90 90"}}},
	{English: []string{"square", "box"}, Plural: []string{"squares", "boxes"}, Korean: []string{"네모", "정사각형"}, turn: 12,
		parts: []part{{whole, "M -78 -78 L 78 -78 L 78 78 L -78 78 Z"}}},
	{English: []string{"triangle"}, Plural: []string{"triangles"}, Korean: []string{"세모", "삼각형"}, turn: 14,
		parts: []part{{whole, "M 0 -96 L 92 68 L -92 68 Z"}}},
	{English: []string{"star"}, Plural: []string{"stars"}, Korean: []string{"별"}, turn: 18,
		parts: []part{{whole, "M 0 -100 L 25 -34 L 95 -31 L 40 13 L 59 81 L 0 42 L -59 81 L -40 13 L -95 -31 L -25 -34 Z"}}},
	{English: []string{"heart"}, Plural: []string{"hearts"}, Korean: []string{"하트", "심장"}, turn: 15,
		parts: []part{{whole, "M 0 88 C -120 -5 -100 -85 -48 -85 C -20 -85 -5 -65 0 -45 C 5 -65 20 -85 48 -85 C 100 -85 120 -5 0 88 Z"}}},
	{English: []string{"ring", "hoop"}, Plural: []string{"rings", "hoops"}, Korean: []string{"고리", "반지"}, turn: 180,
		parts: []part{{whole, "O 0 0 92 92 o 0 0 52 52"}}},
	{English: []string{"cross", "plus"}, Plural: []string{"crosses", "pluses"}, Korean: []string{"십자가", "십자"}, turn: 12,
		parts: []part{{whole, "M -30 -92 L 30 -92 L 30 -30 L 92 -30 L 92 30 L 30 30 L 30 92 L -30 92 L -30 30 L -92 30 L -92 -30 L -30 -30 Z"}}},
	{English: []string{"moon", "crescent"}, Plural: []string{"moons", "crescents"}, Korean: []string{"달", "초승달"}, turn: 20,
		parts: []part{{whole, "M 30 -95 C -50 -110 -105 -50 -95 10 C -85 80 -10 115 60 75 C 0 70 -35 30 -35 -15 C -35 -55 -5 -85 30 -95 Z"}}},
	{English: []string{"arrow"}, Plural: []string{"arrows"}, Korean: []string{"화살표"}, turn: 20,
		parts: []part{{whole, "M -95 -26 L 10 -26 L 10 -75 L 98 0 L 10 75 L 10 26 L -95 26 Z"}}},
	{English: []string{"house", "home"}, Plural: []string{"houses", "homes"}, Korean: []string{"집", "주택"}, turn: 8,
		parts: []part{{whole, "M -74 -12 L 74 -12 L 74 88 L -74 88 Z M -95 -8 L 0 -95 L 95 -8 Z"}, {dark, "M -98 -6 L 0 -95 L 98 -6 Z"},
			{wood, "M -18 88 L -18 35 L 18 35 L 18 88 Z"}, {cream, "M -58 10 L -32 10 L -32 38 L -58 38 Z M 32 10 L 58 10 L 58 38 L 32 38 Z"}}},
	{English: []string{"tree"}, Plural: []string{"trees"}, Korean: []string{"나무"}, turn: 8,
		parts: []part{{whole, "M -14 30 L 14 30 L 16 95 L -16 95 Z O 0 -52 44 44 O -42 -10 46 44 O 42 -10 46 44 O 0 -5 50 42"}, {wood, "M -14 25 L 14 25 L 17 95 L -17 95 Z"},
			{light, "O -22 -48 12 12 O 26 -16 11 11 O -44 0 10 10"}}},
	{English: []string{"fish"}, Plural: []string{"fish"}, Korean: []string{"물고기", "생선"}, turn: 15,
		parts: []part{{whole, "M -92 0 C -60 -62 15 -62 50 -8 L 95 -50 C 85 -15 85 15 95 50 L 50 8 C 15 62 -60 62 -92 0 Z"}, {dark, "M -10 -45 C 5 -20 5 20 -10 45 C -2 20 -2 -20 -10 -45 Z M 60 -4 L 92 -34 C 86 -12 86 12 92 34 L 60 4 Z"}, {cream, "O -58 -10 14 14"}, {ink, "O -60 -10 7 7"}}},
	{English: []string{"flower", "blossom"}, Plural: []string{"flowers", "blossoms"}, Korean: []string{"꽃"}, turn: 36,
		parts: []part{{whole, "O 0 -58 36 36 O 55 -18 36 36 O 34 47 36 36 O -34 47 36 36 O -55 -18 36 36 O 0 0 40 40"}, {cream, "O 0 0 28 28"}, {wood, "O 0 0 17 17"}}},
	{English: []string{"car", "automobile"}, Plural: []string{"cars", "automobiles"}, Korean: []string{"자동차", "승용차"}, turn: 10,
		parts: []part{{whole, "M -96 45 L -96 2 C -92 -12 -70 -12 -58 -14 L -34 -56 L 34 -56 L 58 -14 C 80 -12 96 -6 96 10 L 96 45 Z O -50 45 24 24 O 50 45 24 24"}, {ink, "O -50 45 24 24 O 50 45 24 24"}, {cream, "O -50 45 10 10 O 50 45 10 10 M -42 -14 L -26 -44 L -4 -44 L -4 -14 Z M 4 -14 L 4 -44 L 26 -44 L 42 -14 Z"}}},
	{English: []string{"boat", "ship"}, Plural: []string{"boats", "ships"}, Korean: []string{"배", "돛단배"}, turn: 10,
		parts: []part{{whole, "M -92 40 L 92 40 L 58 88 L -58 88 Z M -5 -95 L 5 -95 L 5 42 L -5 42 Z M 10 -88 L 78 24 L 10 24 Z M -10 -60 L -10 24 L -62 24 Z"}, {wood, "M -92 40 L 92 40 L 58 88 L -58 88 Z M -5 -95 L 5 -95 L 5 40 L -5 40 Z"}}},
	{English: []string{"cloud"}, Plural: []string{"clouds"}, Korean: []string{"구름"}, turn: 8,
		parts: []part{{whole, "O -52 18 42 38 O 0 -18 48 46 O 50 14 44 40 M -56 10 L 56 10 L 56 55 L -56 55 Z"}, {light, "O -10 -26 22 16"}}},
	{English: []string{"mushroom", "toadstool"}, Plural: []string{"mushrooms", "toadstools"}, Korean: []string{"버섯", "독버섯"}, turn: 10,
		parts: []part{{whole, "M -95 8 C -95 -110 95 -110 95 8 Z M -28 5 L 28 5 C 24 40 30 70 38 92 L -38 92 C -30 70 -24 40 -28 5 Z"}, {cream, "M -28 8 L 28 8 C 24 40 30 70 38 92 L -38 92 C -30 70 -24 40 -28 8 Z O -45 -25 14 13 O 8 -48 16 15 O 52 -18 13 12"}}},
	{English: []string{"umbrella", "parasol"}, Plural: []string{"umbrellas", "parasols"}, Korean: []string{"우산", "양산"}, turn: 12,
		parts: []part{{whole, "M -95 5 C -90 -115 90 -115 95 5 Q 63 -22 32 5 Q 0 -22 -32 5 Q -63 -22 -95 5 Z M -6 -5 L 6 -5 L 6 70 C 6 100 -40 100 -42 66 L -30 66 C -28 84 -6 84 -6 70 Z"}, {ink, "M -6 -8 L 6 -8 L 6 70 C 6 100 -40 100 -42 66 L -30 66 C -28 84 -6 84 -6 70 Z"}, {dark, "M -32 5 Q 0 -22 32 5 Q 22 -60 0 -84 Q -22 -60 -32 5 Z"}}},
	{English: []string{"cup", "mug"}, Plural: []string{"cups", "mugs"}, Korean: []string{"컵", "머그잔"}, turn: 10,
		parts: []part{{whole, "M -70 -70 L 45 -70 L 38 80 L -63 80 Z O 48 0 44 42 o 48 0 24 24"}, {dark, "O -12 -70 58 14"}, {wood, "O -12 -68 46 9"}}},
	{English: []string{"butterfly", "moth"}, Plural: []string{"butterflies", "moths"}, Korean: []string{"나비", "나방"}, turn: 20,
		parts: []part{{whole, "M 0 -10 C 20 -100 105 -95 92 -25 C 86 8 40 15 0 5 Z M 0 -10 C -20 -100 -105 -95 -92 -25 C -86 8 -40 15 0 5 Z M 0 0 C 60 0 90 40 60 75 C 35 98 5 55 0 25 Z M 0 0 C -60 0 -90 40 -60 75 C -35 98 -5 55 0 25 Z"}, {light, "O 58 -42 16 16 O -58 -42 16 16 O 42 48 12 12 O -42 48 12 12"}, {ink, "O 0 5 8 58"}}},
	{English: []string{"cat", "kitten"}, Plural: []string{"cats", "kittens"}, Korean: []string{"고양이", "야옹이"}, turn: 12,
		parts: []part{{whole, "M -82 -92 L -28 -62 L 28 -62 L 82 -92 L 84 5 C 88 95 -88 95 -84 5 Z"}, {cream, "O -34 -5 18 20 O 34 -5 18 20 O 0 48 34 24"}, {ink, "O -32 -3 8 15 O 32 -3 8 15 M -12 30 L 12 30 L 0 44 Z"}}},
	{English: []string{"key"}, Plural: []string{"keys"}, Korean: []string{"열쇠", "키"}, turn: 20,
		parts: []part{{whole, "O -52 0 44 44 o -52 0 19 19 M -14 -14 L 95 -14 L 95 46 L 70 46 L 70 14 L 54 14 L 54 38 L 32 38 L 32 14 L -14 14 Z"}}},
	{English: []string{"bolt", "lightning"}, Plural: []string{"bolts", "lightnings"}, Korean: []string{"번개", "벼락"}, turn: 12,
		parts: []part{{whole, "M 22 -98 L -62 14 L -8 14 L -30 98 L 64 -24 L 8 -24 L 50 -98 Z"}}},
	{English: []string{"rocket", "spaceship"}, Plural: []string{"rockets", "spaceships"}, Korean: []string{"로켓", "우주선"}, turn: 20,
		parts: []part{{whole, "M 0 -98 C 45 -60 42 0 32 55 L -32 55 C -42 0 -45 -60 0 -98 Z M 34 5 L 78 72 L 30 58 Z M -34 5 L -78 72 L -30 58 Z M -20 55 L 0 98 L 20 55 Z"}, {dark, "M 34 5 L 78 72 L 30 58 Z M -34 5 L -78 72 L -30 58 Z"}, {wood, "M -20 56 L 0 98 L 20 56 Z"}, {cream, "O 0 -22 20 20"}, {ink, "O 0 -22 11 11"}}},
	{English: []string{"apple"}, Plural: []string{"apples"}, Korean: []string{"사과"}, turn: 15,
		parts: []part{{whole, "M 0 -45 C -60 -85 -100 -20 -78 38 C -60 95 -25 95 0 80 C 25 95 60 95 78 38 C 100 -20 60 -85 0 -45 Z M -5 -40 L 5 -40 L 14 -88 L 2 -92 Z"}, {wood, "M -5 -38 L 5 -38 L 14 -88 L 2 -92 Z"}, {cream, "M 10 -66 C 30 -100 62 -92 70 -82 C 52 -58 28 -52 10 -66 Z"}, {light, "O -42 -8 12 20"}}},
}

// Name is the kind's first English word, its label.
func (k Kind) Name() string { return k.English[0] }

// Words are all words for the kind in both languages, the label first.
func (k Kind) Words() []string {
	return append(append([]string(nil), k.English...), k.Korean...)
}

// Colour is a colour that captions can name.
type Colour struct {
	English, Korean []string // the first is the usual word; the Korean ones are in the form that precedes a noun
	rgb             [3]float64
}

// colourName is the first English word of a colour by its index, empty for one without a name.
func colourName(index int) string {
	if index == Unnamed {
		return ""
	}
	return Colours[index].Name()
}

// Name is the colour's first English word.
func (c Colour) Name() string { return c.English[0] }

// Unnamed is the index of colours that have no name.
const Unnamed = -1

// Colours are all colours of objects that have a name.
var Colours = []Colour{
	{English: []string{"red", "scarlet"}, Korean: []string{"빨간", "붉은"}, rgb: [3]float64{0.86, 0.12, 0.13}},
	{English: []string{"orange"}, Korean: []string{"주황색"}, rgb: [3]float64{0.96, 0.52, 0.07}},
	{English: []string{"yellow"}, Korean: []string{"노란"}, rgb: [3]float64{0.97, 0.86, 0.16}},
	{English: []string{"green"}, Korean: []string{"초록색", "녹색"}, rgb: [3]float64{0.14, 0.62, 0.22}},
	{English: []string{"turquoise", "teal"}, Korean: []string{"청록색"}, rgb: [3]float64{0.13, 0.74, 0.72}},
	{English: []string{"blue"}, Korean: []string{"파란", "푸른"}, rgb: [3]float64{0.13, 0.30, 0.85}},
	{English: []string{"purple", "violet"}, Korean: []string{"보라색"}, rgb: [3]float64{0.50, 0.17, 0.68}},
	{English: []string{"pink"}, Korean: []string{"분홍색"}, rgb: [3]float64{0.96, 0.52, 0.72}},
	{English: []string{"white"}, Korean: []string{"하얀", "흰"}, rgb: [3]float64{0.96, 0.96, 0.94}},
	{English: []string{"black"}, Korean: []string{"검은"}, rgb: [3]float64{0.10, 0.10, 0.12}},
}

// Pattern is how an object is painted.
type Pattern uint8

const (
	Plain Pattern = iota
	Striped
	Dotted
	Checked
	patterns
)

var patternWords = [patterns]struct{ english, korean []string }{
	Striped: {[]string{"striped", "stripy"}, []string{"줄무늬"}},
	Dotted:  {[]string{"dotted", "spotted"}, []string{"점무늬", "물방울무늬"}},
	Checked: {[]string{"checked", "chequered"}, []string{"체크무늬", "바둑판무늬"}},
}

// HeldOut says whether objects of this kind never have this colour in scenes for training.
func HeldOut(kind, colour int) bool { return (3*kind+7*colour)%10 == 4 }
