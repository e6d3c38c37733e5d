package diskcache

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestReadIntoLargePages(t *testing.T) {
	if !largePages() {
		t.Skip("this system gives no large pages")
	}
	want := make([]byte, largePage+4097)
	rand.NewChaCha8([32]byte{2}).Read(want)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, mapping, ok := readIntoLargePages(file, len(want))
	if !ok || !bytes.Equal(data, want) {
		t.Fatalf("found %v, the content is right: %v", ok, bytes.Equal(data, want))
	}
	if at := uintptr(unsafe.Pointer(&data[0])); at%largePage != 0 || len(data) != cap(data) {
		t.Errorf("data at %#x with room for %d more bytes, expected the start of a large page and none", at, cap(data)-len(data))
	}
	// What the file's own pages would do: later changes of the memory are refused, here when the system is asked to write.
	if n, err := file.ReadAt(data[:8], 0); err == nil {
		t.Errorf("%d bytes were written into the result", n)
	}
	if err := unix.Munmap(mapping); err != nil {
		t.Error(err)
	}
	for name, size := range map[string]int{"small": largePage - 1, "larger than the file": len(want) + 1} {
		if _, _, ok := readIntoLargePages(file, size); ok {
			t.Errorf("%s: %d bytes were read", name, size)
		}
	}
	// A file that is all hole, so that it takes no space.
	if err := os.Truncate(path, largestCopy+1); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := readIntoLargePages(file, largestCopy+1); ok {
		t.Error("a file was copied that is larger than what is copied")
	}
}
