//go:build unix

package diskcache

import (
	"math"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Mapped is a result that is read where it lies. It must not be written to. Its memory is given back when nothing refers
// to the Mapped any more: whoever keeps a part of Data keeps the Mapped.
type Mapped struct{ Data []byte }

// Map returns what is stored under a key as mapped memory.
func (c Cache) Map(key string) (*Mapped, bool) {
	path := c.path(key)
	if path == "" {
		return nil, false
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || info.Size() > min(c.Entry, math.MaxInt) {
		return nil, false
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, false
	}
	c.used(path, info)
	m := &Mapped{data}
	runtime.AddCleanup(m, func(data []byte) { _ = unix.Munmap(data) }, data)
	return m, true
}
