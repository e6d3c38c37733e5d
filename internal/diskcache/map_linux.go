package diskcache

import (
	"bytes"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// largestCopy is how much of a file is copied at most; pages of mapped files can be dropped where memory is short.
const largestCopy = 1 << 30

// largePages says whether the system gives large pages to memory that asks for them.
var largePages = sync.OnceValue(func() bool {
	mode, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return err == nil && (bytes.Contains(mode, []byte("[always]")) || bytes.Contains(mode, []byte("[madvise]")))
})

// mapFile maps a file's first size bytes for reading, in large pages where there can be some: an encoder's pass over its weights
// misses the translation of every page of 4 KB, and each sixteen of these are one more fault. ext4, XFS and others keep what Write
// wrote, or what is now read from the disk, in large pages; what lies in small ones is copied.
func mapFile(file *os.File, size int) (data []byte, unmap func(), err error) {
	space := uintptr(size) + largePage
	reserved, err := unix.MmapPtr(-1, 0, nil, space, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, err
	}
	unmap = func() { _ = unix.MunmapPtr(reserved, space) }
	start := unsafe.Add(reserved, -uintptr(reserved)%largePage)
	if _, err = unix.MmapPtr(int(file.Fd()), 0, start, uintptr(size), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED); err == nil {
		data = unsafe.Slice((*byte)(start), size)
		err = enlarge(data, file)
	}
	if err != nil {
		unmap()
		return nil, nil, err
	}
	return data, unmap, nil
}

// enlarge puts copies of a mapped file's small pages into large ones. After an error the mapping has holes.
func enlarge(data []byte, file *os.File) error {
	if len(data) < largePage || !largePages() || unix.Madvise(data, unix.MADV_HUGEPAGE) != nil {
		return nil
	}
	copied, before := 0, faults()
	for at := 0; at+largePage <= len(data) && copied < largestCopy; at += largePage {
		// One fault maps a large page, small ones take some.
		page := data[at : at+largePage : at+largePage]
		if unix.Madvise(page, unix.MADV_POPULATE_READ) != nil {
			return nil // Linux before 5.14, or a file that cannot be read: whoever reads the memory will see
		}
		now := faults()
		if now == before+1 {
			before = now
			continue
		}
		if err := copyPage(page, file, int64(at)); err != nil {
			return err
		}
		copied += largePage
		before = faults()
	}
	return nil
}

// faults is how many pages the system gave to this thread. Should the next count be another thread's, a page is copied that need not
// be, or the other way round.
func faults() int64 {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &usage) != nil {
		return 0
	}
	return usage.Minflt + usage.Majflt
}

// copyPage replaces a page of a mapping by memory with the file's content from offset on.
func copyPage(page []byte, file *os.File, offset int64) error {
	at := unsafe.Pointer(&page[0])
	if _, err := unix.MmapPtr(-1, 0, at, largePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED); err != nil {
		return err
	}
	if err := unix.Madvise(page, unix.MADV_HUGEPAGE); err != nil {
		return err
	}
	if _, err := file.ReadAt(page, offset); err != nil {
		return err
	}
	// Where nobody else has the small pages mapped, the next one reads a large one from the disk.
	_ = unix.Fadvise(int(file.Fd()), offset, largePage, unix.FADV_DONTNEED)
	return unix.Mprotect(page, unix.PROT_READ)
}
