package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	for name, write := range map[string]func(string, func(io.Writer) error) error{"Write": Write, "WriteSynced": WriteSynced} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "result")
			for _, text := range []string{"first", strings.Repeat("second", bufferBytes)} {
				if err := write(path, func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(path); err != nil || string(got) != text {
					t.Fatalf("read %d bytes, %v, expected %d", len(got), err, len(text))
				}
			}
			if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o644 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}

			broken := errors.New("broken")
			err := write(path, func(w io.Writer) error { _, _ = io.WriteString(w, "third"); return broken })
			if !errors.Is(err, broken) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, expected one that names the file and wraps the cause", err)
			}
			if got, _ := os.ReadFile(path); !strings.HasPrefix(string(got), "second") {
				t.Errorf("a failed write left %.10q", got)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("a failed write left %v", entries)
			}
		})
	}
}

func TestWriteIntoNoFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "file")
	if err := Write(path, func(io.Writer) error { return nil }); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, expected that the folder of %s does not exist", err, path)
	}
}
