//go:build unix

package diskcache

import (
	"math"
	"runtime"
)

// Mapped is a result in memory that must not be written to. The memory is given back when nothing refers to the Mapped any more:
// whoever keeps a part of Data keeps the Mapped.
type Mapped struct{ Data []byte }

// Map returns what is stored under a key: the file's own pages, or copies of them.
func (c Cache) Map(key string) (*Mapped, bool) {
	file, info, ok := c.open(key)
	if !ok {
		return nil, false
	}
	defer file.Close()
	if info.Size() == 0 || info.Size() > math.MaxInt {
		return nil, false
	}
	data, unmap, err := mapFile(file, int(info.Size()))
	if err != nil {
		return nil, false
	}
	c.used(file.Name(), info)
	m := &Mapped{data}
	runtime.AddCleanup(m, func(unmap func()) { unmap() }, unmap)
	return m, true
}
