//go:build unix

package diskcache

import (
	"math"
	"runtime"

	"golang.org/x/sys/unix"
)

// Mapped is a result that is read where it lies. It must not be written to. Its memory is given back when nothing refers
// to the Mapped any more: whoever keeps a part of Data keeps the Mapped.
type Mapped struct{ Data []byte }

// Map returns what is stored under a key as mapped memory.
func (c Cache) Map(key string) (*Mapped, bool) {
	file, info, ok := c.open(key)
	if !ok {
		return nil, false
	}
	defer file.Close()
	if info.Size() == 0 || info.Size() > math.MaxInt {
		return nil, false
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, false
	}
	c.used(file.Name(), info)
	m := &Mapped{data}
	runtime.AddCleanup(m, func(data []byte) { _ = unix.Munmap(data) }, data)
	return m, true
}
