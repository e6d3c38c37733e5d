package diskcache

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unsafe"
)

// TestMapFile maps files that came in small pieces, whose pages are small, in large ones, and in both.
func TestMapFile(t *testing.T) {
	if !largePages() {
		t.Skip("this system gives no large pages")
	}
	const size = 3*largePage + 4097
	want := make([]byte, size)
	rand.NewChaCha8([32]byte{2}).Read(want)
	for name, piece := range map[string]func(at int) int{
		"small": func(int) int { return 4096 },
		"large": func(int) int { return largePage },
		"both": func(at int) int {
			if at < largePage {
				return 4096
			}
			return largePage
		},
	} {
		file, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for at := 0; at < size; {
			n, err := file.Write(want[at:min(at+piece(at), size)])
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
		data, unmap, err := mapFile(file, size)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, want) {
			t.Errorf("%s: other content", name)
		}
		if at := uintptr(unsafe.Pointer(&data[0])); at%largePage != 0 || len(data) != size || cap(data) != size {
			t.Errorf("%s: %d bytes at %#x with room for %d, expected %d at the start of a large page", name, len(data), at, cap(data), size)
		}
		// Memory that must not be written to: refused, here where the system is asked to.
		for _, at := range []int{0, largePage, 3 * largePage} {
			if n, err := file.ReadAt(data[at:at+8], 0); err == nil {
				t.Errorf("%s: %d bytes were written into the result", name, n)
			}
		}
		if name == "small" {
			// Copies do not change with the file, as its own pages do. The rest behind the last whole large page is no copy.
			if _, err := file.WriteAt(make([]byte, size), 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data[:3*largePage], want[:3*largePage]) || bytes.Equal(data[3*largePage:], want[3*largePage:]) {
				t.Error("small pages were not copied, or what is no whole large page was")
			}
		}
		unmap()
	}
}

// TestCopyPage puts the middle page of a mapped file elsewhere, and fails where the file ends before the page does.
func TestCopyPage(t *testing.T) {
	want := make([]byte, 3*largePage)
	rand.NewChaCha8([32]byte{3}).Read(want)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, unmap, err := mapFile(file, len(want))
	if err != nil {
		t.Fatal(err)
	}
	defer unmap()
	page := data[largePage : 2*largePage : 2*largePage]
	if err := copyPage(page, file, largePage); err != nil || !bytes.Equal(data, want) {
		t.Errorf("error %v, same content: %v", err, bytes.Equal(data, want))
	}
	// A copy does not change with the file, as its own pages would.
	if err := os.WriteFile(path, make([]byte, len(want)), 0o600); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, want[largePage:2*largePage]) {
		t.Error("the copy changed with the file")
	}
	if err := copyPage(page, file, 2*largePage+1); err == nil {
		t.Error("no error where the file ends before the page")
	}
}
