package evaluate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pacl/pacl/readout"
)

// Protocol says how a number was made. Its text, as in
//
//	VOC20 n=100 size=448 short stride=16 window=whole templates=7 synonyms=off background=ignored
//
// is enough to repeat the run with the same model and data: ParseProtocol reads it back. Two numbers with different
// protocols are not to be compared.
type Protocol struct {
	Dataset string            // the title of the data set: "VOC20"
	N       int               // photos; the first ones of the list where it is longer
	Size    readout.InputSize // of the encoder's input
	Stride  int               // of the patch embedding, pixels
	// Window and WindowStride are the size and distance of sliding windows in pixels of the input; 0 is the whole
	// photo at once.
	Window, WindowStride int
	Templates            string // "none", "7", "80" or, for a names table, "table"
	Synonyms             bool   // all words of a class, or its first
	Background           string // "ignored" or "class"
	// Threshold is the share below which a pixel belongs to the background; 0 is none.
	Threshold float64
	// Known of Names classes have a text vector; both are 0 where all have.
	Known, Names int
	// Refine names the refinement by the photo's pixels, as "pamr(8,16)x10"; empty is none.
	Refine string
	// More holds what only some experiments have: split, seed, tiles.
	More map[string]string
}

// String prints the protocol on one line.
func (p Protocol) String() string {
	var b strings.Builder
	b.WriteString(p.Dataset)
	if p.N > 0 {
		fmt.Fprintf(&b, " n=%d", p.N)
	}
	if p.Size != (readout.InputSize{}) {
		fmt.Fprintf(&b, " size=%v", p.Size)
	}
	if p.Stride > 0 {
		fmt.Fprintf(&b, " stride=%d", p.Stride)
	}
	switch {
	case p.Window > 0 && p.WindowStride > 0:
		fmt.Fprintf(&b, " window=%d/%d", p.Window, p.WindowStride)
	case p.Window > 0:
		fmt.Fprintf(&b, " window=%d", p.Window)
	default:
		b.WriteString(" window=whole")
	}
	if p.Templates != "" {
		fmt.Fprintf(&b, " templates=%s", quoted(p.Templates))
	}
	if p.Synonyms {
		b.WriteString(" synonyms=on")
	} else {
		b.WriteString(" synonyms=off")
	}
	if p.Background != "" {
		fmt.Fprintf(&b, " background=%s", quoted(p.Background))
	}
	if p.Threshold > 0 {
		fmt.Fprintf(&b, " threshold=%s", strconv.FormatFloat(p.Threshold, 'g', -1, 64))
	}
	if p.Names > 0 {
		fmt.Fprintf(&b, " names=%d/%d", p.Known, p.Names)
	}
	if p.Refine != "" {
		fmt.Fprintf(&b, " refine=%s", quoted(p.Refine))
	}
	for _, key := range slices.Sorted(maps.Keys(p.More)) {
		fmt.Fprintf(&b, " %s=%s", key, quoted(p.More[key]))
	}
	return b.String()
}

// quoted puts quotes around a value that would not be one word without them.
func quoted(value string) string {
	odd := func(r rune) bool { return r == '"' || r == '\\' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if value == "" || strings.ContainsFunc(value, odd) || !utf8.ValidString(value) {
		return strconv.Quote(value)
	}
	return value
}

// splitProtocol cuts a line at spaces outside of quotes and takes the quotes of values off.
func splitProtocol(line string) ([]string, error) {
	var fields []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		end := strings.IndexFunc(line, unicode.IsSpace)
		if end < 0 {
			end = len(line)
		}
		key, value, _ := strings.Cut(line[:end], "=")
		if strings.HasPrefix(value, `"`) {
			whole, err := strconv.QuotedPrefix(line[len(key)+1:])
			if err != nil {
				return nil, fmt.Errorf("%s has no closing quote", key)
			}
			text, err := strconv.Unquote(whole)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			fields = append(fields, key+"="+text)
			line = line[len(key)+1+len(whole):]
			if line != "" && !unicode.IsSpace(rune(line[0])) {
				return nil, fmt.Errorf("%s: found %q behind the closing quote", key, line)
			}
			continue
		}
		fields = append(fields, line[:end])
		line = line[end:]
	}
	return fields, nil
}

// validKey tells what may stand before "=".
func validKey(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r != '-' && r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}

