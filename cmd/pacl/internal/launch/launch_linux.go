//go:build linux && (amd64 || arm64)

package launch

import (
	"runtime"
	"syscall"
	"unsafe"
)

const (
	// chunkBytes is by how much the runtime lets the heap grow at least.
	chunkBytes = 4 << 20
	// pageBytes is the least that the runtime gives to a stack.
	pageBytes = 8 << 10
	// arenaBytes is the size of the pieces that the runtime takes addresses in.
	arenaBytes = 64 << 20
	// stackBytes is the size of a stack that has room for two rooms: the next power of two, here as much as is wanted first.
	stackBytes = Bytes
	// mostBytes bounds the address space that is taken: a photo's header may promise any number of pixels.
	mostBytes = 1 << 30
)

// Advice of madvise that package syscall does not know.
const (
	populateRead = 22
	collapse     = 25
)

// The program's code is mapped as a whole. For a command that segments, the heap lies in large pages from its beginning; what it has so
// far is collapsed into two.
func init() {
	start, bytes := code()
	advise(start, bytes, populateRead)
	if asked("segment") {
		heap := uintptr(unsafe.Pointer(new([64]byte))) &^ (chunkBytes - 1)
		LargePages(Bytes)
		advise(heap, chunkBytes, collapse)
	}
}

// code is where the program's code lies, 11 MB, which faults would map in pieces of 64 KB.
func code() (start, bytes uintptr) {
	headers := programHeaders()
	var shift uintptr // of what the headers say, where the program lies at random addresses
	for _, h := range headers {
		switch {
		case h.kind == headersKind:
			shift = uintptr(unsafe.Pointer(&headers[0])) - h.address
		case h.kind == loadedKind && h.flags&executable != 0:
			start, bytes = h.address, h.inMemory
		}
	}
	return start + shift, bytes
}

// programHeader is an Elf64_Phdr.
type programHeader struct {
	kind, flags                                          uint32
	offset, address, physical, inFile, inMemory, aligned uintptr
}

const (
	loadedKind, headersKind = 1, 6
	executable              = 1
)

// programHeaders are the program's own, which the system has put into its memory and says where, by getauxval(3)'s AT_PHDR.
func programHeaders() []programHeader {
	const headersEntry, countEntry = 3, 5
	var entries [64]struct{ kind, value uintptr }
	read("/proc/self/auxv", unsafe.Slice((*byte)(unsafe.Pointer(&entries)), unsafe.Sizeof(entries)))
	var address, count uintptr
	for _, e := range entries {
		switch e.kind {
		case headersEntry:
			address = e.value
		case countEntry:
			count = e.value
		}
	}
	if address == 0 {
		return nil
	}
	return unsafe.Slice((*programHeader)(unsafe.Add(nil, address)), count)
}

// asked says whether a word is among the first arguments of the program.
func asked(word string) bool {
	var arguments [512]byte
	from := 0
	for i, b := range arguments[:read("/proc/self/cmdline", arguments[:])] {
		if b == 0 {
			if string(arguments[from:i]) == word {
				return true
			}
			from = i + 1
		}
	}
	return false
}

// read fills a buffer with the beginning of a file and returns how much there was; package os is initialised later than this one.
func read(path string, buffer []byte) int {
	file, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer syscall.Close(file)
	n, _ := syscall.Read(file, buffer)
	return max(n, 0)
}

// LargePages lets the heap grow by so many bytes where the system gives 2 MB at a time. It is for processes that end soon: long ones
// have their memory already, and where page tables are shadowed an encoder was 5 to 38 % slower with a part of its heap in large pages.
//
// The runtime takes addresses for large objects and gives them back with a collection, which takes some milliseconds. Those of
// goroutines' stacks it gives back at once: so here are some goroutines whose stacks are large and that do nothing.
func LargePages(bytes int64) {
	stacks := int((min(bytes, mostBytes) + stackBytes - 1) / stackBytes)
	ends, leave := make(chan uintptr), make(chan struct{})
	for range stacks {
		go func() {
			deep(nil)
			var last byte // lies in the stack's last page
			ends <- (uintptr(unsafe.Pointer(&last)) + pageBytes) &^ (pageBytes - 1)
			<-leave
		}()
	}
	heap := uintptr(unsafe.Pointer(new([64]byte))) &^ (arenaBytes - 1)
	for range stacks {
		end := <-ends
		start := end - stackBytes
		if heap < start && start-heap < mostBytes {
			start = heap // what lies before the stack is the heap so far, whose free pages are given out first
		}
		advise(start, end-start, syscall.MADV_HUGEPAGE)
	}
	close(leave)
	runtime.Gosched() // so that they leave now
}

type room [stackBytes * 3 / 8]byte

// deep needs a stack that could hold two rooms, a copy and what is passed on. Nothing touches the stack between.
//
//go:noinline
func deep(r *room) {
	if r != nil {
		enter(*r)
	}
}

//go:noinline
func enter(room) {}

// advise says what will be done with whole pages. It is a wish: without it everything works.
func advise(start, bytes uintptr, advice int) {
	end, page := start+bytes, uintptr(syscall.Getpagesize())
	start &^= page - 1
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, start, (end-start)&^(page-1), uintptr(advice))
}
