// Package atomicfile writes files that are there whole or not at all: under a temporary name beside the final one, renamed
// when everything is written. google/renameio does the same, on Unix only.
package atomicfile

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Prefix begins the names of files that are being written, or were when their process was killed.
const Prefix = ".writing-"

const bufferBytes = 1 << 16

// Write replaces the file by what fill writes. Others see the old file or the new one; a failure leaves the old one. A
// power cut soon afterwards may lose the new file, which is for results that can be made again.
func Write(path string, fill func(io.Writer) error) error { return write(path, false, fill) }

// WriteSynced is Write for what must last through a power cut, as checkpoints: the data are on disk before the name is.
func WriteSynced(path string, fill func(io.Writer) error) error { return write(path, true, fill) }

func write(path string, sync bool, fill func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), Prefix+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			file.Close() // a second time after a failing Close, which does no harm
			os.Remove(file.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	buffered := bufio.NewWriterSize(file, bufferBytes)
	if err = fill(buffered); err != nil {
		return err
	}
	if err = buffered.Flush(); err != nil {
		return err
	}
	// Temporary files are for their owner alone; results are for whoever the folder lets in.
	if err = file.Chmod(0o644); err != nil {
		return err
	}
	if sync {
		if err = file.Sync(); err != nil {
			return err
		}
	}
	if err = file.Close(); err != nil {
		return err
	}
	if err = os.Rename(file.Name(), path); err != nil {
		return err
	}
	if sync {
		syncDir(filepath.Dir(path))
	}
	return nil
}

// RemoveUnfinished clears a folder of what killed processes left behind. Nobody else may be writing there.
func RemoveUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), Prefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// syncDir makes a rename last. Windows and some network file systems cannot sync directories; the rename itself has
// happened by then, so that a failure is no error.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
