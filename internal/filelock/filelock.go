// Package filelock keeps two processes from working on the same folder.
package filelock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// name of the empty file that a folder is locked by.
const name = ".lock"

// Folder locks a folder that exists until release is called or the process ends. Where another process holds it, that is an
// error at once. A folder that cannot be written to needs no lock: whoever opened it can only read.
func Folder(dir string) (release func(), err error) {
	path := filepath.Join(dir, name)
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			return func() {}, nil
		}
		if err != nil {
			return nil, err
		}
		free, err := Try(file)
		if err != nil || !free {
			file.Close()
			if err != nil {
				return nil, fmt.Errorf("lock %s: %w", path, err)
			}
			return nil, fmt.Errorf("%s is being written by another process: wait for it, or choose another folder", dir)
		}
		if current(file, path) {
			return func() {
				os.Remove(path) // where open files cannot be removed, as on Windows, it stays
				file.Close()
			}, nil
		}
		file.Close() // its holder removed it between the two calls
	}
}

// current says whether the file is the one that the path names.
func current(file *os.File, path string) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(held, named)
}
