package caption

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// openTable reads a list with a header line. A .csv is quoted as RFC 4180 has it; anything else is cut at tabs, or at the
// bars of Flickr30k's lists where its header has them and no tab.
func openTable(path string, format Format, o Options) (Source, error) {
	file, err := openList(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readWhole(path, func() (*list, error) { return readTable(file, path, format, o) })
}

func readTable(r io.Reader, path string, format Format, o Options) (*list, error) {
	lines := newLineReader(r)
	header, err := lines.next()
	if err == io.EOF {
		return nil, errors.New("empty, expected a header line with the names of the columns")
	}
	if err != nil {
		return nil, err
	}
	delimiter := "\t"
	switch {
	case format == CSV && strings.Contains(string(header), "|") && !strings.Contains(string(header), ","):
		format, delimiter = TSV, "|"
	case format == TSV && !strings.Contains(string(header), "\t") && strings.Contains(string(header), "|"):
		delimiter = "|"
	}
	row := func() ([]string, error) {
		line, err := lines.next()
		if err != nil {
			return nil, err
		}
		return splitTabs(string(line), delimiter), nil
	}
	if format == CSV {
		row = func() ([]string, error) { return nextCSV(lines) }
	}
	lines.giveBack([][]byte{header})
	columns, err := row()
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	imageAt, captionAt, err := findColumns(columns, o)
	if err != nil {
		return nil, err
	}

	list := newList(rootOf(path, o))
	for {
		first := lines.number + 1
		where := func() string { return fmt.Sprintf("%s line %d", path, first) }
		fields, err := row()
		if err == io.EOF {
			return list, nil
		}
		if fault, ok := errors.AsType[errRow](err); ok {
			list.skipped.Seen++
			list.skipped.malformed("%s: %s", where(), fault.reason)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", first, err)
		}
		if len(fields) == 1 && strings.TrimSpace(fields[0]) == "" {
			continue
		}
		if len(fields) != len(columns) {
			list.skipped.Seen++
			list.skipped.malformed("%s: %d columns, expected the header's %d", where(), len(fields), len(columns))
			continue
		}
		if err := list.addRow(strings.TrimSpace(fields[imageAt]), []string{fields[captionAt]}, where); err != nil {
			return nil, err
		}
	}
}

func rootOf(path string, o Options) string {
	if o.Root != "" {
		return o.Root
	}
	return filepath.Dir(path)
}

// findColumns returns the places of the image's and the caption's column.
func findColumns(columns []string, o Options) (imageAt, captionAt int, err error) {
	imageAt, err = findColumn(columns, o.ImageColumn, imageColumns, "image", "--image-column")
	if err != nil {
		return 0, 0, err
	}
	captionAt, err = findColumn(columns, o.CaptionColumn, captionColumns, "caption", "--caption-column")
	return imageAt, captionAt, err
}

func findColumn(columns []string, asked string, usual []string, what, flag string) (int, error) {
	names := make([]string, len(columns))
	for i, column := range columns {
		names[i] = strings.ToLower(strings.TrimSpace(column))
	}
	if asked != "" {
		usual = []string{strings.ToLower(asked)}
	}
	for _, name := range usual {
		if i := slices.Index(names, name); i >= 0 {
			return i, nil
		}
	}
	found := strings.Join(columns, ", ")
	if len(found) > 200 {
		found = found[:200] + " ..."
	}
	if asked != "" {
		return 0, fmt.Errorf("no column %q, the header has %q", asked, found)
	}
	return 0, fmt.Errorf("no column of a usual name for the %s (%s, ...) in the header %q: name it with %s", what, strings.Join(usual[:3], ", "), found, flag)
}