// ParseProtocol reads the line that String printed.
func ParseProtocol(line string) (Protocol, error) {
	fields, err := splitProtocol(line)
	if err != nil {
		return Protocol{}, fmt.Errorf("protocol %q: %w", line, err)
	}
	if len(fields) == 0 || !validKey(fields[0]) {
		return Protocol{}, fmt.Errorf("protocol %q: expected it to begin with the name of a data set", line)
	}
	p := Protocol{Dataset: fields[0]}
	seen := map[string]bool{}
	for i := 1; i < len(fields); i++ {
		key, value, ok := strings.Cut(fields[i], "=")
		if !ok || !validKey(key) {
			return Protocol{}, fmt.Errorf("protocol %q: found %q, expected key=value", line, fields[i])
		}
		if seen[key] {
			return Protocol{}, fmt.Errorf("protocol %q: %s stands twice", line, key)
		}
		seen[key] = true
		if key == "size" && i+1 < len(fields) && fields[i+1] == "short" {
			value += " short"
			i++
		}
		if err := p.set(key, value); err != nil {
			return Protocol{}, fmt.Errorf("protocol %q: %s=%s: %w", line, key, value, err)
		}
	}
	return p, nil
}

// set takes one key and its value.
func (p *Protocol) set(key, value string) (err error) {
	switch key {
	case "n":
		p.N, err = natural(value)
	case "size":
		p.Size, err = ParseInputSize(value)
	case "stride":
		p.Stride, err = natural(value)
	case "window":
		if value == "whole" {
			return nil
		}
		size, step, ok := strings.Cut(value, "/")
		if p.Window, err = natural(size); err == nil && ok {
			p.WindowStride, err = natural(step)
		}
	case "templates":
		p.Templates = value
	case "synonyms":
		if value != "on" && value != "off" {
			return fmt.Errorf("expected on or off")
		}
		p.Synonyms = value == "on"
	case "background":
		p.Background = value
	case "threshold":
		p.Threshold, err = strconv.ParseFloat(value, 64)
		if err == nil && !(p.Threshold > 0 && p.Threshold <= 1) {
			return fmt.Errorf("expected a share above 0 and up to 1")
		}
	case "names":
		known, names, ok := strings.Cut(value, "/")
		if !ok {
			return fmt.Errorf("expected known/all")
		}
		if p.Known, err = strconv.Atoi(known); err == nil {
			p.Names, err = natural(names)
		}
		if err == nil && (p.Known < 0 || p.Known > p.Names) {
			return fmt.Errorf("expected known/all")
		}
	case "refine":
		p.Refine = value
	default:
		if p.More == nil {
			p.More = map[string]string{}
		}
		p.More[key] = value
	}
	return err
}

// ParseInputSize reads "448 short", "448" (the same) or "640x480".
func ParseInputSize(text string) (readout.InputSize, error) {
	if w, h, ok := strings.Cut(text, "x"); ok {
		width, err := natural(w)
		if err != nil {
			return readout.InputSize{}, err
		}
		height, err := natural(h)
		return readout.InputSize{Width: width, Height: height}, err
	}
	short, err := natural(strings.TrimSuffix(text, " short"))
	return readout.InputSize{Short: short}, err
}

func natural(text string) (int, error) {
	v, err := strconv.Atoi(text)
	if err != nil || v < 1 || v > 1<<30 {
		return 0, fmt.Errorf("expected a whole number above 0")
	}
	return v, nil
}

// Identify fills in what a data set says of itself.
func (p *Protocol) Identify(d *Dataset) {
	p.Dataset, p.N = d.Title, len(d.Items)
	if p.Background == "" {
		p.Background = d.BackgroundRule()
	}
	for _, pair := range d.protocolID {
		key, value, _ := strings.Cut(pair, "=")
		if p.More == nil {
			p.More = map[string]string{}
		}
		p.More[key] = value
	}
}

// OpenOptions returns the part of the data set that a protocol was measured on.
func (p Protocol) OpenOptions() OpenOptions {
	return OpenOptions{Split: p.More["split"], Masks: p.More["masks"]}
}

// DatasetName finds the data set by the title that protocols print.
func DatasetName(title string) (string, error) {
	for name, kind := range layouts {
		if strings.EqualFold(kind.Title, title) || name == canonical(title) {
			return name, nil
		}
	}
	return "", unknown(title)
}
