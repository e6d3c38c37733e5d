package diskcache

import (
	"bytes"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// largePage is the size of a large page of amd64, and of arm64 with pages of 4 KB.
const largePage = 2 << 20

// largestCopy is up to what size files are copied; pages of mapped files can be dropped where memory is short.
const largestCopy = 1 << 30

// largePages says whether the system gives large pages to memory that asks for them.
var largePages = sync.OnceValue(func() bool {
	mode, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return err == nil && (bytes.Contains(mode, []byte("[always]")) || bytes.Contains(mode, []byte("[madvise]")))
})

// readIntoLargePages returns the first size bytes of a file and the mapping that holds them. An encoder's pass over its weights
// misses the translation of every page of 4 KB, which costs more than to copy them once.
func readIntoLargePages(file *os.File, size int) (data, mapping []byte, ok bool) {
	if size < largePage || size > largestCopy || !largePages() {
		return nil, nil, false
	}
	mapping, err := unix.Mmap(-1, 0, size+largePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, false
	}
	start := int(-uintptr(unsafe.Pointer(&mapping[0])) % largePage)
	data = mapping[start : start+size : start+size]
	err = unix.Madvise(mapping, unix.MADV_HUGEPAGE)
	if err == nil {
		_, err = file.ReadAt(data, 0)
	}
	if err == nil {
		err = unix.Mprotect(mapping, unix.PROT_READ)
	}
	if err != nil {
		_ = unix.Munmap(mapping)
		return nil, nil, false
	}
	return data, mapping, true
}
