package feature

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// writer is the file that an atomic write goes to.
type writer interface {
	io.Writer
	Sync() error
	Close() error
}

// createFile makes a file; tests put a full disk in its place.
type createFile func(path string) (writer, error)

func createOnDisk(path string) (writer, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
}

// temporaryPrefix marks files that a killed run may leave behind.
const temporaryPrefix = ".writing-"

// writeAtomic writes a file under a temporary name, syncs it and renames it, so that it is there whole or not at all.
func writeAtomic(path string, create createFile, fill func(writer) error) (err error) {
	temporary := filepath.Join(filepath.Dir(path), temporaryPrefix+filepath.Base(path))
	file, err := create(temporary)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(temporary)
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err = fill(file); err != nil {
		file.Close()
		return err
	}
	if err = file.Sync(); err != nil {
		file.Close()
		return err
	}
	if err = file.Close(); err != nil {
		return err
	}
	if err = os.Rename(temporary, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename last through a crash where the system can sync a directory.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Windows and some network file systems cannot sync directories; the rename itself has happened.
	_ = d.Sync()
	return nil
}

// removeTemporary clears what a killed run left behind.
func removeTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporaryPrefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
