//go:build unix

package diskcache

import (
	"math"
	"runtime"

	"golang.org/x/sys/unix"
)

// Mapped is a result in memory that must not be written to: the file's own pages or, where the system gives large pages, a
// copy in these. The memory is given back when nothing refers to the Mapped any more: whoever keeps a part of Data keeps
// the Mapped.
type Mapped struct{ Data []byte }

// Map returns what is stored under a key.
func (c Cache) Map(key string) (*Mapped, bool) {
	file, info, ok := c.open(key)
	if !ok {
		return nil, false
	}
	defer file.Close()
	if info.Size() == 0 || info.Size() > math.MaxInt {
		return nil, false
	}
	size := int(info.Size())
	data, mapping, ok := readIntoLargePages(file, size)
	if !ok {
		var err error
		if mapping, err = unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
			return nil, false
		}
		data = mapping
	}
	c.used(file.Name(), info)
	m := &Mapped{data}
	runtime.AddCleanup(m, func(mapping []byte) { _ = unix.Munmap(mapping) }, mapping)
	return m, true
}
