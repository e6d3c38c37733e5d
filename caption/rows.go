package caption

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxRow bounds one line of a list and one record of a CSV.
const maxRow = 4 << 20

// openList opens a list for reading, unpacking it if its content is gzip's.
func openList(path string) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open captions: %w", err)
	}
	buffered := bufio.NewReaderSize(file, 1<<16)
	if head, _ := buffered.Peek(2); len(head) < 2 || head[0] != 0x1f || head[1] != 0x8b {
		return struct {
			io.Reader
			io.Closer
		}{buffered, file}, nil
	}
	unpacked, err := gzip.NewReader(buffered)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open captions %s: %w", path, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{unpacked, file}, nil
}

// lineReader gives the lines of a text, each without its end, and counts them. A line that is too long is an
// errRow, after which reading goes on.
type lineReader struct {
	in     *bufio.Reader
	number int // of the line given last, from 1
	back   [][]byte
}

// errRow is a fault of one row only.
type errRow struct{ reason string }

func (e errRow) Error() string { return e.reason }

func newLineReader(r io.Reader) *lineReader {
	in := bufio.NewReaderSize(r, 1<<16)
	if mark, _ := in.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3)
	}
	return &lineReader{in: in}
}

func (l *lineReader) next() ([]byte, error) {
	l.number++
	if last := len(l.back) - 1; last >= 0 {
		line := l.back[last]
		l.back = l.back[:last]
		return line, nil
	}
	var line []byte
	tooLong := false
	for {
		part, err := l.in.ReadSlice('\n')
		switch {
		case tooLong:
		case len(line)+len(part) > maxRow:
			tooLong, line = true, nil
		default:
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err == io.EOF && len(line) == 0 && !tooLong {
			return nil, io.EOF
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if tooLong {
			return nil, errRow{fmt.Sprintf("more than %d bytes", maxRow)}
		}
		return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
	}
}

// giveBack puts lines back that are to be read again, the first of them first.
func (l *lineReader) giveBack(lines [][]byte) {
	for i := len(lines) - 1; i >= 0; i-- {
		l.back = append(l.back, lines[i])
	}
	l.number -= len(lines)
}

// splitTabs cuts a TSV line. Quotes are a field's own, unless they hold all of it and are doubled within, as programs
// write that quote; a tab or line end cannot be quoted.
func splitTabs(line, delimiter string) []string {
	fields := strings.Split(line, delimiter)
	for i, field := range fields {
		if len(field) >= 2 && field[0] == '"' && field[len(field)-1] == '"' {
			inner := strings.ReplaceAll(field[1:len(field)-1], `""`, "\x00")
			if !strings.Contains(inner, `"`) {
				fields[i] = strings.ReplaceAll(inner, "\x00", `"`)
			}
		}
	}
	return fields
}

// nextCSV reads a record of RFC 4180, whose quoted fields may hold commas, line ends and doubled quotes. A record that
// is not right is an errRow and takes one line.
func nextCSV(lines *lineReader) ([]string, error) {
	line, err := lines.next()
	if err != nil {
		return nil, err
	}
	record := line
	var more [][]byte
	for {
		fields, open, reason := parseCSV(string(record))
		if reason != "" {
			lines.giveBack(more)
			return nil, errRow{reason}
		}
		if !open {
			return fields, nil
		}
		next, err := lines.next()
		switch {
		case err == io.EOF:
			lines.number-- // counting the end as a line would misplace what is given back
			lines.giveBack(more)
			return nil, errRow{"a quote is not closed"}
		case err != nil:
			if _, ok := errors.AsType[errRow](err); !ok {
				return nil, err
			}
			next = nil
		}
		more = append(more, next)
		// Quoted fields of many lines cost their square in parsing; captions have few.
		if len(record)+len(next) >= maxRow || len(more) > 200 {
			lines.giveBack(more)
			return nil, errRow{"a quote is not closed within its record"}
		}
		record = append(append(bytes.Clone(record), '\n'), next...)
	}
}

// parseCSV cuts a record; open tells that it ends within quotes, reason what is wrong with it.
func parseCSV(record string) (fields []string, open bool, reason string) {
	for {
		if !strings.HasPrefix(record, `"`) {
			field, rest, more := strings.Cut(record, ",")
			if strings.Contains(field, `"`) {
				return nil, false, "a quote within a field that does not begin with one"
			}
			fields = append(fields, field)
			if !more {
				return fields, false, ""
			}
			record = rest
			continue
		}
		var field strings.Builder
		record = record[1:]
		for {
			part, rest, closed := strings.Cut(record, `"`)
			field.WriteString(part)
			if !closed {
				return nil, true, ""
			}
			record = rest
			if !strings.HasPrefix(record, `"`) {
				break
			}
			field.WriteByte('"')
			record = record[1:]
		}
		fields = append(fields, field.String())
		if record == "" {
			return fields, false, ""
		}
		if record[0] != ',' {
			return nil, false, "text after a closing quote"
		}
		record = record[1:]
	}
}
