package tokenizer

import (
	"html"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"

	"github.com/pacl/pacl/internal/lazyregexp"
)

// cleanCLIP does to a text what CLIP's authors do before they split it: ftfy's mending (without its guessing of wrong
// encodings), HTML entities unescaped twice, white space collapsed, lower case.
func cleanCLIP(text string) string {
	if plainASCII(text) {
		return strings.ToLower(collapseSpace(text))
	}
	text = mend(strings.ToValidUTF8(text, "\uFFFD"))
	text = unescapeHTML(unescapeHTML(text))
	return lower(collapseSpace(text))
}

// plainASCII reports that neither mending nor unescaping can change the text.
func plainASCII(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c >= 0x7f || c == '&' || (c < 0x20 && c != '\t' && c != '\n' && c != '\r') {
			return false
		}
	}
	return true
}

func collapseSpace(text string) string { return strings.Join(strings.Fields(text), " ") }

// lower is Python's str.lower: İ becomes two characters and a final capital sigma the final small one.
func lower(text string) string {
	for i := 0; i < len(text); i++ {
		if text[i] >= 0x80 {
			return cases.Lower(language.Und, cases.HandleFinalSigma(true)).String(text)
		}
	}
	return strings.ToLower(text)
}

// mend does what ftfy.fix_text does by default, line by line until nothing changes, but for the guessing of encodings.
func mend(text string) string {
	var out strings.Builder
	// A line with a "<" is taken for HTML; from there on ftfy leaves entities alone.
	entities := true
	for line := range strings.SplitAfterSeq(text, "\n") {
		if strings.Contains(line, "<") {
			entities = false
		}
		out.WriteString(mendLine(line, entities))
	}
	return out.String()
}

func mendLine(line string, entities bool) string {
	// Each round only removes entities or maps characters to ones that are not mapped again, so few rounds suffice; the
	// bound keeps a text of nested entities from costing its length squared.
	for range 16 {
		before := line
		if entities {
			line = entityWithSemicolon().ReplaceAllStringFunc(line, mendEntity)
		}
		line = mendCharacters(line)
		line = terminalEscape().ReplaceAllLiteralString(line, "")
		line = strings.Map(dropControl, line)
		line = norm.NFC.String(line)
		if line == before {
			break
		}
	}
	return line
}

var (
	entityWithSemicolon = lazyregexp.New(`&#?[0-9A-Za-z]{1,24};`)
	terminalEscape      = lazyregexp.New("\x1b\\[[0-9;]*[a-zA-Z]")
	anyEntity           = lazyregexp.New(`&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)`)
)

// mendEntity unescapes one entity if all of it, semicolon included, is one. Names that somebody turned into capitals
// (&EACUTE;) are taken for the capital of what they name.
func mendEntity(entity string) string {
	if unescaped := unescapeEntity(entity); !strings.HasSuffix(unescaped, ";") || entity == "&semi;" {
		return unescaped
	}
	if name := strings.ToLower(entity); strings.ToUpper(name) == entity && entity[1] != '#' {
		if unescaped := unescapeEntity(name); !strings.HasSuffix(unescaped, ";") {
			return strings.ToUpper(unescaped)
		}
	}
	return entity
}

// unescapeHTML is Python's html.unescape.
func unescapeHTML(text string) string {
	if !strings.Contains(text, "&") {
		return text
	}
	return anyEntity().ReplaceAllStringFunc(text, unescapeEntity)
}

// unescapeEntity differs from package html in numbers: HTML's forbidden code points vanish, too large ones are replaced.
func unescapeEntity(entity string) string {
	if len(entity) < 2 || entity[1] != '#' {
		return html.UnescapeString(entity)
	}
	digits, base := strings.TrimSuffix(entity[2:], ";"), 10
	if digits[0] == 'x' || digits[0] == 'X' {
		digits, base = digits[1:], 16
	}
	number, err := strconv.ParseUint(digits, base, 32)
	if err != nil && !isRangeError(err) {
		return entity // what ftfy's wider pattern lets through, as "&#abc;"
	}
	switch code := rune(min(number, unicode.MaxRune+1)); {
	case code == 0, code > unicode.MaxRune, code >= 0xd800 && code <= 0xdfff:
		return "\uFFFD"
	case code >= 0x80 && code <= 0x9f:
		return string(windows1252(code))
	case code == '\t', code == '\n', code == '\r', code == '\f':
		return string(code)
	case code < 0x20, code == 0x7f, code >= 0xfdd0 && code <= 0xfdef, code&0xfffe == 0xfffe:
		return ""
	default:
		return string(code)
	}
}

func isRangeError(err error) bool {
	number, ok := err.(*strconv.NumError)
	return ok && number.Err == strconv.ErrRange
}

// windows1252High are the characters of the bytes 0x80 to 0x9f in Windows-1252; the five undefined bytes stay.
const windows1252High = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ"

var windows1252Table = []rune(windows1252High)

func windows1252(c rune) rune { return windows1252Table[c-0x80] }

var ligatures = map[rune]string{
	'Ĳ': "IJ", 'ĳ': "ij", 'ŉ': "ʼn", 'Ǳ': "DZ", 'ǲ': "Dz", 'ǳ': "dz", 'Ǆ': "DŽ", 'ǅ': "Dž", 'ǆ': "dž",
	'Ǉ': "LJ", 'ǈ': "Lj", 'ǉ': "lj", 'Ǌ': "NJ", 'ǋ': "Nj", 'ǌ': "nj",
	'ﬀ': "ff", 'ﬁ': "fi", 'ﬂ': "fl", 'ﬃ': "ffi", 'ﬄ': "ffl", 'ﬅ': "ſt", 'ﬆ': "st",
}

// mendCharacters straightens C1 controls, ligatures, full and half widths, quotes and line ends, in ftfy's order.
func mendCharacters(text string) string {
	var out strings.Builder
	out.Grow(len(text))
	afterReturn := false
	for _, c := range text {
		if c >= 0x80 && c <= 0x9f {
			c = windows1252(c)
		}
		switch {
		case ligatures[c] != "":
			for _, part := range ligatures[c] {
				out.WriteRune(straightQuote(part))
			}
		case c == 0x3000:
			out.WriteByte(' ')
		case c >= 0xff01 && c <= 0xffef:
			out.WriteString(norm.NFKC.String(string(c)))
		case c == '\n' && afterReturn:
			// the return before has become this line end
		case c == '\r', c == '\u2028', c == '\u2029', c == '\u0085':
			out.WriteByte('\n')
		default:
			out.WriteRune(straightQuote(c))
		}
		afterReturn = c == '\r'
	}
	return out.String()
}

func straightQuote(c rune) rune {
	switch {
	case c == '\u02bc', c >= '\u2018' && c <= '\u201b':
		return '\''
	case c >= '\u201c' && c <= '\u201f':
		return '"'
	}
	return c
}

// dropControl takes out the characters that ftfy holds to have no place in a text.
func dropControl(c rune) rune {
	switch {
	case c < 0x09, c == 0x0b, c >= 0x0e && c <= 0x1f, c == 0x7f,
		c >= 0x206a && c <= 0x206f, c == 0xfeff, c >= 0xfff9 && c <= 0xfffc:
		return -1
	}
	return c
}
