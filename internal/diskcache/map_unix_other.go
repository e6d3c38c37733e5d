//go:build unix && !linux

package diskcache

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps a file's first size bytes for reading.
func mapFile(file *os.File, size int) (data []byte, unmap func(), err error) {
	data, err = unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	return data, func() { _ = unix.Munmap(data) }, err
}
