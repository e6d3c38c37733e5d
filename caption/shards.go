package caption

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxShards bounds what braces may expand to.
const maxShards = 1 << 20

// expandShards returns the files that a path with braces ({000..123}, {train,val}) or a pattern (*, ?) stands for. Files
// of braces must all be there.
func expandShards(path string) ([]string, error) {
	names, err := expandBraces(path)
	if err != nil {
		return nil, fmt.Errorf("open captions %s: %w", path, err)
	}
	var files []string
	for _, name := range names {
		if _, err := os.Stat(name); err == nil || !strings.ContainsAny(name, "*?[") {
			if err != nil {
				return nil, fmt.Errorf("open captions %s: %w", path, err)
			}
			files = append(files, name)
			continue
		}
		matches, err := filepath.Glob(name)
		if err != nil {
			return nil, fmt.Errorf("open captions %s: %w", path, err)
		}
		if len(matches) == 0 {
			return nil, fmt.Errorf("open captions %s: no file matches", name)
		}
		slices.Sort(matches)
		files = append(files, matches...)
	}
	return files, nil
}

// expandBraces expands the first pair of braces and, by calling itself, those after it.
func expandBraces(pattern string) ([]string, error) {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return []string{pattern}, nil
	}
	length := strings.IndexByte(pattern[open:], '}')
	if length < 0 {
		return nil, fmt.Errorf("a brace is not closed")
	}
	head, inner := pattern[:open], pattern[open+1:open+length]
	tails, err := expandBraces(pattern[open+length+1:])
	if err != nil {
		return nil, err
	}
	choices := strings.Split(inner, ",")
	if from, to, ok := strings.Cut(inner, ".."); ok {
		if choices, err = numberRange(from, to); err != nil {
			return nil, err
		}
	}
	if len(choices)*len(tails) > maxShards {
		return nil, fmt.Errorf("braces stand for more than %d files", maxShards)
	}
	expanded := make([]string, 0, len(choices)*len(tails))
	for _, choice := range choices {
		for _, tail := range tails {
			expanded = append(expanded, head+choice+tail)
		}
	}
	return expanded, nil
}

// numberRange counts from one number to another, with as many digits as the first has.
func numberRange(from, to string) ([]string, error) {
	first, errFirst := strconv.ParseUint(from, 10, 32)
	last, errLast := strconv.ParseUint(to, 10, 32)
	if errFirst != nil || errLast != nil || last < first || last-first >= maxShards {
		return nil, fmt.Errorf("braces hold %.40q, expected a range of at most %d numbers as 000..123", from+".."+to, maxShards)
	}
	numbers := make([]string, 0, last-first+1)
	for n := first; n <= last; n++ {
		numbers = append(numbers, fmt.Sprintf("%0*d", len(from), n))
	}
	return numbers, nil
}

// hashFiles names a set of files by their names, sizes and the bytes at their ends, which for parquet are the index and
// for tar the last members.
func hashFiles(files []string) (string, error) {
	digest := sha256.New()
	tail := make([]byte, 1<<16)
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("open captions: %w", err)
		}
		info, err := file.Stat()
		if err == nil {
			fmt.Fprintf(digest, "%s\x00%d\x00", filepath.Base(name), info.Size())
			n := min(info.Size(), int64(len(tail)))
			_, err = file.ReadAt(tail[:n], info.Size()-n)
			digest.Write(tail[:n])
		}
		file.Close()
		if err != nil {
			return "", fmt.Errorf("open captions %s: %w", name, err)
		}
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}
