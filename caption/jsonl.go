package caption

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// openJSONL reads a list with a JSON object a line. The caption's field holds a text or several.
func openJSONL(path string, o Options) (Source, error) {
	file, err := openList(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readWhole(path, func() (*list, error) { return readJSONL(file, path, o) })
}

func readJSONL(r io.Reader, path string, o Options) (*list, error) {
	list := newList(rootOf(path, o))
	lines := newLineReader(r)
	for {
		line, err := lines.next()
		where := func() string { return fmt.Sprintf("%s line %d", path, lines.number) }
		if err == io.EOF {
			return list, nil
		}
		if fault, ok := errors.AsType[errRow](err); ok {
			list.skipped.Seen++
			list.skipped.malformed("%s: %s", where(), fault.reason)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", lines.number, err)
		}
		if strings.TrimSpace(string(line)) == "" {
			continue
		}
		name, texts, err := parseRow(line, o)
		if err != nil {
			list.skipped.Seen++
			list.skipped.malformed("%s: %v", where(), err)
			continue
		}
		if err := list.addRow(name, texts, where); err != nil {
			return nil, err
		}
	}
}

func parseRow(line []byte, o Options) (name string, texts []string, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return "", nil, fmt.Errorf("not a JSON object: %w", err)
	}
	value, key, err := findField(fields, o.ImageColumn, imageColumns, "image")
	if err != nil {
		return "", nil, err
	}
	if err := json.Unmarshal(value, &name); err != nil {
		return "", nil, fmt.Errorf("field %q is no text", key)
	}
	texts, err = findTexts(fields, o.CaptionColumn)
	return strings.TrimSpace(name), texts, err
}

// findTexts returns the caption or captions of a JSON object.
func findTexts(fields map[string]json.RawMessage, asked string) ([]string, error) {
	value, key, err := findField(fields, asked, captionColumns, "caption")
	if err != nil {
		return nil, err
	}
	var one string
	if json.Unmarshal(value, &one) == nil {
		return []string{one}, nil
	}
	var several []string
	if json.Unmarshal(value, &several) == nil {
		return several, nil
	}
	return nil, fmt.Errorf("field %q is neither a text nor a list of texts", key)
}

func findField(fields map[string]json.RawMessage, asked string, usual []string, what string) (value json.RawMessage, key string, err error) {
	if asked != "" {
		if value, ok := fields[asked]; ok {
			return value, asked, nil
		}
		return nil, "", fmt.Errorf("no field %q", asked)
	}
	for _, key := range usual {
		if value, ok := fields[key]; ok {
			return value, key, nil
		}
	}
	return nil, "", fmt.Errorf("no field of a usual name for the %s (%s, ...)", what, strings.Join(usual[:3], ", "))
}

// readWhole finishes the reading of a list: one that gives nothing is an error that says why.
func readWhole(path string, read func() (*list, error)) (Source, error) {
	list, err := read()
	if err != nil {
		return nil, fmt.Errorf("read captions %s: %w", path, err)
	}
	if list.Len() == 0 {
		if len(list.skipped.Named) > 0 {
			return nil, fmt.Errorf("read captions %s: none of %d rows gives an image with a caption; the first problem: %s", path, list.skipped.Seen, list.skipped.Named[0])
		}
		return nil, fmt.Errorf("read captions %s: no image with a caption in it", path)
	}
	list.byName = nil // needed no more once all rows are there
	return list, nil
}
