package align

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// LogName is the file in the directory of a training that holds one JSON object a line: Progress of steps, and of epochs
// with their validation.
const LogName = "log.jsonl"

// trainLog is the log of a training; it is cut back to where a checkpoint was when the training is taken up from it.
type trainLog struct {
	file  *os.File
	bytes int64
}

func openLog(dir string, bytes int64) (*trainLog, error) {
	file, err := os.OpenFile(filepath.Join(dir, LogName), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("training log: %w", err)
	}
	l := &trainLog{file: file}
	info, err := file.Stat()
	if err == nil {
		l.bytes = min(bytes, info.Size())
		err = file.Truncate(l.bytes)
	}
	if err == nil {
		_, err = file.Seek(l.bytes, 0)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("training log: %w", err)
	}
	return l, nil
}

func (l *trainLog) add(entry any) error {
	line, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("training log: %w", err)
	}
	n, err := l.file.Write(append(line, '\n'))
	l.bytes += int64(n)
	if err != nil {
		return fmt.Errorf("training log: %w", err)
	}
	return nil
}

func (l *trainLog) sync() error {
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("training log: %w", err)
	}
	return nil
}

func (l *trainLog) close() error { return l.file.Close() }

// ReadLog reads the log in the directory of a training; a training that has not begun has none. A last line that was cut
// off is left out.
func ReadLog(dir string) ([]Progress, error) {
	path := filepath.Join(dir, LogName)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("training log: %w", err)
	}
	defer file.Close()
	var log []Progress
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var p Progress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			if !lines.Scan() {
				break
			}
			return nil, fmt.Errorf("training log: %s: line %d: %w", path, len(log)+1, err)
		}
		log = append(log, p)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("training log: %s: %w", path, err)
	}
	return log, nil
}
