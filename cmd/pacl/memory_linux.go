package main

import (
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// hugeBytes is how much of the heap lies in huge pages for the sake of encoders, hugePixel how much for each pixel of a photo.
	hugeBytes, hugePixel = 48 << 20, 24
	// mostPixels bounds the address space that is taken: a header may promise any number.
	mostPixels = 32 << 20
)

// arenaBytes is the size of the pieces that the runtime takes addresses in. What lies in the span's first piece before it is the heap
// so far, whose free pages are given out next.
const arenaBytes = 64 << 20

// askForHugePages lets the heap grow where the system gives 2 MB at a time: address space that is taken, marked and given back to
// the allocator before anybody touches it. Where page faults are shadowed by a hypervisor one may take 11 us, and the 18 000 that
// the memory of a photo takes one by one were half of its processor time. It is for processes that end soon: long ones have
// their memory already, and on such a machine an encoder was 5 to 38 % slower with a part of its heap in huge pages.
func askForHugePages(pixels int64) {
	percent := debug.SetGCPercent(-1) // one collection is enough
	span := make([]byte, hugeBytes+hugePixel*min(pixels, mostPixels))
	first := uintptr(unsafe.Pointer(&span[0]))
	start, end := first&^(arenaBytes-1), first+uintptr(len(span))
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_HUGEPAGE) // a wish: without it everything works
	runtime.KeepAlive(span)
	runtime.GC() // from now on the span's addresses come first
	debug.SetGCPercent(percent)
}
